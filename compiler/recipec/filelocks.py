"""Locks between processes: held alone, or shared by all who only must not meet another kind.

In: the path of a file. Out: the right to go on, until the `with` ends. The kernel takes a lock from
a process that ends, however it ends; the file's being there means nothing. Nothing is ever read
from the file or written to it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recipec.store import Store, disk_error, make_folder


class Taken(Exception):
    """Another process has the lock."""


@contextmanager
def hold(file: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock `file`: alone, or `shared` with others.

    Raises Taken if another has it and this one will not `wait`, EnvironmentLacks if the file cannot
    be made.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    make_folder(file.parent)
    while True:
        with _opened(file) as opened:
            try:
                fcntl.flock(opened, operation)
            except BlockingIOError:
                raise Taken from None
            except OSError as error:
                raise disk_error(error, file.parent) from error
            # If whoever had it removed the file, the next one would lock a new file: so does this.
            if os.fstat(opened.fileno()).st_nlink:
                yield
                return


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("ab")
    except OSError as error:
        raise disk_error(error, file.parent) from error


def use_of(store: Store) -> Path:
    """The lock on a store's blobs: builds share it, and who removes blobs holds it alone."""
    return store.root / "locks" / "store.lock"
