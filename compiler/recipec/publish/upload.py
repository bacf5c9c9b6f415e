"""One blob into one repository.

In: a blob, and where its file is. Out: the blob in the registry and how it came there, or an error.
What the registry has is not sent; what another of its repositories has is mounted. The first try
sends the blob in one request, where the registry takes that; after a cut it goes in chunks, from
where the registry says it got to, or from the start where it forgot (registry 2.8 does after a cut
in mid-chunk) or takes no chunks. A registry that names another digest than the blob's is never
believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

from recipec.catalog.registries import quirks_of
from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.image.image import Descriptor
from recipec.publish.content import Content, FileContent
from recipec.publish.refusals import said
from recipec.publish.session import ATTEMPTS, RECOVERABLE, Reached, Session
from recipec.publish.wire import Answer, Cut, retry_after

PIECE = 4 << 20
"""Bytes in a chunk, where registries.toml does not say: few registries take less."""

LEAST = 64 << 10
"""A registry that refuses even such a chunk as too large takes none."""

RESUMES = 50
"""Cuts after which some progress was made that one blob may have."""

_LOST = frozenset({400, 404, 416})
"""The registry got other bytes, has forgotten the upload, or counts otherwise than we do."""

_SPOILT = frozenset(
    {"DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN"}
)
"""Error codes after which an upload is begun anew: bytes were lost or changed on the way."""


class Outcome(Enum):
    """How a blob came to be in the repository."""

    THERE = "there"
    MOUNTED = "mounted"
    SENT = "sent"
    COPIED = "copied"
    """Sent as it came from another registry, not from the store."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """An upload under way: its URL, the bytes that arrived, the size of a chunk (0: no chunks)."""

    location: str
    offset: int
    chunk: int


class Upload:
    """The upload of one blob; call it once."""

    def __init__(
        self,
        session: Session,
        repository: str,
        blob: Descriptor,
        obtain: Callable[[], Path | Content],
        advance: Callable[[int], None],
    ) -> None:
        self._session = session
        self._repository = repository
        self._base = f"/v2/{repository}/blobs"
        self._blob = blob
        self._obtain = obtain
        self._report = Reached(session, advance)
        self._quirks = quirks_of(session.registry)
        self._piece = self._quirks.chunk or PIECE
        self._failures = 0
        self._resumes = 0

    def run(self, *, mount_from: str = "") -> Outcome:
        """Make sure that the registry has the blob.

        Raises EnvironmentLacks if it cannot be, HashMismatch if the registry names another digest
        or the file has other bytes.
        """
        outcome = Outcome.THERE
        if not self.present():
            if mount_from and self._quirks.mount != "no" and self._mounted(mount_from):
                outcome = Outcome.MOUNTED
            else:
                found = self._obtain()
                in_store = isinstance(found, Path)
                self._upload(FileContent(found, self._blob) if isinstance(found, Path) else found)
                outcome = Outcome.SENT if in_store else Outcome.COPIED
        self._report(self._blob.size)
        return outcome

    def present(self) -> bool:
        """Whether the repository has the blob."""
        return has_blob(self._session, self._repository, self._blob)

    def _mounted(self, repository: str) -> bool:
        """Take the blob over from another repository, if the registry will."""
        asked = urlencode({"mount": self._blob.digest, "from": repository})
        answer = self._session.request(
            "POST", f"{self._base}/uploads/?{asked}", headers={"Content-Length": "0"}
        )
        if answer.status == 201:
            _agree(answer, self._blob, self._session)
        # With 202 it began an upload instead, which may be out of date when the file is at hand.
        return answer.status == 201

    def _upload(self, content: Content) -> None:
        state = self._begin(whole=True)
        while True:
            try:
                self._send(state, content)
                return
            except _Progress as stop:
                onward = self._after(stop.state, stop.cut, content)
            if onward is None:
                return  # it had arrived, only the answer was lost
            state = onward

    def _begin(self, *, whole: bool) -> _State:
        answer = self._session.request(
            "POST", f"{self._base}/uploads/", headers={"Content-Length": "0"}
        )
        if answer.status != 202:
            raise self._refused(answer)
        location = self._session.location(answer)
        if not location:
            raise EnvironmentLacks(
                f"{self._session.registry} began an upload and did not say where",
                hint="ask whoever runs the registry",
            )
        least = _number(answer.headers.get("OCI-Chunk-Min-Length", ""))
        most = _number(answer.headers.get("OCI-Chunk-Max-Length", ""))
        self._piece = max(self._piece, least)
        self._piece = min(self._piece, most) if most else self._piece
        limit = self._quirks.whole_max
        at_once = not self._quirks.chunks or (whole and not (limit and self._blob.size > limit))
        return _State(location=location, offset=0, chunk=0 if at_once else self._piece)

    def _send(self, state: _State, content: Content) -> None:
        """Send what is left and close the upload. Raises _Progress where it was cut."""
        try:
            while state.chunk and state.offset < self._blob.size:
                state = self._send_chunk(state, content)
            self._finish(state, content)
        except Cut as cut:
            raise _Progress(state, cut) from None

    def _send_chunk(self, state: _State, content: Content) -> _State:
        size = min(state.chunk, self._blob.size - state.offset)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "Content-Range": f"{state.offset}-{state.offset + size - 1}",
        }
        with content.part(state.offset, size, self._report) as part:
            answer = self._session.once("PATCH", state.location, headers=headers, body=part)
        if answer.status not in {202, 204}:
            raise self._cut_or_refused(answer)
        return _State(
            location=self._session.location(answer) or state.location,
            offset=state.offset + size,
            chunk=state.chunk,
        )

    def _finish(self, state: _State, content: Content) -> None:
        """Send what is left in the request that gives the upload its digest."""
        size = self._blob.size - state.offset
        joint = "&" if urlsplit(state.location).query else "?"
        url = f"{state.location}{joint}{urlencode({'digest': self._blob.digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with content.part(state.offset, size, self._report) as part:
            answer = self._session.once("PUT", url, headers=headers, body=part if size else b"")
        if answer.status not in {201, 204}:
            raise self._cut_or_refused(answer)
        _agree(answer, self._blob, self._session)

    def _after(self, state: _State, cut: Cut, content: Content) -> _State | None:
        """How to go on after a cut; None if the blob is in the registry after all."""
        too_large = cut.status in {413, 416} and state.offset == 0
        if too_large and state.chunk:
            self._piece = max(LEAST, state.chunk // 2)
        going_on = None if too_large or cut.status in _LOST else self._where(state)
        self._resumes += 1
        self._failures = 0 if going_on and going_on.offset > state.offset else self._failures + 1
        if cut.status == 400:
            content.check()
        if self._failures >= ATTEMPTS or self._resumes > RESUMES:
            raise self._hopeless(cut)
        if not too_large:
            self._session.pause(max(0, self._failures - 1), cut.wait)
        if going_on is not None:
            return going_on
        if self.present():
            return None
        return self._begin(whole=False)

    def _where(self, state: _State) -> _State | None:
        """Where a cut upload goes on; None if the registry forgot it, or takes no chunks."""
        if not self._quirks.chunks:
            return None
        try:
            answer = self._session.once("GET", state.location)
        except Cut:
            return None
        first, _, last = answer.headers.get("Range", "").removeprefix("bytes=").partition("-")
        offset = _number(last) + 1
        if answer.status != 204 or first != "0" or not 1 < offset <= self._blob.size:
            return None
        location = urljoin(answer.url, answer.headers.get("Location", "")) or state.location
        return _State(location=location, offset=offset, chunk=self._piece)

    def _hopeless(self, cut: Cut) -> EnvironmentLacks:
        return EnvironmentLacks(
            f"the upload of {self._blob.digest} to {self._session.registry} "
            f"keeps failing: {cut.why}",
            hint="push again: what arrived already is not sent again",
        )

    def _cut_or_refused(self, answer: Answer) -> Exception:
        code, words = said(answer)
        passing = answer.status in (RECOVERABLE | _LOST | {413}) - {400}
        if passing or (answer.status == 400 and code in _SPOILT):
            words = words if code in _SPOILT else f"status {answer.status}"
            return Cut(words, wait=retry_after(answer), status=answer.status)
        return self._refused(answer)

    def _refused(self, answer: Answer) -> EnvironmentLacks:
        return _refused(answer, self._blob, self._session)


class _Progress(Exception):
    """How far an upload got before it was cut."""

    def __init__(self, state: _State, cut: Cut) -> None:
        super().__init__(cut.why)
        self.state = state
        self.cut = cut


def has_blob(session: Session, repository: str, blob: Descriptor) -> bool:
    """Whether the repository has the blob. Raises HashMismatch if it names another digest."""
    answer = session.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}")
    if answer.status == 200:
        _agree(answer, blob, session)
        return True
    moved = urlsplit(answer.url)[:2] != urlsplit(session.base)[:2]
    if answer.status == 404 or moved:
        return False  # a storage host that does not let itself be asked says nothing
    raise _refused(answer, blob, session)


def _agree(answer: Answer, blob: Descriptor, session: Session) -> None:
    """Raise HashMismatch if the registry names another digest than the blob's."""
    found = answer.headers.get("Docker-Content-Digest", "") or blob.digest
    if found != blob.digest:
        raise HashMismatch(
            f"a blob in {session.registry}",
            expected=blob.digest,
            found=found,
            hint="the registry, or something before it, is broken; no tag was set",
        )


def _refused(answer: Answer, blob: Descriptor, session: Session) -> EnvironmentLacks:
    return session.refusal(answer, f"the blob {blob.digest}")


def _number(text: str) -> int:
    """A header's number of at most 18 digits, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
