"""Downloads into the store: parallel, resumable, verified on arrival.

In: items (URL, digest, size) and a store. Out: digests of complete blobs. A blob appears under its
name only after its bytes were hashed; a kill or a full disk leaves a part under partial/, which the
next command goes on with. http, https and file URLs are read alike.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from recipec.errors import EnvironmentLacks, HashMismatch, RecipecError
from recipec.filelocks import hold
from recipec.pins.transport import (
    Access,
    Gone,
    Transient,
    Transport,
    shown,
    unreachable,
    without_password,
)
from recipec.progress import Progress, Silent
from recipec.store import CHUNK, DiskFull, Store, digest_of_file, disk_error, make_folder

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

TRIES = 5
"""Tries in a row that brought nothing new before a download is given up."""
_DOCUMENT_LIMIT = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file to fetch: `what` names it in messages; digest and size are None where unknown."""

    what: str
    url: str
    digest: str | None = None
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What came of many items: digests by URL, and the items that upstream no longer has."""

    digests: Mapping[str, str]
    gone: tuple[Item, ...]


class Downloader:
    """Fetches into one store. `patience` is the first pause before a repetition, in seconds."""

    def __init__(
        self,
        store: Store,
        *,
        access: Access | None = None,
        progress: Progress | None = None,
        jobs: int = 8,
        patience: float = 0.5,
    ) -> None:
        self._store = store
        self._transport = Transport(access or Access(), connections=max(1, jobs))
        self._progress = progress or Silent()
        self._jobs = max(1, jobs)
        self._patience = patience
        self._drawing = threading.Lock()
        self._stopped = threading.Event()

    def fetch_all(self, items: Sequence[Item]) -> Fetched:
        """Fetch everything that is not in the store; what is gone upstream is listed, not raised.

        Raises the first other error, after the downloads under way were stopped.
        """
        digests: dict[str, str] = {}
        gone: list[Item] = []
        # The largest first: a big file that starts last would end alone.
        queue = sorted(items, key=lambda item: (-(item.size or 0), item.url))
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(self.fetch, item): item for item in queue}
            try:
                for future in as_completed(futures):
                    item = futures[future]
                    try:
                        digests[item.url] = future.result()
                    except Gone:
                        gone.append(item)
            except BaseException as error:
                self._stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                if isinstance(error, DiskFull):
                    raise error.needing(*self._left(items), self._store.root) from error
                raise
        return Fetched(digests=digests, gone=tuple(sorted(gone, key=lambda item: item.what)))

    def _left(self, items: Sequence[Item]) -> tuple[int, str]:
        """How many bytes are still to come, as far as sizes are known, and a name for them."""
        left = [item for item in items if item.digest is None or not self._store.has(item.digest)]
        return sum(item.size or 0 for item in left), f"{len(left)} files that are still to come"

    def fetch(self, item: Item) -> str:
        """The digest of the blob, fetched if the store does not have it.

        Raises Gone, HashMismatch, or EnvironmentLacks (no network, no space, not allowed).
        """
        if item.digest is not None and self._store.has(item.digest):
            return item.digest
        if urlsplit(item.url).scheme == "file":
            return self._copy(item)
        name = (item.digest or hashlib.sha256(item.url.encode()).hexdigest())[-64:]
        partial = make_folder(self._store.root / "partial") / name
        with hold(Path(f"{partial}.lock")):
            if item.digest is not None and self._store.has(item.digest):
                return item.digest
            task = self._begin(item)
            try:
                digest = self._complete(item, partial, task)
            finally:
                self._end(task)
        with suppress(OSError):
            Path(f"{partial}.lock").unlink()
        return digest

    def document(self, url: str) -> bytes:
        """A small file, into memory only."""
        if urlsplit(url).scheme == "file":
            try:
                return _local(url).read_bytes()
            except OSError as error:
                raise _no_file(url) from error
        for attempt in range(TRIES):
            try:
                response = self._transport.open(url)
                try:
                    return _read_all(response, url)
                finally:
                    response.release_conn()
            except Transient as error:
                last = error
                self._pause(attempt, error)
        raise unreachable(url, last)

    def _complete(self, item: Item, partial: Path, task: int) -> str:
        """Receive until the file is whole, check it, and move it into the store."""
        if item.digest is None:
            partial.unlink(missing_ok=True)  # nothing says that an old part is of the same file
        resumed = partial.exists() and partial.stat().st_size > 0
        self._receive_all(item, partial, task)
        digest = digest_of_file(partial)
        if item.digest is not None and digest != item.digest and resumed:
            partial.unlink()
            self._receive_all(item, partial, task)
            digest = digest_of_file(partial)
        if item.digest is not None and digest != item.digest:
            partial.unlink()
            raise HashMismatch(
                item.what,
                expected=item.digest,
                found=digest,
                hint=f"{shown(item.url)} serves other bytes than were pinned; nothing was built",
            )
        target = self._store.path(digest)
        try:
            make_folder(target.parent)
            partial.chmod(0o444)
            partial.replace(target)
        except OSError as error:
            raise disk_error(error, self._store.root) from error
        return digest

    def _receive_all(self, item: Item, partial: Path, task: int) -> None:
        fruitless = 0
        shown_bytes = 0
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            if before > shown_bytes:
                self._advance(task, before - shown_bytes)
            try:
                self._receive(item, partial, task, before)
                return
            except Transient as error:
                shown_bytes = partial.stat().st_size if partial.exists() else 0
                fruitless = 0 if shown_bytes > before else fruitless + 1
                if fruitless >= TRIES:
                    raise unreachable(item.url, error) from error
                self._pause(fruitless, error)

    def _receive(self, item: Item, partial: Path, task: int, start: int) -> None:
        """One request: append what comes to the part."""
        if item.size is not None and start > item.size:
            partial.unlink()
            start = 0
        if item.size is not None and start == item.size and start > 0:
            return
        response = self._transport.open(item.url, start=start)
        try:
            if response.status == 416 or (
                response.status == 206
                and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            ):
                partial.unlink(missing_ok=True)
                raise Transient("the server does not know how far the part reaches")
            mode = "ab" if response.status == 206 else "wb"
            self._append(response, partial, mode, task)
        finally:
            response.close()

    def _append(self, response: BaseHTTPResponse, partial: Path, mode: str, task: int) -> None:
        from urllib3.exceptions import HTTPError

        try:
            with partial.open(mode) as stream:
                while True:
                    try:
                        chunk = response.read(CHUNK)
                    except (HTTPError, ConnectionError, TimeoutError) as error:
                        raise Transient("the connection broke off") from error
                    if not chunk:
                        return
                    if self._stopped.is_set():
                        raise EnvironmentLacks("stopped")
                    stream.write(chunk)
                    self._advance(task, len(chunk))
        except OSError as error:
            raise disk_error(error, self._store.root) from error

    def _copy(self, item: Item) -> str:
        source = _local(item.url)
        task = self._begin(item)
        try:
            with source.open("rb") as stream, self._store.writer() as blob:
                while chunk := stream.read(CHUNK):
                    blob.write(chunk)
                    self._advance(task, len(chunk))
                return blob.commit(item.digest, what=item.what)
        except OSError as error:
            raise _no_file(item.url) from error
        finally:
            self._end(task)

    def _pause(self, attempt: int, error: Transient) -> None:
        pause = error.wait or self._patience * 2 ** min(attempt, 5)
        if self._stopped.wait(pause):
            raise EnvironmentLacks("stopped")

    def _begin(self, item: Item) -> int:
        with self._drawing:
            return self._progress.begin(item.what, item.size or 0)

    def _advance(self, task: int, amount: int) -> None:
        with self._drawing:
            self._progress.advance(task, amount)

    def _end(self, task: int) -> None:
        with self._drawing:
            self._progress.end(task)


def remember_url(store: Store, digest: str, url: str) -> None:
    """Keep where a blob came from, in the cache only and without its password."""
    known = store.record("urls", digest)
    clean = without_password(url)
    if not isinstance(known, dict) or known.get("url") != clean:
        store.put_record("urls", digest, {"url": clean})


def known_url(store: Store, digest: str) -> str | None:
    """Where a blob came from the last time, if that is remembered."""
    known = store.record("urls", digest)
    return str(known["url"]) if isinstance(known, dict) and "url" in known else None


def _local(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def _no_file(url: str) -> RecipecError:
    return Gone(
        f"{_local(url).name} is not in its folder any more",
        hint="`recipec lock` pins what the configured folders and indexes have now",
    )


def _read_all(response: BaseHTTPResponse, url: str) -> bytes:
    from urllib3.exceptions import HTTPError

    try:
        data = response.read(_DOCUMENT_LIMIT + 1)
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise Transient("the connection broke off") from error
    if len(data) > _DOCUMENT_LIMIT:
        raise EnvironmentLacks(f"{shown(url)} is larger than any such file: over 64 MiB")
    return data
