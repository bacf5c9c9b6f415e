"""The rules that a schema cannot say: which values of a recipe fit together.

In: a `Recipe` whose every value is well-formed. Out: the rules it breaks, by path. Pure: what needs
the disk (missing files, the model's family) is asked by `recipec.pins`. A module for each section
of the recipe; each lists its rules in `RULES`, and in `OF_TASK` those that ask what the task is.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipec.recipe.promise import on_cpus
from recipec.recipe.rules import (
    architecture,
    data,
    evaluation,
    hardware,
    image,
    method,
    task,
    training,
)
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe

__all__ = ["Broken", "broken_rules"]

_MODULES = (task, data, architecture, method, training, evaluation, hardware, image)


def broken_rules(recipe: Recipe, task_known: bool = True) -> Iterator[Broken]:
    """Every rule that the recipe breaks; without a task, those that do not depend on it."""
    for module in _MODULES:
        for rule in (*(module.OF_TASK if task_known else ()), *module.RULES):
            yield from rule(recipe)
    if not on_cpus(recipe):
        # Only a recipe for a GPU pays for the catalogue of GPUs
        from recipec.recipe.rules import cuda

        yield from cuda.rules(recipe)
