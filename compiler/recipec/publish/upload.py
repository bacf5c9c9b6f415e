"""One blob into one repository.

In: a blob of the store. Out: the blob in the registry, or an error. What the registry has is not
sent; what another of its repositories has is mounted. The first try sends the blob in one request;
after a cut it goes in chunks, from where the registry says it got to, or from the start where it
forgot (registry 2.8 does after a cut in mid-chunk).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from recipec.errors import EnvironmentLacks
from recipec.image.image import Descriptor
from recipec.publish.session import (
    ATTEMPTS,
    RECOVERABLE,
    Cut,
    Response,
    Session,
    refusal,
    retry_after,
)

PIECE = 4 << 20
"""Bytes in a chunk: the most that every registry takes."""

RESUMES = 50
"""Cuts after which some progress was made that one blob may have."""


class Part:
    """A slice of a file as a request's body; tells how far it has been sent."""

    def __init__(self, path: Path, start: int, size: int, sent: Callable[[int], None]) -> None:
        self._file = path.open("rb")
        self._start = start
        self._size = size
        self._sent = sent
        self.rewind()

    def rewind(self) -> None:
        """Begin anew."""
        self._file.seek(self._start)
        self._left = self._size

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the slice."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._sent(self._start + self._size - self._left)
        return data

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()


class Upload:
    """The upload of one blob; call it once."""

    def __init__(
        self,
        session: Session,
        repository: str,
        blob: Descriptor,
        path: Path,
        advance: Callable[[int], None],
    ) -> None:
        self._session = session
        self._base = f"/v2/{repository}/blobs"
        self._blob = blob
        self._path = path
        self._advance = advance
        self._reported = 0
        self._chunk = PIECE

    def run(self, *, mount_from: str = "") -> None:
        """Make sure that the registry has the blob. Raises EnvironmentLacks if it cannot be."""
        if not self.present():
            self._upload(mount_from)
        self._sent(self._blob.size)

    def present(self) -> bool:
        """Whether the repository has the blob."""
        answer = self._session.request("HEAD", f"{self._base}/{self._blob.digest}")
        if answer.status == 404 or answer.status == 200:
            return answer.status == 200
        raise self._refused(answer)

    def _upload(self, mount_from: str) -> None:
        location = self._begin(mount_from)
        offset, whole, failures, resumes = 0, True, 0, 0
        while location:
            try:
                if whole:
                    return self._finish(location, 0, self._blob.size)
                location, offset = self._chunks(location, offset)
                return self._finish(location, offset, 0)
            except Cut as cut:
                too_large = cut.status == 413 and whole
                whole, reached = False, offset
                # A registry that refused the size, or lost the session, is asked for a new one.
                location, offset = ("", 0) if too_large else self._where(location)
                resumes += 1
                failures = 0 if offset > reached else failures + 1
                if failures >= ATTEMPTS or resumes > RESUMES:
                    raise EnvironmentLacks(
                        f"the upload of {self._blob.digest} to {self._session.registry} "
                        f"keeps failing: {cut.why}",
                        hint="push again: what arrived already is not sent again",
                    ) from None
                if not too_large:
                    self._session.pause(max(0, failures - 1), cut.wait)
                if not location and self.present():
                    return None  # it had arrived, only the answer was lost
                location = location or self._begin("")
        return None

    def _begin(self, mount_from: str) -> str:
        """A new upload's location; empty if the blob was mounted instead."""
        asked = {"mount": self._blob.digest, "from": mount_from} if mount_from else {}
        query = f"?{urlencode(asked)}" if asked else ""
        answer = self._session.request(
            "POST", f"{self._base}/uploads/{query}", headers={"Content-Length": "0"}
        )
        if answer.status == 201 and mount_from:
            return ""
        if answer.status != 202:
            if mount_from:  # perhaps only the other repository is closed to us
                return self._begin("")
            raise self._refused(answer)
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        self._chunk = max(PIECE, int(least)) if least.isdigit() else PIECE
        return self._location(answer, "")

    def _chunks(self, location: str, offset: int) -> tuple[str, int]:
        """Send what is left in chunks; the last location and the size sent."""
        while offset < self._blob.size:
            size = min(self._chunk, self._blob.size - offset)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size),
                "Content-Range": f"{offset}-{offset + size - 1}",
            }
            with Part(self._path, offset, size, self._sent) as part:
                answer = self._session.once("PATCH", location, headers=headers, body=part)
            if answer.status not in {202, 204}:
                raise self._cut_or_refused(answer, extra=frozenset({404, 416}))
            location, offset = self._location(answer, location), offset + size
        return location, offset

    def _finish(self, location: str, offset: int, size: int) -> None:
        """Send the last `size` bytes and give the upload its digest."""
        joint = "&" if urlsplit(location).query else "?"
        url = f"{location}{joint}{urlencode({'digest': self._blob.digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with Part(self._path, offset, size, self._sent) as part:
            answer = self._session.once("PUT", url, headers=headers, body=part)
        if answer.status != 201 and answer.status != 204:
            raise self._cut_or_refused(answer, extra=frozenset({404, 413, 416}))

    def _where(self, location: str) -> tuple[str, int]:
        """Where a cut upload goes on; an empty location if the registry forgot it."""
        try:
            answer = self._session.once("GET", location)
        except Cut:
            return "", 0
        first, _, last = answer.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if answer.status != 204 or first != "0" or not last.isdigit() or int(last) == 0:
            return "", 0
        return self._location(answer, location), int(last) + 1

    def _location(self, answer: Response, before: str) -> str:
        found = answer.headers.get("Location", "") or before
        if not found:
            raise EnvironmentLacks(
                f"{self._session.registry} began an upload and did not say where",
                hint="ask whoever runs the registry",
            )
        return urljoin(urljoin(self._session.base, before), found)

    def _cut_or_refused(self, answer: Response, *, extra: frozenset[int]) -> Any:
        if answer.status in RECOVERABLE | extra:
            status = answer.status
            return Cut(f"status {status}", wait=retry_after(answer), status=status)
        return self._refused(answer)

    def _refused(self, answer: Response) -> EnvironmentLacks:
        return refusal(answer, f"the blob {self._blob.digest}", self._session.registry)

    def _sent(self, reached: int) -> None:
        """Progress never goes back, though an upload may."""
        if reached > self._reported:
            self._advance(reached - self._reported)
            self._reported = reached
