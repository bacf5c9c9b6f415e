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
    return _pax(extended) + blocks if extended else blocks


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


@lru_cache(maxsize=64)
def _middle(mode: int) -> bytes:
    """The mode, uid and gid fields."""
    return b"%07o\0%07o\0%07o\0" % (mode, 0, 0)


_TIME = b"%011o\0" % MTIME
_TAIL = b"ustar\x0000" + bytes(64 + 16)
"""Magic and version; no user, no group, no device numbers."""
_BLANK_SUM = 8 * ord(" ") + sum(_TIME) + sum(_TAIL)
_LAST = bytes(12)


def _ustar(prefix: bytes, name: bytes, kind: bytes, mode: int, size: int, link: bytes) -> bytes:
    middle = _middle(mode) + b"%011o\0" % size
    total = _BLANK_SUM + sum(name) + sum(middle) + kind[0] + sum(link) + sum(prefix)
    return b"".join(
        (
            name.ljust(_NAME, b"\0"),
            middle,
            _TIME,
            b"%06o\0 " % total,
            kind,
            link.ljust(_LINK, b"\0"),
            _TAIL,
            prefix.ljust(_PREFIX, b"\0"),
            _LAST,
        )
    )


def _pax(records: list[tuple[str, str]]) -> bytes:
    """A PAX extended header for the entry that follows."""
    body = b"".join(_record(key, value) for key, value in records)
    return (
        _ustar(b"", b"././@PaxHeader", _EXTENDED, 0o644, len(body), b"") + body + padding(len(body))
    )


def _record(key: str, value: str) -> bytes:
    """One `LENGTH KEY=VALUE` line, whose length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest
