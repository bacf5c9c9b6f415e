"""Reader of support.toml: which cells exist. The reader of models.toml is here too, by its name.

In: the data files beside this module. Out: frozen values. It knows nothing of recipes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from recipec.catalog.models import ModelNames as ModelNames
from recipec.catalog.models import models as models

FAMILIES = ("encoder-only", "decoder-only", "encoder-decoder")


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What a task needs of a data row, and what it is measured by."""

    learns: str
    forms: tuple[tuple[str, ...], ...]
    """The parts that a row must have, in the ways in which it may have them."""
    optional: tuple[str, ...]
    """Parts that a row has only if the recipe names their column."""
    metrics: tuple[str, ...]
    knobs: tuple[str, ...]
    """Dotted keys of the recipe that not every task has."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Every part that a row of this task can have."""
        return tuple(part for form in self.forms for part in form) + self.optional


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """What a method trains, and which of the recipe's knobs are its own."""

    trains: str
    knobs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Whether a task x family x method cell exists; if not, why, and the way out."""

    supported: bool
    reason: str = ""
    hint: str = ""


def read_table(name: str) -> dict[str, Any]:
    """A TOML file of the catalogue, as plain values."""
    return tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


@cache
def _support() -> dict[str, Any]:
    return read_table("support.toml")


def tasks() -> dict[str, TaskFacts]:
    """Every task of the language, supported or not."""
    return {
        name: TaskFacts(
            learns=row["learns"],
            forms=tuple(tuple(form) for form in row["forms"]),
            optional=tuple(row.get("optional", ())),
            metrics=tuple(row["metrics"]),
            knobs=tuple(row["knobs"]),
        )
        for name, row in _support()["tasks"].items()
    }


def methods() -> dict[str, MethodFacts]:
    """Every method of the language, supported or not."""
    return {
        name: MethodFacts(trains=row["trains"], knobs=tuple(row["knobs"]))
        for name, row in _support()["methods"].items()
    }


@cache
def cells() -> tuple[tuple[str, str, str], ...]:
    """Every supported (task, family, method), sorted: the test matrix and the docs table."""
    return tuple(
        sorted(
            (task, family, method)
            for row in _support()["cells"]
            for task in row["tasks"]
            for family in row["families"]
            for method in row["methods"]
        )
    )


def cell(task: str, family: str, method: str) -> Cell:
    """Whether the cell is supported, and if not the reason and the nearest cells that are."""
    if (task, family, method) in cells():
        return Cell(supported=True)
    for row in _support()["refused"]:
        if (
            task in row.get("tasks", [task])
            and family in row.get("families", [family])
            and method in row.get("methods", [method])
        ):
            return Cell(supported=False, reason=row["reason"], hint=row["hint"])
    return Cell(
        supported=False,
        reason=f"this version does not train {task} with {method} on {family} models",
        hint=_near(task, family),
    )


def _near(task: str, family: str) -> str:
    same_pair = sorted({m for t, f, m in cells() if (t, f) == (task, family)})
    if same_pair:
        return f"for {task} on {family} models there is: {', '.join(same_pair)}"
    same_task = sorted({f for t, f, m in cells() if t == task})
    if same_task:
        return f"{task} is trained on: {', '.join(same_task)}"
    return f"tasks of this version: {', '.join(sorted({t for t, _, _ in cells()}))}"


def task_has_cells(task: str, method: str) -> Cell:
    """Whether any family trains this task with this method: what is known before the model is."""
    if any((t, m) == (task, method) for t, _, m in cells()):
        return Cell(supported=True)
    methods_of_task = sorted({m for t, _, m in cells() if t == task})
    for row in _support()["refused"]:
        anyhow = "families" not in row and task in row.get("tasks", [task])
        if methods_of_task and anyhow and method in row.get("methods", [method]):
            return Cell(supported=False, reason=row["reason"], hint=row["hint"])
    if methods_of_task:
        return Cell(
            supported=False,
            reason=f"this version does not train {task} with {method}",
            hint=f"methods for {task}: {', '.join(methods_of_task)}",
        )
    return Cell(
        supported=False,
        reason=f"this version does not train {task}",
        hint=f"tasks of this version: {', '.join(sorted({t for t, _, _ in cells()}))}",
    )
