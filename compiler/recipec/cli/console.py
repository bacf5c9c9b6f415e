"""What the commands print: JSON and results on stdout, everything else on stderr.

rich is imported only when there is progress to draw or a table to lay out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from recipec.progress import Progress, Silent

WORTH_A_LINE = 10_000_000
"""Bytes: without a terminal, smaller pieces of work are not mentioned."""


def print_json(value: object) -> None:
    """One JSON document on stdout; in ASCII, so that no locale changes it."""
    print(json.dumps(value, indent=2))


def say(text: str = "") -> None:
    """A message on stderr."""
    print(text, file=sys.stderr, flush=True)


def table(title: str, rows: Sequence[Sequence[str]], *, head: Sequence[str] = ()) -> str:
    """Rows in aligned columns, as plain text of any width: it survives pipes and logs."""
    every = [list(head), *rows] if head else [list(row) for row in rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(every[0]))]
    lines = [title] if title else []
    for index, row in enumerate(every):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
        if head and index == 0:
            lines.append("  " + "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def size(number: float) -> str:
    """A number of bytes for people, in decimal units."""
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.2f} GB"


class Bars(AbstractContextManager[Progress]):
    """Progress bars on a terminal; a line per finished piece of work elsewhere."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._names: dict[int, tuple[str, int]] = {}
        self._next = 0

    def __enter__(self) -> Bars:
        return self

    def _drawn(self) -> Any:
        if self._bars is None and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self._bars

    def begin(self, what: str, total: int) -> int:
        """Show a new bar."""
        bars = self._drawn()
        if bars is not None:
            return int(bars.add_task(what, total=total))
        self._next += 1
        self._names[self._next] = (what, total)
        return self._next

    def advance(self, task: int, amount: int) -> None:
        """Move a bar by `amount` bytes."""
        if self._bars is not None:
            self._bars.advance(task, amount)

    def end(self, task: int) -> None:
        """Finish a bar."""
        if self._bars is not None:
            self._bars.remove_task(task)
        elif task in self._names:
            what, total = self._names.pop(task)
            if total >= WORTH_A_LINE:
                say(f"{what} ({size(total)})")

    def note(self, text: str) -> None:
        """A line above the bars."""
        if self._bars is not None:
            self._bars.console.print(text, highlight=False, markup=False)
        else:
            say(text)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()


def quiet_or_bars(quiet: bool) -> AbstractContextManager[Progress]:
    """Bars, or nothing at all."""
    return nullcontext(Silent()) if quiet else Bars()
