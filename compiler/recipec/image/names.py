"""Which names of archive members may become paths of an image.

In: a name as an archive gives it. Out: the same name, or UnsafeInput saying whose it is. Nothing
is repaired: a name that would need repair was made by a broken tool or a hostile hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from recipec.errors import UnsafeInput

_COMPONENT, _PATH = 255, 4096 - 256
"""Linux' limits in bytes; room is left for the folder that the path goes under."""


_PART = r"(?!\.{1,2}(?:/|$))[ -.0-\[\]-~]{1,200}"
_PLAIN = re.compile(f"{_PART}(?:/{_PART})*")
"""What nearly every name is: printable ASCII without backslash, parts that are not dots."""


def fault(name: str) -> str:
    """What is wrong with a relative path, in words; empty if nothing is."""
    if len(name) < 1000 and _PLAIN.fullmatch(name):
        return ""
    if not name or name.startswith("/"):
        return "an absolute or empty path" if name else "an empty path"
    if "\\" in name:
        return "a backslash"
    if any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in name):
        return "a control character"
    parts = name.split("/")
    if ".." in parts:
        return "a path that leaves its folder"
    if "." in parts or "" in parts:
        return "a path with empty or dot parts"
    if len(name.encode()) > _PATH or any(len(part.encode()) > _COMPONENT for part in parts):
        return "a path longer than Linux allows"
    return ""


def safe(name: str, owner: str) -> str:
    """`name`, if it may be a path below a folder. Raises UnsafeInput naming its owner."""
    wrong = fault(name)
    if wrong:
        raise UnsafeInput(
            f"{owner}: member {name!r} has {wrong}",
            hint="the archive is broken or hostile; nothing of it was unpacked",
        )
    return name


def parents(path: str) -> Iterator[str]:
    """The folders above a path, innermost first."""
    while path := path.rpartition("/")[0]:
        yield path


def folders(paths: Iterable[str]) -> dict[str, str]:
    """Every folder that these paths need, each with one path below it."""
    found: dict[str, str] = {}
    for path in paths:
        for parent in parents(path):
            if parent in found:
                break
            found[parent] = path
    return found
