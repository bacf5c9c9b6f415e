"""Wall-clock timing of whole commands, and a table of ratios. Nothing here asserts a time."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of several runs of one thing."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)


def measure(
    name: str,
    action: Callable[[], None],
    *,
    times: int = 1,
    before: Callable[[], None] | None = None,
) -> Measured:
    """Run `action` some times, `before` before each without counting it."""
    seconds = []
    for _ in range(times):
        if before is not None:
            before()
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return Measured(name=name, seconds=tuple(seconds))


def command(
    arguments: Sequence[str],
    *,
    cwd: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command; its output is shown only if it fails."""
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(arguments)[:300]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )


def show(rows: Sequence[Measured], *, against: Measured) -> None:
    """Print each median with its ratio to `against`."""
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'seconds':>9}  {'min':>8}  {'max':>8}  x {against.name}")
    for row in rows:
        ratio = row.median / against.median
        print(
            f"{row.name:{width}}  {row.median:9.3f}  {min(row.seconds):8.3f}"
            f"  {max(row.seconds):8.3f}  {ratio:6.2f}"
        )
