"""What every contestant is given, and what each of them says at the end.

In: job.json, whose values are those that recipec planned. Out: result.json: when each step ended,
on the clock that all processes of a machine share, and the loss of the steps.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """LoRA: rank, alpha and the names of the adapted layers; no dropout."""

    rank: int
    alpha: float
    targets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training. Lengths are in tokens; the rate falls on a line to zero, without warmup."""

    model: str
    """A folder that transformers can load."""
    rows: str
    """JSON Lines with a `text` each, in the order in which they are trained on."""
    output: str
    """A folder of the contestant's own."""
    steps: int
    batch_size: int
    max_length: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float
    attention: str
    seed: int
    adapter: Adapter | None

    @property
    def texts(self) -> list[str]:
        """The rows' texts."""
        with Path(self.rows).open(encoding="utf-8") as stream:
            return [json.loads(line)["text"] for line in stream]

    def save(self, path: Path) -> None:
        """Write the job for another process."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, words: Sequence[str] = ()) -> Job:
        """The job in the file that the command line names."""
        (path,) = words or sys.argv[1:]
        plain = json.loads(Path(path).read_text())
        adapter = plain.pop("adapter")
        if adapter is not None:
            adapter = Adapter(**{**adapter, "targets": tuple(adapter["targets"])})
        return cls(adapter=adapter, **plain)


@dataclass(kw_only=True)
class Result:
    """When each step ended, and the losses: of every step, or one mean of all."""

    ended: list[float] = field(default_factory=list)
    """Seconds of the monotonic clock."""
    busy: list[float] = field(default_factory=list)
    """Seconds of the processor that the process had had by then."""
    losses: list[float] = field(default_factory=list)

    def step(self) -> None:
        """A step has just ended."""
        self.ended.append(time.monotonic())
        self.busy.append(time.process_time())

    def save(self, path: str | Path) -> None:
        """Write the result where the benchmark looks for it."""
        Path(path).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Result:
        """A result that was saved."""
        plain: dict[str, Any] = json.loads(path.read_text())
        return cls(**plain)
