"""Writes files whole or not at all, and names disk errors in words.

In: bytes and folders. Out: files that appear by one rename. It decides nothing about contents.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from recipec_runtime.errors import EnvironmentLacks


def to_json(value: object) -> bytes:
    """Readable JSON with one text per value: sorted keys, two spaces, ASCII."""
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def write(path: Path, data: bytes) -> None:
    """Write a file in one step: after a kill there are the old bytes or the new."""
    write_with(path, lambda stream: stream.write(data))


def write_with(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """As `write`, with a function that writes into the open file."""
    part = path.with_name(f".{path.name}.part")
    with disk(path):
        with part.open("wb") as stream:
            fill(stream)
            stream.flush()
            with suppress(OSError):  # a mounted bucket has no modes
                os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        part.replace(path)
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when it is complete; an older `path` goes."""
    part = path.with_name(f".{path.name}.part")
    with disk(path):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        for name in sorted(part.rglob("*")):
            name.chmod(0o755 if name.is_dir() else 0o644)
            if name.is_file():
                sync_file(name)
        part.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Ask the disk to keep the file's bytes."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Ask the disk to keep the folder's names, so that a rename survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the rename itself is still atomic
    finally:
        os.close(handle)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn a failed write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error
    except Exception as error:
        # safetensors and torch wrap the operating system's error in their own
        if "No space left" in str(error) or "File too large" in str(error):
            raise disk_error(OSError(errno.ENOSPC, "No space left on device"), path) from error
        raise


def disk_error(error: OSError, path: Path) -> EnvironmentLacks:
    """An OSError from writing `path`, in words."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return EnvironmentLacks(
            f"the disk is full: cannot write {path}",
            hint="free some space and run the same command again; the last checkpoint is intact",
        )
    return EnvironmentLacks(
        f"cannot write {path}: {error.strerror or error}",
        hint="the output folder must be writable by this user",
    )
