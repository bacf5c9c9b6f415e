"""Rules of `task`: the cell, the columns, and keys that do nothing for this task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Any

from recipec.catalog import support
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe


def _cell(recipe: Recipe) -> Iterator[Broken]:
    cell = support.task_has_cells(recipe.task.type, recipe.method.type)
    if not cell.supported:
        of_task = cell.reason.endswith(f"train {recipe.task.type}")
        path = ("task", "type") if of_task else ("method", "type")
        yield Broken(path=path, message=cell.reason, hint=cell.hint)


def _fields(recipe: Recipe) -> Iterator[Broken]:
    facts = support.tasks()[recipe.task.type]
    given = {
        column.name: getattr(recipe.task.fields, column.name)
        for column in fields(recipe.task.fields)
        if getattr(recipe.task.fields, column.name) is not None
    }
    for name in given:
        if name not in facts.fields:
            yield Broken(
                path=("task", "fields", name),
                message=f"{recipe.task.type} has no field `{name}`",
                hint=f"its fields: {', '.join(facts.fields)}",
                at_key=True,
            )
    forms = [form for form in facts.forms if set(form) & set(given)]
    if len(forms) > 1:
        yield Broken(
            path=("task", "fields"),
            message="a row is either " + " or ".join(" and ".join(form) for form in forms),
            hint="name the columns of one of them",
            at_key=True,
        )
    columns = [given[name] for name in facts.fields if name in given]
    if len(columns) != len(set(columns)):
        yield Broken(
            path=("task", "fields"),
            message="two fields name the same column",
            hint="the model would be shown its answer; name two columns",
            at_key=True,
        )


def _knobs(recipe: Recipe) -> Iterator[Broken]:
    facts = support.tasks()
    own = facts[recipe.task.type].knobs
    others = sorted({knob for task in facts.values() for knob in task.knobs} - {*own})
    for knob in others:
        section, name = knob.split(".")
        if not is_given(getattr(recipe, section), name):
            continue
        owners = sorted(task for task in facts if knob in facts[task].knobs)
        lengths = [key.split(".")[1] for key in own if key.endswith("_length")]
        length = knob.endswith("_length") and lengths
        yield Broken(
            path=(section, name),
            message=f"`{knob}` does nothing for {recipe.task.type}",
            hint=f"use {' and '.join(lengths)}" if length else f"it is for {', '.join(owners)}",
            at_key=True,
        )


def is_given(section: object, name: str) -> bool:
    """Whether a key of a section has another value than its default."""
    known: Field[Any] = next(f for f in fields(section) if f.name == name)  # type: ignore[arg-type]
    usual = known.default if known.default_factory is MISSING else known.default_factory()
    return bool(getattr(section, name) != usual)


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_cell, _fields, _knobs)
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
