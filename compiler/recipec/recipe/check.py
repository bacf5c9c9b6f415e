"""Pass: check. A `Document` in, a `Recipe` out, or every diagnostic at once.

First the types (`convert.py`; what they refuse, `explain.py` puts into words), then what types
cannot say (`rules/`). What was refused is left out before the rules run, so one mistake hides no
other. It reads no file: whether a path exists is asked later, by those who touch the disk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from recipec.errors import Diagnostic, RecipeError
from recipec.recipe.convert import convert
from recipec.recipe.document import Document, KeyPath
from recipec.recipe.schema import Recipe

MAX_PROBLEMS = 100
"""Diagnostics of one recipe; what comes after them is noise."""


def check(document: Document) -> Recipe:
    """The recipe in a document. Raises RecipeError with all diagnostics at once."""
    recipe = convert(document.value)
    if recipe is None:
        raise RecipeError(_everything_wrong(document))
    broken = _broken_rules(document, recipe, task_known=True)
    if broken:
        raise RecipeError(broken)
    return recipe


def _everything_wrong(document: Document) -> list[Diagnostic]:
    """What the schema refuses, and the rules that the rest breaks."""
    from recipec.recipe.explain import explain

    found: list[Diagnostic] = []
    bad: list[KeyPath] = []
    for path, diagnostic in itertools.islice(explain(document), MAX_PROBLEMS):
        found.append(diagnostic)
        if path is not None:
            bad.append(path)
    assert found, "the types refuse what the schema made from them accepts"
    sound: Any = _without(document.value, bad)
    task_known = "type" in sound.get("task", ())
    recipe = convert(_completed(sound))
    if recipe is not None:
        found += _broken_rules(document, recipe, task_known=task_known, bad=bad)
    return found


def _broken_rules(
    document: Document, recipe: Recipe, *, task_known: bool, bad: Iterable[KeyPath] = ()
) -> list[Diagnostic]:
    """The rules that a recipe breaks, but for those about what was refused at `bad` already."""
    from recipec.recipe.rules import broken_rules

    return [
        document.diagnostic(rule.path, rule.message, rule.hint, key=rule.at_key)
        for rule in itertools.islice(broken_rules(recipe, task_known), MAX_PROBLEMS)
        if not any(path == rule.path[: len(path)] for path in bad)
    ]


def _completed(value: Any) -> Any:
    """What an incomplete recipe lacks filled in, so that the rules can run."""
    value.setdefault("name", "unnamed")
    value.setdefault("task", {}).setdefault("type", "text-to-text")
    value.setdefault("architecture", {}).setdefault("model", "path:model")
    value.setdefault("domain", {}).setdefault("data", {}).setdefault("train", "train")
    return value


def _without(value: object, paths: Iterable[KeyPath]) -> object:
    """A copy of the values without those at `paths`."""
    import copy

    kept = copy.deepcopy(value)
    # Removing one item would move the ones after it: the whole list goes instead.
    whole = (
        path[: next((i for i, p in enumerate(path) if isinstance(p, int)), None)] for path in paths
    )
    for path in sorted(whole, key=len, reverse=True):
        parent: Any = kept
        for part in path[:-1]:
            parent = parent[part] if _holds(parent, part) else None
        if path and _holds(parent, path[-1]):
            del parent[path[-1]]
    return kept


def _holds(parent: object, part: str | int) -> bool:
    return isinstance(parent, dict) and part in parent
