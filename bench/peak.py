"""The peak memory of a command and all its processes together, on Linux.

In: a command. Out: two numbers. What processes share, as forked ones do, is counted once: the
proportional set size of each is sampled from /proc and added up. A peak between two samples is
missed; the largest resident size of one process is the kernel's own count and misses nothing.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PAUSE = 0.02


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peaks in bytes."""

    together: int
    largest: int

    def __str__(self) -> str:
        """Both, in MB."""
        return (
            f"peak memory {self.together / 1e6:.0f} MB in all processes,"
            f" {self.largest / 1e6:.0f} MB in the largest"
        )


def peak(arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Memory:
    """Run a command that must succeed, and watch it."""
    together = 0
    with subprocess.Popen(
        arguments,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            together = max(together, sum(_proportional(pid) for pid in _tree(process.pid)))
            time.sleep(_PAUSE)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)[:300]} failed")
    # The largest of all commands that have run so far, so an upper bound.
    return Memory(
        together=together,
        largest=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _tree(int(child))


def _proportional(pid: int) -> int:
    """Bytes, shared ones divided by those who share them; 0 for a process that is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
