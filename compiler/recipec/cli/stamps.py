"""Whether files have moved since they were last looked at: inode, size, mtime and ctime.

ctime cannot be set by a program, so an edit that puts the old mtime back is still seen. Take stamps
before reading: then a file that changes meanwhile has moved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path


def stamp(path: str) -> list[int]:
    """The stamp of one file or folder; empty where there is none."""
    try:
        about = os.stat(path)  # noqa: PTH116 - dozens of these on the no-op path
    except OSError:
        return []
    return [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def stamps(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Stamps by path."""
    return {str(path): stamp(str(path)) for path in paths}


def unmoved(known: Mapping[str, list[int]]) -> bool:
    """Whether every file still has the stamp it had."""
    return all(stamp(path) == was for path, was in known.items())
