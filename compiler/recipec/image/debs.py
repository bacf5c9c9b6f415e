"""Reading Debian packages.

In: a .deb file (an ar archive of `debian-binary`, `control.tar.*`, `data.tar.*`; deb(5)). Out: its
control stanza and its entries, with the files' contents appended to a spool file, so that memory
stays small. Maintainer scripts are neither run nor kept. Raises UnsafeInput for anything that a
package has no business to hold: devices, sockets, names that leave the tree, absurd sizes.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

from recipec.errors import EnvironmentLacks, UnsafeInput
from recipec.image.format import CHUNK, MAX_MEMBERS, MAX_METADATA, MAX_RATIO, MAX_SLACK
from recipec.image.names import safe

_MAGIC = b"!<arch>\n"
_HEADER = 60


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Where a file's bytes lie in the spool."""

    offset: int
    size: int

    def chunks(self, spool: BinaryIO) -> Iterator[bytes]:
        """The bytes, at most CHUNK at a time."""
        spool.seek(self.offset)
        left = self.size
        while left and (data := spool.read(min(left, CHUNK))):
            left -= len(data)
            yield data


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing in a package: `path` without a leading slash; `target` for links."""

    path: str
    kind: Literal["file", "folder", "symlink", "hardlink"]
    mode: int
    target: str = ""
    contents: Contents | None = None


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that was read: its control stanza as text, its entries in its own order."""

    name: str
    control: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One member of the ar archive."""

    name: str
    offset: int
    size: int


def read_deb(path: Path, label: str, spool: BinaryIO) -> Package:
    """Read a package; its files' contents are appended to `spool`."""
    with path.open("rb") as stream:
        parts = _parts(stream, label)
        names = [part.name.partition(".")[0] for part in parts[:3]]
        if names != ["debian-binary", "control", "data"]:
            raise UnsafeInput(f"{label}: it is not a Debian package of version 2.0")
        with _tar(stream, parts[1], label) as control:
            stanza = _control(control, label)
        with _tar(stream, parts[2], label) as data:
            limit = parts[2].size * MAX_RATIO + MAX_SLACK
            entries = tuple(_entries(data, label, spool, limit))
    fields = dict(line.split(":", 1) for line in stanza.splitlines() if ":" in line)
    name = fields.get("Package", "").strip()
    if not name:
        raise UnsafeInput(f"{label}: its control file names no package")
    return Package(name=name, control=stanza, entries=entries)


def _parts(stream: BinaryIO, label: str) -> list[_Part]:
    """The members of an ar archive."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise UnsafeInput(f"{label}: it is not a Debian package")
    found: list[_Part] = []
    while header := stream.read(_HEADER):
        digits = header[48:58].strip()
        if len(header) != _HEADER or header[58:] != b"`\n" or not digits.isdigit():
            raise UnsafeInput(f"{label}: it is damaged: a broken ar header")
        name = header[:16].rstrip(b" ").rstrip(b"/").decode("ascii", "replace")
        part = _Part(name=name, offset=stream.tell(), size=int(digits))
        found.append(part)
        stream.seek(part.offset + part.size + part.size % 2)
    return found


class _Slice:
    """The bytes of one part, as a stream for a decompressor."""

    def __init__(self, stream: BinaryIO, part: _Part) -> None:
        self._stream = stream
        self._left = part.size
        stream.seek(part.offset)

    def read(self, size: int = -1) -> bytes:
        take = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(take)
        self._left -= len(data)
        return data


class _Limited:
    """An inflated stream of at most `limit` bytes; tarfile reads long names as a whole."""

    def __init__(self, stream: IO[bytes], limit: int, label: str) -> None:
        self._stream = stream
        self._left = limit
        self._label = label

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_much(self._label)
        return data


def _too_much(label: str) -> UnsafeInput:
    return UnsafeInput(f"{label}: it unpacks to more than a package can hold")


@contextmanager
def _tar(stream: BinaryIO, part: _Part, label: str) -> Iterator[tarfile.TarFile]:
    """The tar archive in a part; whatever breaks while it is read is UnsafeInput."""
    raw = cast("BinaryIO", _Slice(stream, part))
    try:
        limit = part.size * MAX_RATIO + 2 * MAX_SLACK
        inflated = cast("BinaryIO", _Limited(_inflated(raw, part.name, label), limit, label))
        with tarfile.open(fileobj=inflated, mode="r|", bufsize=CHUNK) as archive:
            yield archive
    except (tarfile.TarError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise UnsafeInput(f"{label}: its {part.name} is damaged: {error}") from error


def _inflated(raw: BinaryIO, name: str, label: str) -> IO[bytes]:
    suffix = name.partition(".tar")[2]
    if suffix == "":
        return raw
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
    if suffix == ".zst":
        try:
            from compression import zstd  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise EnvironmentLacks(
                f"{label} is compressed with zstd, which this Python cannot read",
                hint="run recipec with Python 3.14 or newer",
            ) from None
        return cast("IO[bytes]", zstd.ZstdFile(raw))
    raise UnsafeInput(f"{label}: {name} is compressed in a way that packages are not")


def _control(archive: tarfile.TarFile, label: str) -> str:
    """The control stanza."""
    for info in archive:
        if info.isfile() and info.name.removeprefix("./") == "control":
            stream = archive.extractfile(info)
            if info.size > MAX_METADATA or stream is None:
                raise UnsafeInput(f"{label}: its control file has {info.size} bytes")
            try:
                return stream.read().decode("utf-8")
            except UnicodeDecodeError:
                raise UnsafeInput(f"{label}: its control file is not UTF-8") from None
    raise UnsafeInput(f"{label}: it has no control file")


def _entries(archive: tarfile.TarFile, label: str, spool: BinaryIO, limit: int) -> Iterator[Entry]:
    """Every entry of the data archive. `limit` bounds the bytes of all files together."""
    seen: set[str] = set()
    for count, info in enumerate(archive):
        name = info.name.removeprefix("./").removesuffix("/")
        if name in ("", "."):
            continue
        limit -= info.size
        if info.size < 0 or limit < 0 or count > MAX_MEMBERS:
            raise _too_much(label)
        if name in seen:
            raise UnsafeInput(f"{label}: member {name!r} is there twice")
        seen.add(name)
        yield _entry(archive, info, safe(name, label), label, spool)


def _entry(
    archive: tarfile.TarFile, info: tarfile.TarInfo, name: str, label: str, spool: BinaryIO
) -> Entry:
    if info.isdir():
        return Entry(path=name, kind="folder", mode=info.mode & 0o1777)
    if info.issym():
        return Entry(path=name, kind="symlink", mode=0o777, target=info.linkname)
    if info.islnk():
        target = safe(info.linkname.removeprefix("./"), label)
        return Entry(path=name, kind="hardlink", mode=0o644, target=target)
    stream = archive.extractfile(info) if info.isreg() else None
    if stream is None:
        raise UnsafeInput(f"{label}: member {name!r} is a device or another special file")
    offset = spool.seek(0, 2)
    while data := stream.read(CHUNK):
        spool.write(data)
    # Owner may read and write, all may read; execute bits as packed; never setuid.
    mode = 0o755 if info.mode & 0o111 else 0o644
    return Entry(
        path=name, kind="file", mode=mode, contents=Contents(offset=offset, size=info.size)
    )
