"""Rules of `method`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

from recipec.catalog import support
from recipec.recipe.rules.broken import Broken
from recipec.recipe.rules.task import is_given
from recipec.recipe.schema import Recipe


def _method_knobs(recipe: Recipe) -> Iterator[Broken]:
    knobs = support.methods()[recipe.method.type].knobs
    for knob in fields(recipe.method):
        if knob.name == "type" or not is_given(recipe.method, knob.name):
            continue
        if knob.name not in knobs:
            owners = [name for name, facts in support.methods().items() if knob.name in facts.knobs]
            yield Broken(
                path=("method", knob.name),
                message=f"`method.{knob.name}` does nothing with method {recipe.method.type}",
                hint=f"remove it, or choose one of: {', '.join(owners)}",
                at_key=True,
            )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_method_knobs,)
