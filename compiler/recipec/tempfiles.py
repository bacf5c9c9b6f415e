"""Temporary files that have an owner: what a killed process left can be told from what is written.

In: a folder. Out: a new file or folder in it that the kernel holds locked for its maker, until it
is closed or its process ends, however it ends. Who finds one that nobody holds may remove it. No
name or age is judged: a writer that takes days is as safe as a fast one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def create(folder: Path, prefix: str) -> tuple[int, Path]:
    """A new file that is open for writing and held; closing it lets go. Raises OSError."""
    import tempfile  # costs more to import than a no-op build may spend on it

    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix)
        try:
            if _hold(handle):
                return handle, Path(name)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


@contextmanager
def held_folder(parent: Path) -> Iterator[Path]:
    """A new folder that is held, gone afterwards with all that it holds. Raises OSError."""
    import shutil
    import tempfile

    while True:
        name = tempfile.mkdtemp(dir=parent)
        handle = -1
        with suppress(FileNotFoundError):  # somebody swept it before it was held
            handle = os.open(name, os.O_RDONLY)
            if _hold(handle):
                break
        if handle >= 0:
            os.close(handle)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(handle)


def left_behind(folder: Path, prefix: str = "") -> Iterator[Path]:
    """What nobody holds among the entries of `folder` that begin so; held while it is looked at."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return
    for name in names:
        if name.startswith(prefix):
            path = folder / name
            with _unowned(path) as free:
                if free:
                    yield path


def sweep(folder: Path, prefix: str = "") -> None:
    """Remove from `folder` what killed processes left there."""
    import shutil

    for path in left_behind(folder, prefix):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _hold(handle: int) -> bool:
    """Lock a new file; False if somebody removed it before, taking it for one that was left."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return True  # a file system without locks: there nobody can take it for left either
    return os.fstat(handle).st_nlink > 0


@contextmanager
def _unowned(path: Path) -> Iterator[bool]:
    """Whether nobody holds the file at `path`; nobody can take hold of it meanwhile."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The name may stand for another file by now, or for none.
            free = os.path.samestat(os.fstat(handle), os.lstat(path))
        except OSError:
            free = False
        yield free
    finally:
        os.close(handle)
