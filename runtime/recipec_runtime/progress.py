"""The progress line: step, loss, examples a second, time left.

In: numbers. Out: text on a stream: one line in place on a terminal, a line now and then elsewhere.
Nothing of it reaches an output file.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

REFRESH = 0.1
"""Seconds between two updates on a terminal."""


class Progress:
    """Progress of one loop of `total` steps that starts at `step`."""

    def __init__(self, total: int, step: int, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._total = total
        self._first = step
        self._examples = 0
        self._busy = 0.0
        self._since: float | None = None
        self._shown = 0.0
        self._live = self._stream.isatty()
        self.first_step_at: float | None = None

    def resume(self) -> None:
        """The clock runs from here; evaluation and checkpoints are not counted as steps."""
        self._since = time.monotonic()

    def step(self, step: int, loss: float, examples: int, *, line: bool) -> None:
        """`step` steps are done; `line` asks for a line where there is no terminal."""
        now = time.monotonic()
        if self.first_step_at is None:
            self.first_step_at = now
        if self._since is not None:
            self._busy += now - self._since
        self._since = now
        self._examples += examples
        last = step == self._total
        if self._live and (last or now - self._shown >= REFRESH):
            self._shown = now
            self._write("\r\x1b[2K" + self._text(step, loss) + ("\n" if last else ""))
        elif not self._live and (line or last):
            self._write(self._text(step, loss) + "\n")

    def note(self, text: str) -> None:
        """A line of its own."""
        self._write(("\r\x1b[2K" if self._live else "") + text + "\n")

    @property
    def examples_per_second(self) -> float:
        """Rows trained on per second of stepping."""
        return self._examples / self._busy if self._busy > 0 else 0.0

    def _text(self, step: int, loss: float) -> str:
        done = step - self._first
        left = self._busy / done * (self._total - step) if done else 0.0
        width = len(str(self._total))
        return (
            f"step {step:>{width}}/{self._total} · loss {loss:.4f}"
            f" · {self.examples_per_second:.1f} examples/s · {clock(left)} left"
        )

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
