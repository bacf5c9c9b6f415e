"""One blob out of a registry and into the store.

In: a descriptor. Out: the blob in the store, whole and of the right digest, or an error. What was
received before a cut or a kill lies under partial/ and is gone on with; bytes beyond the size that
the manifest promised are not taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from urllib3 import BaseHTTPResponse

from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.filelocks import hold
from recipec.image.image import Descriptor
from recipec.publish.session import ATTEMPTS, RECOVERABLE, Reached, Session
from recipec.publish.wire import Answer, Cut, retry_after
from recipec.store import CHUNK, Store, digest_of_file, disk_error, make_folder


class Download:
    """The download of one blob; call it once."""

    def __init__(
        self,
        session: Session,
        repository: str,
        blob: Descriptor,
        store: Store,
        advance: Callable[[int], None],
    ) -> None:
        self._session = session
        self._url = f"/v2/{repository}/blobs/{blob.digest}"
        self._blob = blob
        self._store = store
        self._report = Reached(session, advance)

    def run(self) -> Path:
        """The blob's file in the store; not a byte is moved if it is there already.

        Raises EnvironmentLacks if the registry does not give it or the disk is full, HashMismatch
        if it gives other bytes.
        """
        target = self._store.path(self._blob.digest)
        part = make_folder(self._store.root / "partial") / target.name
        lock = Path(f"{part}.lock")
        if not target.is_file():
            with hold(lock):
                if not target.is_file():
                    self._complete(part, target)
            with suppress(OSError):
                lock.unlink()
        self._report(self._blob.size)
        return target

    def _complete(self, part: Path, target: Path) -> None:
        resumed = part.exists() and part.stat().st_size > 0
        try:
            found = self._receive_all(part)
            if found != self._blob.digest and resumed:
                part.unlink()  # the old part may have been of something else
                found = self._receive_all(part)
            if found != self._blob.digest:
                raise self._other(self._blob.digest, found)
        except HashMismatch:
            part.unlink(missing_ok=True)
            raise
        try:
            make_folder(target.parent)
            part.chmod(0o444)
            part.replace(target)
        except OSError as error:
            raise disk_error(error, self._store.root) from error

    def _other(self, expected: str, found: str) -> HashMismatch:
        return HashMismatch(
            f"a blob of {self._session.registry}",
            expected=expected,
            found=found,
            hint="the registry, or something before it, gives other bytes; none were kept",
        )

    def _receive_all(self, part: Path) -> str:
        """The digest of the whole part, received with as many requests as it takes."""
        fruitless = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            if before > self._blob.size:
                part.unlink()
                before = 0
            if before == self._blob.size and part.exists():
                return digest_of_file(part)
            try:
                return self._receive(part, before)
            except Cut as cut:
                after = part.stat().st_size if part.exists() else 0
                fruitless = 0 if after > before else fruitless + 1
                if fruitless >= ATTEMPTS:
                    raise EnvironmentLacks(
                        f"the download of {self._blob.digest} from {self._session.registry} "
                        f"keeps failing: {cut.why}",
                        hint="pull again: what arrived already is kept",
                    ) from None
                self._session.pause(max(0, fruitless - 1), cut.wait)

    def _receive(self, part: Path, start: int) -> str:
        """One request; the digest once the part is whole. Raises Cut if it is not."""
        with self._session.stream(self._url, start=start) as response:
            start = self._begin(response, part, start)
            hashed = hashlib.sha256()
            if start:
                with part.open("rb") as old:
                    while chunk := old.read(CHUNK):
                        hashed.update(chunk)
            with part.open("ab" if start else "wb", buffering=0) as stream:
                self._copy(response, stream.write, hashed.update, start)
        return "sha256:" + hashed.hexdigest()

    def _begin(self, response: BaseHTTPResponse, part: Path, start: int) -> int:
        """Where the answer's bytes belong. Raises Cut if that cannot be known."""
        status = response.status
        if status == 200:
            return 0
        told = response.headers.get("Content-Range", "")
        if status == 206 and start and told.startswith(f"bytes {start}-"):
            return start
        if status in {206, 416}:
            part.unlink(missing_ok=True)
            raise Cut("the registry does not know how far the part reaches")
        data = response.read(1 << 16)
        answer = Answer(status=status, headers=response.headers, data=data, url=self._url)
        if status in RECOVERABLE:
            raise Cut(f"status {status}", wait=retry_after(answer), status=status)
        raise self._session.refusal(answer, f"the blob {self._blob.digest}")

    def _copy(
        self,
        response: BaseHTTPResponse,
        write: Callable[[bytes], object],
        update: Callable[[bytes], object],
        reached: int,
    ) -> None:
        while chunk := response.read1(CHUNK, decode_content=False):
            reached += len(chunk)
            if reached > self._blob.size:
                raise self._other(f"{self._blob.size} bytes", "more")
            try:
                write(chunk)
            except OSError as error:
                raise disk_error(error, self._store.root) from error
            update(chunk)
            self._report(reached)
        if reached < self._blob.size:
            raise Cut("the answer ends too early")
