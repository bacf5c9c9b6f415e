"""A tar read once, front to back, hashed as it passes.

In: a readable stream of tar bytes. Out: members with their data, and the digest of every byte,
padding and trailer included. It knows ustar, PAX and GNU long names; it writes nothing.
The standard library's stream mode copies every byte several times, which costs more than
inflating; headers are still parsed by it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

BLOCK = 512
CHUNK = 1 << 20


class TarStream:
    """The members of a tar; iterate, and read each one's data before the next."""

    def __init__(self, stream: BinaryIO) -> None:
        self._hashed = _Hashed(stream)
        self._buffer = io.BufferedReader(self._hashed, CHUNK)
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Each member with its PAX path, link path and size applied.

        Raises tarfile.TarError for what is not a tar and EOFError where it ends early.
        """
        extra: dict[str, str] = {}
        while True:
            for _ in self.pieces():  # what the caller left unread
                pass
            self._exactly(self._padding)
            self._padding = 0
            header = self._exactly(BLOCK)
            if not header.strip(b"\0"):
                return
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            self._begin(member.size if member.isreg() or member.type in b"xgLK" else 0)
            if member.type == tarfile.XHDTYPE:
                extra.update(_pax(b"".join(self.pieces())))
            elif member.type in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}:
                key = "path" if member.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                text = b"".join(self.pieces()).rstrip(b"\0")
                extra[key] = text.decode("utf-8", "surrogateescape")
            elif member.type != tarfile.XGLTYPE:
                self._apply(member, extra)
                extra = {}
                yield member

    def pieces(self) -> Iterator[bytes]:
        """The data of the current member."""
        while self._left:
            data = self._exactly(min(self._left, CHUNK))
            self._left -= len(data)
            yield data

    def digest(self) -> str:
        """Read to the end; the digest of everything."""
        while self._buffer.read(CHUNK):
            pass
        return self._hashed.digest

    def _begin(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _apply(self, member: tarfile.TarInfo, extra: dict[str, str]) -> None:
        member.name = extra.get("path", member.name)
        member.linkname = extra.get("linkpath", member.linkname)
        if "size" in extra and member.isreg():
            member.size = int(extra["size"])
            self._begin(member.size)

    def _exactly(self, size: int) -> bytes:
        data = self._buffer.read(size)
        if len(data) != size:
            raise EOFError("the archive ends early")
        return data


class _Hashed(io.RawIOBase):
    """A raw stream that hashes what is read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self._hash.update(memoryview(buffer)[:count])
        return count

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _pax(data: bytes) -> Iterator[tuple[str, str]]:
    """The records `LENGTH KEY=VALUE\\n` of a PAX header (POSIX.1-2001, pax, "Extended Header")."""
    while data.strip(b"\0"):
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            raise tarfile.ReadError("a PAX record has a wrong length")
        record = data[len(length) + 1 : int(length) - 1]
        key, _, value = record.partition(b"=")
        yield key.decode("utf-8"), value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
