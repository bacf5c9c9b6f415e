"""Rules of `training`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe


def _steps(recipe: Recipe) -> Iterator[Broken]:
    if recipe.training.epochs is not None and recipe.training.steps is not None:
        yield Broken(
            path=("training", "steps"),
            message="`training.steps` and `training.epochs` are both given",
            hint="keep one of them",
            at_key=True,
        )


def _batches(recipe: Recipe) -> Iterator[Broken]:
    batch, micro = recipe.training.batch_size, recipe.training.micro_batch_size
    if batch is not None and micro is not None and batch % micro:
        near = max(d for d in range(1, min(micro, batch) + 1) if batch % d == 0)
        yield Broken(
            path=("training", "micro_batch_size"),
            message=f"micro_batch_size {micro} does not divide batch_size {batch}",
            hint=f"the nearest smaller one that does is {near}",
        )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_steps, _batches)
