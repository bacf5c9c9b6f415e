"""The content-addressed store: bytes named by their sha256, and small records about them.

In: bytes, files, streams, and JSON records under a kind and a key. Out: paths of blobs that are
complete and verified, or nothing: a blob appears under its name by one rename, so a full disk or a
kill leaves only a temporary file that the next build removes. It never fetches anything.

Layout under `RECIPEC_CACHE` (default: the platform's user cache folder):
    blobs/sha256/HEX      wheels, packages, layers, configs, manifests; read-only
    records/KIND/KEY.record what was found out once: layers by key, digests by file stat, ...
    partial/HEX           downloads under way, resumed by whoever wants that digest
    rootfs/               unpacked layers for the sandbox engine
    tmp/                  files being written, each held by its writer
    locks/                locks between processes; empty files
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.tempfiles import create, held_folder, sweep

CHUNK = 1 << 20
"""Bytes read or hashed at a time."""

_LARGE = 1 << 16
"""Bytes that are worth a call to the hash and to the system."""

SETTLED = 2_000_000_000
"""Nanoseconds after a change in which another one may leave a file's times as they are."""

RECORD = ".record"
"""How a record's file ends. Its first line is the sha256 of the rest, a JSON text."""

DIGEST = re.compile("sha256:[0-9a-f]{64}")
"""How a digest is written, wherever recipec reads one."""

_HEX = re.compile("[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """The digest of `data`, as `sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical(value: object) -> bytes:
    """The one JSON text of a plain value: sorted keys, no spaces, ASCII only.

    Two equal values give equal bytes on every machine and Python version, so its digest is an
    identity. Raises ValueError on NaN and infinities, which JSON does not have.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def default_root() -> Path:
    """`RECIPEC_CACHE`, or the platform's user cache folder."""
    given = os.environ.get("RECIPEC_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("recipec", appauthor=False)


class Store:
    """A content-addressed store in one folder; safe for many processes at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_root()
        self._blobs = self.root / "blobs" / "sha256"

    def path(self, digest: str) -> Path:
        """Where the blob of `digest` is or would be."""
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or not _HEX.fullmatch(value):
            raise HashMismatch("a digest", expected="sha256 and 64 hex digits", found=digest)
        return self._blobs / value

    def has(self, digest: str) -> bool:
        """Whether the blob is complete in the store."""
        return self.path(digest).is_file()

    def read(self, digest: str) -> bytes:
        """The bytes of a blob that is known to be small."""
        return self.path(digest).read_bytes()

    def add_bytes(self, data: bytes) -> str:
        """Put `data` into the store; its digest."""
        digest = sha256(data)
        if not self.has(digest):
            with self.writer() as blob:
                blob.write(data)
                blob.commit(digest)
        return digest

    def add_file(self, source: Path, *, expected: str | None = None) -> str:
        """Copy a file into the store; its digest. Raises HashMismatch if it is not `expected`."""
        with source.open("rb") as stream, self.writer() as blob:
            while chunk := stream.read(CHUNK):
                blob.write(chunk)
            return blob.commit(expected, what=source.name)

    def writer(self) -> BlobWriter:
        """A file being written, which joins the store on `commit` and vanishes otherwise."""
        return BlobWriter(self)

    def verified(self, digest: str) -> bool:
        """Whether the blob's bytes still have the digest they are filed under (reads them all)."""
        return digest_of_file(self.path(digest)) == digest

    def digests(self) -> Iterator[str]:
        """Every complete blob, in sorted order; files with other names are not the store's."""
        if self._blobs.is_dir():
            for name in sorted(os.listdir(self._blobs)):  # noqa: PTH208 - names only, sorted
                if _HEX.fullmatch(name):
                    yield f"sha256:{name}"

    def record(self, kind: str, key: str) -> Any | None:
        """The record under `kind` and `key`, or None; a torn or damaged file counts as none."""
        try:
            return json.loads(_checked(self._record_path(kind, key).read_bytes()))
        except (OSError, ValueError):
            return None

    def put_record(self, kind: str, key: str, value: object) -> None:
        """Write a record, replacing an older one in one step."""
        text = canonical(value)
        line = hashlib.sha256(text).hexdigest().encode() + b"\n"
        folder = make_folder(self.root / "tmp")
        write_atomically(self._record_path(kind, key), line + text, beside=folder)

    def records(self, kind: str = "*") -> Iterator[tuple[Path, Any | None]]:
        """Every record of a kind, or of all, by its file; None for one that is damaged."""
        for path in sorted((self.root / "records").glob(f"{kind}/*{RECORD}")):
            try:
                yield path, json.loads(_checked(path.read_bytes()))
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                yield path, None

    def _record_path(self, kind: str, key: str) -> Path:
        name = key.removeprefix("sha256:")
        if not name.isalnum():
            name = hashlib.sha256(key.encode()).hexdigest()
        return self.root / "records" / kind / f"{name}{RECORD}"

    def digest_of(self, source: Path) -> str:
        """The digest of a file outside the store, remembered by its path, size and times.

        A file whose inode, size, mtime and ctime are unchanged is not read again. ctime cannot be
        set by a program, so an edit that puts the old mtime back is still seen. File times tick
        coarsely (milliseconds, seconds on some file systems), so a file that changed just now is
        read again the next time.
        """
        place = str(source.absolute())
        about = source.stat()
        stamp = [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
        known = self.record("files", place)
        if isinstance(known, dict) and known.get("stamp") == stamp:
            return str(known["digest"])
        digest = digest_of_file(source)
        if abs(time.time_ns() - about.st_ctime_ns) > SETTLED:
            self.put_record("files", place, {"digest": digest, "stamp": stamp, "path": place})
        return digest

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder inside the store, gone afterwards."""
        folder = make_folder(self.root / "tmp")
        with held_folder(folder) as path:
            yield path

    def sweep(self) -> None:
        """Remove what killed processes left in tmp/; what others are writing stays."""
        sweep(self.root / "tmp")


class Hashing:
    """sha256 of bytes that come in many small pieces and some large ones.

    Small ones wait for more, since each call to the hash, or to what `then` does with the same
    bytes, has its price.
    """

    def __init__(self, then: Callable[[bytes], object] = lambda _: None) -> None:
        self._hash = hashlib.sha256()
        self._then = then
        self._held: list[bytes] = []
        self._size = 0

    def update(self, data: bytes) -> None:
        """Take bytes."""
        if len(data) >= _LARGE:
            self.flush()
            self._hash.update(data)
            self._then(data)
            return
        self._held.append(data)
        self._size += len(data)
        if self._size >= _LARGE:
            self.flush()

    def flush(self) -> None:
        """Pass on what waits."""
        if self._held:
            data = b"".join(self._held)
            self._held, self._size = [], 0
            self._hash.update(data)
            self._then(data)

    def digest(self) -> str:
        """The digest of everything taken so far."""
        self.flush()
        return "sha256:" + self._hash.hexdigest()


class BlobWriter:
    """One blob on its way into the store; hashes what passes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hash = Hashing(self._append)
        self._file: int | None = None
        self._path: Path | None = None
        self.size = 0

    def __enter__(self) -> BlobWriter:
        folder = make_folder(self._store.root / "tmp")
        try:
            self._file, self._path = create(folder, "blob-")
        except OSError as error:
            raise disk_error(error, folder) from error
        return self

    def write(self, data: bytes) -> None:
        """Append bytes. Raises EnvironmentLacks when the disk is full."""
        self._hash.update(data)
        self.size += len(data)

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            raise disk_error(error, self._store.root) from error

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return self._hash.digest()

    def commit(self, expected: str | None = None, *, what: str = "a blob") -> str:
        """Give the bytes their name. Raises HashMismatch if they are not `expected`."""
        assert self._file is not None
        assert self._path is not None
        digest = self.digest
        if expected is not None and digest != expected:
            raise HashMismatch(what, expected=expected, found=digest)
        try:
            os.fchmod(self._file, 0o444)
            target = self._store.path(digest)
            make_folder(target.parent)
            self._path.replace(target)  # before it is closed: an open one is nobody else's
        except OSError as error:
            raise disk_error(error, self._store.root) from error
        self._path = None
        return digest

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            if self._file is not None:
                os.close(self._file)
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def digest_of_file(source: Path) -> str:
    """The digest of a file's bytes, read in full."""
    with source.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(folder: Path) -> Path:
    """Create a folder and its parents; a clear error instead of an OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    return folder


def write_atomically(
    target: Path, data: bytes, *, mode: int = 0o644, beside: Path | None = None
) -> None:
    """Write a file: the old bytes or the new, never half. Raises EnvironmentLacks."""
    with replacing(target, mode=mode, beside=beside) as stream:
        stream.write(data)


@contextmanager
def replacing(target: Path, *, mode: int = 0o644, beside: Path | None = None) -> Iterator[BinaryIO]:
    """A temporary file that takes the target's name at the end, unless there was an error.

    It stands in the target's folder, where those that killed writers of this file left are removed,
    or in `beside`, a folder of the same file system. Every OSError becomes EnvironmentLacks.
    """
    make_folder(target.parent)
    prefix = f".{target.name}.recipec-"
    if beside is None:
        sweep(target.parent, prefix)
    try:
        handle, path = create(beside or target.parent, prefix)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                path.replace(target)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise disk_error(error, target.parent) from error


def _checked(record: bytes) -> bytes:
    """A record's JSON text. Raises ValueError unless its first line is the text's sha256."""
    line, _, text = record.partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != line:
        raise ValueError("not the record that was written")
    return text


class DiskFull(EnvironmentLacks):
    """The disk, or the user's share of it, is full."""

    def needing(self, amount: int, what: str, root: Path) -> DiskFull:
        """The same error with how much is needed (in bytes, for `what`) and how much is free."""
        import shutil

        free = shutil.disk_usage(root).free / 1e6
        needed = f"{what} take about {amount / 1e6:.1f} MB, {free:.1f} MB are free"
        return DiskFull(f"{self.message}: {needed}", hint=self.hint)


def disk_error(error: OSError, folder: Path) -> EnvironmentLacks:
    """An OSError from writing, as something a user can act on."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(
            f"the disk is full: {folder}",
            hint="free some space, run `recipec cache gc`, or point RECIPEC_CACHE at another disk",
        )
    return EnvironmentLacks(
        f"cannot write to {folder}: {error.strerror or error}",
        hint="check the folder's owner and mode, or point RECIPEC_CACHE elsewhere",
    )
