"""Rules of `task`: the cell, the columns, and keys that do nothing for this task."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from recipec.catalog import support
from recipec.recipe.columns import columns_of
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
    columns = list(columns_of(recipe).values())
    if given and len(columns) != len(set(columns)):
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


def _labels(recipe: Recipe) -> Iterator[Broken]:
    labels, task = recipe.task.labels, recipe.task
    if labels is None or "task.labels" not in support.tasks()[task.type].knobs:
        return
    seen: set[str] = set()
    for index, label in enumerate(labels):
        if label in seen:
            yield Broken(
                path=("task", "labels", index),
                message=f"the label {label!a} is there twice",
                hint="the model has one output for each label",
            )
        elif label.startswith("I-") and task.type == "token-classification":
            yield from _inside_without_begin(labels, index)
        seen.add(label)
    if len(labels) == 1 and not task.multi_label:
        yield Broken(
            path=("task", "labels"),
            message="with one label there is nothing to learn",
            hint="name two labels at least",
            at_key=True,
        )


def _inside_without_begin(labels: Sequence[str], index: int) -> Iterator[Broken]:
    begin = "B-" + labels[index].removeprefix("I-")
    if begin not in labels:
        yield Broken(
            path=("task", "labels", index),
            message=f"{labels[index]!a} goes on with an entity that {begin!a} would begin",
            hint=f"add {begin!a}: tags are BIO",
        )


def _class_weights(recipe: Recipe) -> Iterator[Broken]:
    weights, labels = recipe.training.class_weights, recipe.task.labels
    if not isinstance(weights, dict) or labels is None:
        return
    for label in weights:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, n=1, cutoff=0.5)
            yield Broken(
                path=("training", "class_weights", label),
                message=f"{label!a} is none of task.labels",
                hint=f"did you mean {near[0]!a}?" if near else "weigh only labels of the task",
                at_key=True,
            )


def _smoothing(recipe: Recipe) -> Iterator[Broken]:
    if not recipe.training.label_smoothing:
        return
    if recipe.task.type == "question-answering":
        message = "label smoothing would spread an answer over every token of its window"
    elif recipe.task.multi_label:
        message = "label smoothing is of one class among several, and here each label is its own"
    else:
        return
    yield Broken(
        path=("training", "label_smoothing"),
        message=message,
        hint="remove `training.label_smoothing`",
        at_key=True,
    )


def _languages(recipe: Recipe) -> Iterator[Broken]:
    task = recipe.task
    if (task.source_language is None) == (task.target_language is None):
        return
    given, other = ("source", "target") if task.source_language else ("target", "source")
    yield Broken(
        path=("task", f"{given}_language"),
        message=f"`task.{given}_language` is given, and `task.{other}_language` is not",
        hint="name both, as the model's tokenizer calls them, or neither",
        at_key=True,
    )


def is_given(section: object, name: str) -> bool:
    """Whether a key of a section has another value than its default."""
    known: Field[Any] = next(f for f in fields(section) if f.name == name)  # type: ignore[arg-type]
    usual = known.default if known.default_factory is MISSING else known.default_factory()
    return bool(getattr(section, name) != usual)


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (
    _cell,
    _fields,
    _knobs,
    _labels,
    _class_weights,
    _smoothing,
    _languages,
)
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
