"""Writing one layer: a gzip file of many members whose contents are one tar archive.

In: entries in the order that they shall have. Out: a blob in the store, and the digest of the tar
(the diff_id). A file that lies deflated in a wheel is not compressed again: its gzip member holds
our encoding of the padding and header before it, ended on a whole byte, then the wheel's own
stream, copied. RFC 1952 allows any number of members; their contents follow one another.

What is copied is inflated too, for the diff_id, and must then have the length and the CRC that the
wheel's directory says: a stream that does not is refused, and nothing of the layer is kept. Only a
layer whose diff_id is known from its blob's digest is written without a look inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, cast

from isal import isal_zlib

from recipec.errors import UnsafeInput
from recipec.image import tarball
from recipec.image.deflate import encode, stored
from recipec.image.format import INFLATED
from recipec.store import BlobWriter, Hashing

_GZIP = bytes.fromhex("1f8b08000000000000ff")
"""Deflate, no flags, no time, unknown system."""
_PENDING_MAX = 4 << 20
_Broken = cast("type[Exception]", isal_zlib.error)


class LayerWriter:
    """One layer on its way into `blob`. `watch` is called with bytes of progress, and may raise.

    With `blind` nothing is inflated, and the archive is not hashed: the caller must not keep a blob
    whose digest it does not know already.
    """

    def __init__(
        self,
        blob: BlobWriter,
        *,
        match: bool = False,
        blind: bool = False,
        watch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._blob = blob
        self._match = match
        self._watch = watch
        self._tar = None if blind else Hashing()
        self._pending: list[bytes] = []
        self._waiting = 0
        self._folders: set[str] = set()

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A directory; written once, after its parents."""
        if path and path not in self._folders:
            self._parents(path)
            self._folders.add(path)
            self._head(f"{path}/", tarball.DIRECTORY, mode)

    def symlink(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._parents(path)
        self._head(path, tarball.SYMLINK, 0o777, target=target)

    def hardlink(self, path: str, target: str) -> None:
        """Another name of a file that this layer holds already."""
        self._parents(path)
        self._head(path, tarball.HARDLINK, 0o644, target=target)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A file of which all bytes are at hand; compressed by our own encoder."""
        self._parents(path)
        self._head(path, tarball.REGULAR, mode, size=len(data))
        self._pending += (data, tarball.padding(len(data)))
        self._waiting += len(data)
        if self._waiting > _PENDING_MAX:
            self._flush()

    def stream(
        self,
        path: str,
        *,
        size: int,
        chunks: Iterable[bytes],
        crc: int | None = None,
        mode: int = 0o644,
    ) -> None:
        """A file as stored blocks. Raises UnsafeInput if its size or a given CRC is a lie."""
        self._parents(path)
        self._head(path, tarball.REGULAR, mode, size=size)
        before = self._begin()
        total = check = 0
        for chunk in chunks:
            total += len(chunk)
            if total > size:
                break
            self._blob.write(stored(chunk, final=False))
            if self._tar is not None:
                self._tar.update(chunk)
            check = isal_zlib.crc32(chunk, check)
            self._watch(len(chunk))
        if total != size:
            raise UnsafeInput(f"{path}: it is not {size} bytes long, as was declared")
        if crc is not None and check != crc:
            raise UnsafeInput(f"{path}: its CRC is {check:08x}, not the {crc:08x} declared")
        self._blob.write(stored(b"", final=True) + before.with_file(check, size))
        self._pending.append(tarball.padding(size))

    def splice(
        self,
        path: str,
        *,
        size: int,
        crc: int,
        chunks: Iterable[bytes],
        mode: int = 0o644,
        tail: bytes = b"",
    ) -> None:
        """A file whose raw deflate stream is at hand, followed by the bytes of `tail`.

        `size` and `crc` are what the stream must inflate to. Raises UnsafeInput if it does not.
        """
        self._parents(path)
        whole = size + len(tail)
        self._head(path, tarball.REGULAR, mode, size=whole)
        before = self._begin()
        for chunk in (
            chunks if self._tar is None else self._seen(path, size, crc, chunks, self._tar)
        ):
            self._blob.write(chunk)
            self._watch(len(chunk))
        self._blob.write(before.with_file(crc, size))
        self._pending += (tail, tarball.padding(whole))

    def close(self) -> str | None:
        """End the archive; its diff_id, None if it is not hashed. The caller commits the blob."""
        self._pending.append(tarball.END)
        self._flush()
        return None if self._tar is None else self._tar.digest()

    def _seen(
        self, path: str, size: int, crc: int, chunks: Iterable[bytes], tar: Hashing
    ) -> Iterator[bytes]:
        """The pieces of a deflate stream, each inflated into the archive first."""
        check = _Inflater(path, size)
        for chunk in chunks:
            for data in check.feed(chunk):
                tar.update(data)
            yield chunk
        check.finish(crc)

    def _parents(self, path: str) -> None:
        """Every layer states the folders above its files, always with the same metadata."""
        parent = path.rpartition("/")[0]
        if parent and parent not in self._folders:
            self.folder(parent)

    def _head(self, path: str, kind: bytes, mode: int, size: int = 0, target: str = "") -> None:
        self._pending += tarball.fields(path, kind=kind, mode=mode, size=size, target=target)

    def _taken(self) -> tuple[list[bytes], _Part]:
        """What is pending, in pieces, now part of the tar; and its CRC and length."""
        pieces, self._pending, self._waiting = self._pending, [], 0
        data = b"".join(pieces)
        if self._tar is not None:
            self._tar.update(data)
        return pieces, _Part(isal_zlib.crc32(data), len(data))

    def _begin(self) -> _Part:
        """Open a gzip member with what is pending."""
        pieces, before = self._taken()
        self._blob.write(_GZIP + encode(pieces, final=False, match=self._match))
        return before

    def _flush(self) -> None:
        """Write what is pending as a gzip member of its own."""
        pieces, whole = self._taken()
        self._blob.write(_GZIP + encode(pieces, final=True, match=self._match) + whole.trailer())


class _Part(NamedTuple):
    """CRC and length of the first part of a gzip member's contents."""

    crc: int
    size: int

    def trailer(self) -> bytes:
        """The end of a member that holds this and no more."""
        return self.crc.to_bytes(4, "little") + (self.size & 0xFFFFFFFF).to_bytes(4, "little")

    def with_file(self, crc: int, size: int) -> bytes:
        """The end of a member in which a file of this CRC and size follows."""
        both = isal_zlib.crc32_combine(self.crc, crc, size)
        return _Part(both, self.size + size).trailer()


class _Inflater:
    """Inflates a raw deflate stream piece by piece and holds it to its declared size and CRC."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self._size = size
        self._crc = 0
        self._total = 0
        self._inflate = isal_zlib.decompressobj(-15)

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """What `chunk` adds, at most INFLATED bytes at a time."""
        if self._inflate.eof:
            raise self._lie("bytes follow the end of its deflate stream")
        while True:
            data = self._step(chunk)
            if data:
                yield data
            chunk = self._inflate.unconsumed_tail
            # A full answer may leave more output waiting although all input is taken.
            if self._inflate.eof or (not chunk and len(data) < INFLATED):
                return

    def _step(self, chunk: bytes) -> bytes:
        try:
            data: bytes = self._inflate.decompress(chunk, INFLATED)
        except _Broken as error:
            raise self._lie("its deflate stream is broken") from error
        self._total += len(data)
        if self._total > self._size:
            raise self._lie(f"it inflates to more than the {self._size} bytes declared")
        self._crc = isal_zlib.crc32(data, self._crc)
        return data

    def finish(self, crc: int) -> None:
        """Raises UnsafeInput unless the stream has ended, whole, with this CRC."""
        if not self._inflate.eof:
            raise self._lie("its deflate stream is cut short")
        if self._inflate.unused_data or self._inflate.unconsumed_tail:
            raise self._lie("bytes follow the end of its deflate stream")
        if self._total != self._size:
            raise self._lie(f"it inflates to {self._total} bytes, not the {self._size} declared")
        if self._crc != crc:
            raise self._lie(f"its CRC is {self._crc:08x}, not the {crc:08x} declared")

    def _lie(self, what: str) -> UnsafeInput:
        return UnsafeInput(f"{self._path}: {what}")
