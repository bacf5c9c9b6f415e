"""A moving average of the trained weights: what is measured and saved instead of the last step's.

In: a model after each step. Out: averages, which take the weights' place for a while or for good.
Only weights that are trained are averaged; the others do not move. torch is imported inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class MovingAverage:
    """Exponential moving averages of a model's trained weights, in their own dtype."""

    def __init__(self, model: Any, decay: float) -> None:
        """Begin with the weights as they are. `decay` lies between 0 and 1."""
        self._decay = decay
        self._weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._averages = {name: p.detach().clone() for name, p in self._weights.items()}

    def update(self, step: int) -> None:
        """Take in the weights after step number `step` (from 0).

        average = d * average + (1 - d) * weights, with d = min(decay, (1 + step) / (10 + step)):
        the first steps count little in the end, as in TensorFlow's ExponentialMovingAverage.
        """
        share = 1.0 - min(self._decay, (1 + step) / (10 + step))
        for name, average in self._averages.items():
            average.lerp_(self._weights[name].detach(), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages as its weights; on leaving it has its own again."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def put(self) -> None:
        """The model has the averages as its weights from now on."""
        self._exchange()

    def _exchange(self) -> None:
        import torch

        with torch.no_grad():
            for name, weight in self._weights.items():
                kept = weight.clone()
                weight.copy_(self._averages[name])
                self._averages[name].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The averages by the parameters' names."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, average in self._averages.items():
            average.copy_(state[name])
