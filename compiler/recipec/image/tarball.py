"""Tar headers that are the same on every machine.

In: a path, a kind, a mode, a size. Out: ustar header blocks (POSIX.1-1988), preceded by a PAX
extended header (POSIX.1-2001) where a name or a size does not fit. Owner 0:0 without names, one
constant time. Holds no file contents and writes nothing.
"""

from __future__ import annotations

from functools import lru_cache

from recipec.image.format import MTIME

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, DIRECTORY, _EXTENDED = b"0", b"1", b"2", b"5", b"x"
END = bytes(2 * BLOCK)
"""Two empty blocks end an archive."""

_NAME, _PREFIX, _LINK = 100, 155, 100
_SIZE_LIMIT = 8**11


def padding(size: int) -> bytes:
    """NULs that fill `size` bytes up to a whole block."""
    return bytes(-size % BLOCK)


def header(path: str, *, kind: bytes, mode: int, size: int = 0, target: str = "") -> bytes:
    """The header blocks of one entry; `target` is where a link points to."""
    return b"".join(fields(path, kind=kind, mode=mode, size=size, target=target))


def fields(
    path: str, *, kind: bytes, mode: int, size: int = 0, target: str = ""
) -> tuple[bytes, ...]:
    """The header blocks of one entry, cut into fields of which most are like other entries'."""
    extended: list[tuple[str, str]] = []
    prefix, name = _split(path.encode("utf-8"))
    if prefix is None:
        extended.append(("path", path))
        prefix = b""
    link = target.encode("utf-8")
    if len(link) > _LINK or not target.isascii():
        extended.append(("linkpath", target))
        link = link[:_LINK]
    shown = size
    if size >= _SIZE_LIMIT:
        extended.append(("size", str(size)))
        shown = 0
    blocks = _ustar(prefix, name, kind, mode, shown, link)
    return (*_pax(extended), *blocks) if extended else blocks


def _split(path: bytes) -> tuple[bytes | None, bytes]:
    """The prefix and name fields of a path; None and a shortened name if it does not fit them."""
    if not path.isascii():
        return None, path[:_NAME]
    if len(path) <= _NAME:
        return b"", path
    cut = path.find(b"/", len(path) - _NAME - 1, len(path) - 1)
    if 0 < cut <= _PREFIX:
        return path[:cut], path[cut + 1 :]
    return None, path[:_NAME]


@lru_cache(maxsize=1024)
def _owner(blank: int, mode: int) -> tuple[bytes, int]:
    """The blank rest of the name, and the mode, uid and gid fields; their part of the sum."""
    field = bytes(blank) + b"%07o\0%07o\0%07o\0" % (mode, 0, 0)
    return field, sum(field)


@lru_cache(maxsize=1024)
def _rest(kind: bytes, link: bytes, prefix: bytes) -> tuple[bytes, int]:
    """Everything after the checksum's digits: kind, link, magic and version, no user, no group,
    no device numbers, prefix; its part of the sum, in which the checksum counts as blanks."""
    field = b"".join(
        (
            b"\0 ",
            kind,
            link.ljust(_LINK, b"\0"),
            b"ustar\x0000",
            bytes(64 + 16),
            prefix.ljust(_PREFIX, b"\0"),
            bytes(12),
        )
    )
    return field, sum(field) + 7 * ord(" ")


_TIME = b"\0%011o\0" % MTIME
_TIME_SUM = sum(_TIME)


def _ustar(
    prefix: bytes, name: bytes, kind: bytes, mode: int, size: int, link: bytes
) -> tuple[bytes, ...]:
    owner, owner_sum = _owner(_NAME - len(name), mode)
    digits = b"%o" % size
    zeros = b"0" * (11 - len(digits))
    rest, rest_sum = _rest(kind, link, prefix)
    total = sum(name) + owner_sum + sum(zeros) + sum(digits) + _TIME_SUM + rest_sum
    return name, owner, zeros, digits, _TIME, b"%06o" % total, rest


def _pax(records: list[tuple[str, str]]) -> tuple[bytes, ...]:
    """A PAX extended header for the entry that follows."""
    body = b"".join(_record(key, value) for key, value in records)
    block = _ustar(b"", b"././@PaxHeader", _EXTENDED, 0o644, len(body), b"")
    return (*block, body, padding(len(body)))


def _record(key: str, value: str) -> bytes:
    """One `LENGTH KEY=VALUE` line, whose length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest
