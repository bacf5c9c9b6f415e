"""The rules that a schema cannot say: which values of a recipe fit together.

In: a `Recipe` whose every value is well-formed. Out: the rules it breaks, by path. Pure: what needs
the disk (missing files, the model's family) is asked by `recipec.pins`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import PurePosixPath

from recipec.catalog import support
from recipec.recipe.document import KeyPath
from recipec.recipe.schema import Recipe

LOSS = "loss"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """One rule that does not hold, at a path of the recipe."""

    path: KeyPath
    message: str
    hint: str = ""
    at_key: bool = False


def broken_rules(recipe: Recipe, task_known: bool = True) -> Iterator[Broken]:
    """Every rule that the recipe breaks; without a task, those that do not depend on it."""
    of_task = (_cell, _fields, _lengths, _metrics, _gates)
    for rule in (*(of_task if task_known else ()), _method_knobs, _steps, _batches, _paths, _dates):
        yield from rule(recipe)


def _cell(recipe: Recipe) -> Iterator[Broken]:
    cell = support.task_has_cells(recipe.task.type, recipe.method.type)
    if not cell.supported:
        of_task = cell.reason.endswith(f"train {recipe.task.type}")
        path = ("task", "type") if of_task else ("method", "type")
        yield Broken(path=path, message=cell.reason, hint=cell.hint)


def _fields(recipe: Recipe) -> Iterator[Broken]:
    wanted = support.tasks()[recipe.task.type].fields
    given = {
        column.name: getattr(recipe.task.fields, column.name)
        for column in fields(recipe.task.fields)
        if getattr(recipe.task.fields, column.name) is not None
    }
    for name in given:
        if name not in wanted:
            yield Broken(
                path=("task", "fields", name),
                message=f"{recipe.task.type} has no field `{name}`",
                hint=f"its fields: {', '.join(wanted)}",
                at_key=True,
            )
    columns = [given[name] for name in wanted if name in given]
    if len(columns) != len(set(columns)):
        yield Broken(
            path=("task", "fields"),
            message="two fields name the same column",
            hint="the model would be shown its answer; name two columns",
            at_key=True,
        )


def _method_knobs(recipe: Recipe) -> Iterator[Broken]:
    knobs = support.methods()[recipe.method.type].knobs
    for knob in fields(recipe.method):
        if knob.name == "type" or getattr(recipe.method, knob.name) is None:
            continue
        if knob.name not in knobs:
            owners = [name for name, facts in support.methods().items() if knob.name in facts.knobs]
            yield Broken(
                path=("method", knob.name),
                message=f"`method.{knob.name}` does nothing with method {recipe.method.type}",
                hint=f"remove it, or choose one of: {', '.join(owners)}",
                at_key=True,
            )


def _lengths(recipe: Recipe) -> Iterator[Broken]:
    one_text = "text" in support.tasks()[recipe.task.type].fields
    unused = ("max_source_length", "max_target_length") if one_text else ("max_length",)
    instead = "max_length" if one_text else "max_source_length and max_target_length"
    for name in unused:
        if getattr(recipe.training, name) is not None:
            yield Broken(
                path=("training", name),
                message=f"`training.{name}` does nothing for {recipe.task.type}",
                hint=f"use {instead}",
                at_key=True,
            )
    generates = any(m.startswith("rouge") for m in support.tasks()[recipe.task.type].metrics)
    for name, default in (("num_beams", 1), ("max_new_tokens", None)):
        if not generates and getattr(recipe.evaluation, name) != default:
            yield Broken(
                path=("evaluation", name),
                message=f"`evaluation.{name}` does nothing for {recipe.task.type}",
                hint="remove it: nothing is generated for this task",
                at_key=True,
            )
    if recipe.task.prefix and one_text:
        yield Broken(
            path=("task", "prefix"),
            message=f"`task.prefix` does nothing for {recipe.task.type}",
            hint="remove it: only tasks with a source have a prefix",
            at_key=True,
        )


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


def _paths(recipe: Recipe) -> Iterator[Broken]:
    data = recipe.domain.data
    named: dict[str, str] = {}
    for split, path in (
        ("train", data.train),
        ("validation", data.validation),
        ("test", data.test),
    ):
        if path is None:
            continue
        where: KeyPath = ("domain", "data", split)
        yield from _outside(where, path)
        plain = str(PurePosixPath(path))
        if plain in named:
            yield Broken(
                path=where,
                message=f"`{split}` is the same file as `{named[plain]}`",
                hint="a model measured on what it was trained on looks better than it is",
            )
        named.setdefault(plain, split)
    if recipe.architecture.model.startswith("path:"):
        model_path = recipe.architecture.model.removeprefix("path:")
        yield from _outside(("architecture", "model"), model_path)


def _outside(where: KeyPath, path: str) -> Iterator[Broken]:
    pure = PurePosixPath(path)
    if pure.is_absolute() or path.startswith("~") or ".." in pure.parts or "\\" in path:
        yield Broken(
            path=where,
            message=f"{path!a} leaves the project",
            hint="name a path below the project's root: a lock must mean the same everywhere",
        )
    elif "${" in path:
        yield Broken(
            path=where,
            message=f"{path!a} holds `${{`, which DVC would take for a variable",
            hint="rename the file or folder",
        )
    elif any(ord(c) < 32 or ord(c) == 127 for c in path):
        yield Broken(path=where, message="the path holds a control character")


def _dates(recipe: Recipe) -> Iterator[Broken]:
    given = recipe.image.exclude_newer
    if given is None:
        return
    try:
        datetime.fromisoformat(given)
    except ValueError:
        yield Broken(
            path=("image", "exclude_newer"),
            message=f"{given} is not a date that exists",
            hint="write a date such as 2026-11-01, or a time such as 2026-11-01T12:00:00Z",
        )


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
