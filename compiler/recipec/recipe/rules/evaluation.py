"""Rules of `evaluation`: metrics of the task, and gates on what is measured."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

from recipec.catalog import support
from recipec.recipe.document import KeyPath
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe

LOSS = "loss"


def _metrics(recipe: Recipe) -> Iterator[Broken]:
    known = support.tasks()[recipe.task.type].metrics
    for index, metric in enumerate(recipe.evaluation.metrics or ()):
        if metric not in known:
            yield Broken(
                path=("evaluation", "metrics", index),
                message=f"{recipe.task.type} is not measured by {metric}",
                hint=f"its metrics: {', '.join(known)}",
            )


def _gates(recipe: Recipe) -> Iterator[Broken]:
    facts = support.tasks()[recipe.task.type]
    chosen = facts.metrics if recipe.evaluation.metrics is None else recipe.evaluation.metrics
    measured = (LOSS, *chosen)
    for gate in ("at_least", "at_most"):
        for metric in getattr(recipe.evaluation, gate):
            where: KeyPath = ("evaluation", gate, metric)
            if metric not in measured:
                near = difflib.get_close_matches(metric, measured, n=1, cutoff=0.5)
                hint = f"did you mean `{near[0]}`?" if near else f"measured: {', '.join(measured)}"
                message = f"the gate on `{metric}` can never hold: it is not measured"
                yield Broken(path=where, message=message, hint=hint, at_key=True)
            elif recipe.domain.data.test is None and recipe.domain.data.validation is None:
                yield Broken(
                    path=where,
                    message=f"the gate on `{metric}` has no data to be measured on",
                    hint="name `domain.data.test` or `domain.data.validation`",
                    at_key=True,
                )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_metrics, _gates)
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
