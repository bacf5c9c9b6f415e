"""Who owns the folders that a container writes to.

Training runs as a non-root user, and what it leaves must belong to the caller. An ordinary caller
is that user. Root hands the output folder to the container's user for the run and takes it back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recipec.engines.job import Job
from recipec.errors import EnvironmentLacks
from recipec.store import disk_error, make_folder


@contextmanager
def lent(job: Job, user: tuple[int, int] | None) -> Iterator[None]:
    """Make the job's folders usable by `user` (uid, gid) inside the block, the caller's after it.

    None: the process runs as the caller, so nobody has to lend anything. Output folders are
    created if missing. Raises EnvironmentLacks if a folder cannot be made or an input is missing.
    """
    for mount in job.mounts:
        if not mount.read_only:
            make_folder(mount.host)
        elif not mount.host.is_dir():
            raise EnvironmentLacks(
                f"the folder {mount.host} does not exist; it is needed at {mount.container}",
                hint="run the stage that makes it first",
            )
    if user is not None:
        for mount in job.mounts:
            if mount.read_only:
                _open_to_all(mount.host)
            else:
                _give(mount.host, *user)
    try:
        yield
    finally:
        _settle(job, owner=None if user is None else (os.geteuid(), os.getegid()))


def _settle(job: Job, *, owner: tuple[int, int] | None) -> None:
    """Give the outputs to `owner`, without set-user-id or set-group-id bits."""
    for mount in job.writable:
        for path in _walk(mount.host):
            with suppress(OSError):
                mode = path.lstat().st_mode
                if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                    path.chmod(stat.S_IMODE(mode) & 0o777)
                if owner is not None:
                    os.chown(path, *owner, follow_symlinks=False)


def _give(folder: Path, uid: int, gid: int) -> None:
    try:
        for path in _walk(folder):
            os.chown(path, uid, gid, follow_symlinks=False)
    except OSError as error:
        raise disk_error(error, folder) from error


def _open_to_all(folder: Path) -> None:
    """Let everyone read what an earlier run wrote: root's umask may have closed it."""
    for path in _walk(folder):
        with suppress(OSError):
            mode = stat.S_IMODE(path.lstat().st_mode)
            wanted = mode | (0o555 if path.is_dir() else 0o444)
            if wanted != mode and not path.is_symlink():
                path.chmod(wanted)


def _walk(folder: Path) -> Iterator[Path]:
    yield folder
    for top, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            yield Path(top, name)
