"""Watches one validation metric: which evaluation was best, and when to stop waiting for a better.

In: the metric's values as they are measured. Out: two answers, and plain values for the checkpoint.
It knows no model and no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipec_runtime.errors import TrainingFailed

LOWER = ("loss", "perplexity")
"""Metrics of which less is better; of every other one more is."""


@dataclass(kw_only=True)
class Watch:
    """One metric. `patience` is in evaluations, 0 for no end; `min_delta` in the metric's unit."""

    metric: str = "loss"
    patience: int = 0
    min_delta: float = 0.0
    keep_best: bool = False
    best_step: int | None = None
    """Optimizer steps before the best evaluation."""
    best: float = math.inf
    """Its value, negated if more is better; infinite before the first evaluation."""
    mark: float = math.inf
    """The value that the next one must beat by `min_delta` to count as progress."""
    waited: int = 0
    """Evaluations since the last progress."""

    def see(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Take in an evaluation; whether it is the best so far. The first of equals is best.

        Raises TrainingFailed if the metric was not measured.
        """
        if self.metric not in metrics:
            raise TrainingFailed(
                f"{self.metric} is watched, and the evaluation at step {step} did not measure it",
                hint=f"it measured {', '.join(sorted(metrics))}: watch one of these",
            )
        value = metrics[self.metric] if self.metric in LOWER else -metrics[self.metric]
        if value < self.mark - self.min_delta or self.mark == math.inf:
            self.mark, self.waited = value, 0
        else:
            self.waited += 1
        if value < self.best:
            self.best, self.best_step = value, step
            return True
        return False

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.waited

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        names = ("best_step", "best", "mark", "waited")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)
