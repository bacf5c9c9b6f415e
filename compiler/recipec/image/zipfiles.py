"""Reading a zip file strictly, and its members' deflate streams as they are.

In: a zip file. Out: its directory as values, and the raw bytes of any member. It inflates nothing
but small metadata, and believes nothing twice: whatever the local headers, the sizes and offsets
say must agree with the central directory (PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5), members
must not overlap, and what is declared must be possible. Otherwise UnsafeInput names both file and
member.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from recipec.errors import UnsafeInput
from recipec.image.format import (
    CHUNK,
    DEFLATED_CHUNK,
    MAX_MEMBERS,
    MAX_METADATA,
    MAX_RATIO,
    MAX_SLACK,
)
from recipec.image.names import safe

STORED, DEFLATED = 0, 8

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED, _DESCRIPTOR, _UTF8, _PATCH, _STRONG = 0x1, 0x8, 0x800, 0x20, 0x40
_BIG16, _BIG32 = 0xFFFF, 0xFFFFFFFF
_DEFLATE_BEST = 1032
"""Deflate cannot shrink anything further than this."""
_MAX_DIRECTORY = 128 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of a zip: sizes in bytes, `mode` as its maker's file system had it (0: unknown)."""

    name: str
    raw_name: bytes
    method: int
    crc: int
    compressed: int
    size: int
    mode: int
    offset: int

    @property
    def executable(self) -> bool:
        """Whether any execute bit is set on a regular file."""
        return bool(stat.S_ISREG(self.mode) and self.mode & 0o111)


class ZipFile:
    """An open zip file; `label` names it in errors. Use it as a context manager."""

    def __init__(self, path: Path, label: str) -> None:
        self.label = label
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._limits: dict[int, int] = {}
        """Where each member must have ended: the next one's offset, or the directory's."""
        try:
            self.size = os.fstat(self._handle).st_size
            self.members = self._directory()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> ZipFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The member's bytes as they lie in the file: a deflate stream, or the file itself."""
        head = os.pread(self._handle, _LOCAL.size + len(member.raw_name), member.offset)
        start = member.offset + len(head) + self._check_local(member, head)
        if start + member.compressed > self._limits[member.offset]:
            raise self._wrong(member.name, "it overlaps with what follows it")
        left = member.compressed
        amount = CHUNK if member.method == STORED else DEFLATED_CHUNK
        while left:
            data = os.pread(self._handle, min(left, amount), start)
            if not data:
                raise self._wrong(member.name, "the file ends inside it")
            yield data
            start += len(data)
            left -= len(data)

    def read(self, member: Member) -> bytes:
        """The contents of a small metadata member, checked. Raises UnsafeInput if it is large."""
        if member.size > MAX_METADATA:
            raise self._wrong(member.name, f"{member.size} bytes are too many for metadata")
        raw = b"".join(self.chunks(member))
        if member.method == DEFLATED:
            raw = self._inflate(member, raw)
        if len(raw) != member.size or zlib.crc32(raw) != member.crc:
            raise self._wrong(member.name, "its size or CRC is not what the directory says")
        return raw

    def start(self, member: Member, count: int) -> bytes:
        """The first `count` bytes of a member, unchecked: enough to see what kind of file it is."""
        first = next(self.chunks(member), b"")
        if member.method == STORED:
            return first[:count]
        try:
            return zlib.decompressobj(-15).decompress(first, count)
        except zlib.error as error:
            raise self._wrong(member.name, "its deflate stream is broken") from error

    def _inflate(self, member: Member, raw: bytes) -> bytes:
        inflate = zlib.decompressobj(-15)
        try:
            data = inflate.decompress(raw, member.size + 1)
        except zlib.error as error:
            raise self._wrong(member.name, "its deflate stream is broken") from error
        return data

    def _check_local(self, member: Member, head: bytes) -> int:
        """The length of the local extra field. Raises UnsafeInput if the header contradicts."""
        if len(head) != _LOCAL.size + len(member.raw_name):
            raise self._wrong(member.name, "its local header lies outside the file")
        magic, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack_from(head)
        if magic != b"PK\x03\x04" or name != len(member.raw_name):
            raise self._wrong(member.name, "its local header is missing or of another member")
        if head[_LOCAL.size :] != member.raw_name or method != member.method:
            raise self._wrong(member.name, "its local header is missing or of another member")
        if flags & (_ENCRYPTED | _STRONG | _PATCH):
            raise self._wrong(member.name, "it is encrypted or patched data")
        if not flags & _DESCRIPTOR:
            sizes = (member.compressed, member.size)
            told = (packed, size)
            if crc != member.crc or (told != sizes and _BIG32 not in told):
                raise self._wrong(member.name, "local header and directory disagree on it")
        return int(extra)

    def _directory(self) -> tuple[Member, ...]:
        count, size, offset = self._end()
        if count > MAX_MEMBERS or size > _MAX_DIRECTORY:
            raise self._wrong("", f"it lists {count} members; {MAX_MEMBERS} are the limit")
        data = os.pread(self._handle, size, offset)
        found: list[Member] = []
        place = 0
        while place < len(data):
            place = self._entry(data, place, found)
        if place != size or len(data) != size or len(found) != count:
            raise self._wrong("", "its directory is damaged")
        return self._checked(found, offset)

    def _end(self) -> tuple[int, int, int]:
        """Number of members, size and offset of the central directory."""
        tail = min(self.size, _END.size + _BIG16)
        data = os.pread(self._handle, tail, self.size - tail)
        at = data.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(data):
            raise self._wrong("", "it is not a zip file, or its end is missing")
        _, disk, first, here, count, size, offset, comment = _END.unpack_from(data, at)
        if at + _END.size + comment != len(data):
            raise self._wrong("", "bytes follow the end of the zip file")
        end = self.size - tail + at
        if _BIG16 in (here, count) or _BIG32 in (size, offset):
            end, count, size, offset = self._end64(end)
        elif disk or first or here != count:
            raise self._wrong("", "it is one part of several")
        if offset + size != end:
            raise self._wrong("", "its directory does not end where the zip file does")
        return count, size, offset

    def _end64(self, end: int) -> tuple[int, int, int, int]:
        at = end - _END64_LOCATOR.size
        data = os.pread(self._handle, _END64_LOCATOR.size, at) if at >= 0 else b""
        if len(data) != _END64_LOCATOR.size or not data.startswith(b"PK\x06\x07"):
            raise self._wrong("", "its zip64 record is missing")
        place = _END64_LOCATOR.unpack(data)[2]
        data = os.pread(self._handle, _END64.size, place) if place < at else b""
        if len(data) != _END64.size or not data.startswith(b"PK\x06\x06"):
            raise self._wrong("", "its zip64 record is missing")
        _, length, _, _, disk, first, here, count, size, offset = _END64.unpack(data)
        if disk or first or here != count or place + 12 + length != at:
            raise self._wrong("", "its zip64 record is damaged")
        return place, count, size, offset

    def _entry(self, data: bytes, place: int, found: list[Member]) -> int:
        """Read one directory entry into `found`; where the next one begins."""
        if place + _CENTRAL.size > len(data) or data[place : place + 4] != b"PK\x01\x02":
            raise self._wrong("", "its directory is damaged")
        (_, _, _, flags, method, _, _, crc, packed, size, n, m, k, disk, _, attributes, offset) = (
            _CENTRAL.unpack_from(data, place)
        )
        start = place + _CENTRAL.size
        raw = data[start : start + n]
        name = self._name(raw, flags)
        if flags & (_ENCRYPTED | _STRONG | _PATCH):
            raise self._wrong(name, "it is encrypted or patched data")
        if method not in (STORED, DEFLATED):
            raise self._wrong(name, f"compression method {method} is none that wheels use")
        if _BIG32 in (packed, size, offset) or disk == _BIG16:
            extra = data[start + n : start + n + m]
            size, packed, offset = self._wide(name, extra, size, packed, offset)
        elif disk:
            raise self._wrong(name, "it lies in another part")
        mode = attributes >> 16
        if method == STORED and packed != size:
            raise self._wrong(name, "it is stored, and yet its two sizes differ")
        if size > packed * _DEFLATE_BEST:
            raise self._wrong(name, f"{packed} bytes cannot hold the {size} declared")
        found.append(
            Member(
                name=name,
                raw_name=raw,
                method=method,
                crc=crc,
                compressed=packed,
                size=size,
                mode=mode,
                offset=offset,
            )
        )
        return int(start + n + m + k)

    def _name(self, raw: bytes, flags: int) -> str:
        try:
            return raw.decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError:
            raise self._wrong(repr(raw), "its name is not the UTF-8 that it claims") from None

    def _wide(
        self, name: str, extra: bytes, size: int, packed: int, offset: int
    ) -> tuple[int, int, int]:
        """Size, compressed size and offset from the zip64 extra field (4.5.3)."""
        at = 0
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, at)
            field = extra[at + 4 : at + 4 + length]
            at += 4 + length
            if kind != 1:
                continue
            values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
            try:
                wide = [next(values) if old == _BIG32 else old for old in (size, packed, offset)]
            except StopIteration:
                break
            return wide[0], wide[1], wide[2]
        raise self._wrong(name, "its zip64 sizes are missing")

    def _checked(self, found: list[Member], end: int) -> tuple[Member, ...]:
        """The files among the members, safe by name and place. Raises UnsafeInput."""
        files: list[Member] = []
        seen: set[str] = set()
        limit = end
        for member in sorted(found, key=lambda m: m.offset, reverse=True):
            name = member.name.removesuffix("/")
            safe(name, self.label)
            if member.offset + _LOCAL.size + len(member.raw_name) + member.compressed > limit:
                raise self._wrong(member.name, "it overlaps with what follows it")
            kind = stat.S_IFMT(member.mode)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise self._wrong(member.name, "it is a symbolic link or a special file")
            if name in seen:
                raise self._wrong(member.name, "it is there twice")
            seen.add(name)
            if not member.name.endswith("/"):
                files.append(member)
            elif member.size:
                raise self._wrong(member.name, "it is a folder with contents")
            self._limits[member.offset] = limit
            limit = member.offset
        total = sum(member.size for member in files)
        if total > self.size * MAX_RATIO + MAX_SLACK:
            raise self._wrong("", f"its {self.size} bytes would unpack to {total}")
        return tuple(sorted(files, key=lambda m: m.name))

    def _wrong(self, name: str, what: str) -> UnsafeInput:
        place = f"{self.label}: member {name!r}" if name else self.label
        return UnsafeInput(
            f"{place}: {what}", hint="the archive is broken or hostile; nothing of it was used"
        )
