"""What docker and podman have in common: names, labels, users, and runs left behind.

In: a `Job`. Out: plain values. A container's name follows from what it runs and where it writes,
so a run whose recipec was killed is found again: it is removed if its owner is gone and refused
while the owner lives.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recipec.engines.job import Job
from recipec.errors import EnvironmentLacks
from recipec.store import canonical, sha256

OWNER = "recipec.owner"
"""Label: machine, process id and start time of the recipec that started the container."""

TMPFS = "rw,nosuid,nodev,mode=1777"
SHARED_MEMORY = 1 << 30
"""Bytes of /dev/shm: data loader workers pass tensors through it."""


@dataclass(frozen=True, kw_only=True)
class User:
    """Who runs inside; `lent` is whether the output must be handed over for the run."""

    uid: int
    gid: int
    lent: bool

    @property
    def text(self) -> str:
        """`uid:gid`."""
        return f"{self.uid}:{self.gid}"

    @property
    def borrower(self) -> tuple[int, int] | None:
        """The user for `ownership.lent`."""
        return (self.uid, self.gid) if self.lent else None


def choose_user(uid: int, gid: int) -> User:
    """The caller if that is not root; else the image's own user `uid`:`gid`."""
    if os.geteuid() == 0:
        return User(uid=uid, gid=gid, lent=True)
    return User(uid=os.geteuid(), gid=os.getegid(), lent=False)


def container_name(job: Job) -> str:
    """The one name of this image, command and output folder on this machine."""
    address = {
        "config": job.image.config.digest,
        "command": list(job.command),
        "writes": sorted(os.path.realpath(mount.host) for mount in job.writable),
    }
    return f"recipec-{sha256(canonical(address)).removeprefix('sha256:')[:24]}"


def owner_label() -> str:
    """This process, told apart from a later one with the same number."""
    return f"{_boot()} {os.getpid()} {_started(os.getpid())}"


def refuse_if_owned(name: str, label: str) -> None:
    """Raise EnvironmentLacks if the process that `label` names still runs here."""
    boot, _, rest = label.partition(" ")
    pid, _, started = rest.partition(" ")
    if boot == _boot() and pid.isdigit() and started and _started(int(pid)) == started:
        raise EnvironmentLacks(
            f"this run is already under way: container {name}, started by process {pid}",
            hint=f"wait for it, or stop it with `kill -INT {pid}`",
        )


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _started(pid: int) -> str:
    """A process's start time in clock ticks since boot, or nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
