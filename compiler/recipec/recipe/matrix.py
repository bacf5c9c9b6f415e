"""Pass: expand. A recipe with a `matrix` in, a `Document` for each combination out.

A member is the recipe with one value of each axis in it, under a name of its own; whatever is wrong
with such a value is shown where it stands in the matrix. It reads no file.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recipec.errors import Diagnostic, RecipeError, visible
from recipec.recipe.compose import FIXED
from recipec.recipe.document import Document, KeyPath, Place, dotted
from recipec.recipe.naming import LONGEST_STEM, is_name, member_names
from recipec.recipe.schema import Recipe
from recipec.recipe.vocabulary import nearest_key, path_of

MAX_MEMBERS = 256
"""Combinations of one matrix."""

MAX_PROBLEMS = 100
"""Diagnostics of one recipe; what comes after them is noise."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One combination of a matrix: a whole recipe."""

    name: str
    document: Document


@dataclass(frozen=True, kw_only=True)
class _Axis:
    key: str
    path: KeyPath
    values: list[Any]


def has_matrix(document: Document) -> bool:
    """Whether a recipe stands for several. An empty matrix varies nothing."""
    return bool(_matrix(document))


def expand(document: Document) -> tuple[Member, ...]:
    """The members of a composed recipe, the last axis varying fastest.

    Empty for a recipe without a matrix, and for one whose matrix is of the wrong form: the checker
    says so. Raises RecipeError for keys that cannot vary, and for too many combinations.
    """
    matrix = _matrix(document)
    if not all(isinstance(values, list) and values for values in matrix.values()) or not matrix:
        return ()
    count = math.prod(len(values) for values in matrix.values())
    if count > MAX_MEMBERS:
        message = f"the matrix has {count:,} combinations; at most {MAX_MEMBERS}"
        hint = "give it fewer values, or make several recipes of it"
        raise RecipeError([document.diagnostic(("matrix",), message, hint, key=True)])
    axes = _axes(document, matrix)
    chosen = list(itertools.product(*(range(len(axis.values)) for axis in axes)))
    combinations = [
        {axis.key: axis.values[index] for axis, index in zip(axes, indexes, strict=True)}
        for indexes in chosen
    ]
    names = _names(document, [axis.key for axis in axes], combinations)
    return tuple(
        Member(name=name, document=_member(document, name, axes, indexes))
        for name, indexes in zip(names, chosen, strict=True)
    )


def recipes_of(document: Document) -> tuple[Recipe, ...]:
    """The checked recipes of a composed document: one, or all members of its matrix.

    Raises RecipeError with every diagnostic of all of them, each once.
    """
    from recipec.recipe.check import check

    members = expand(document)
    if not members:
        return (check(document),)
    recipes: list[Recipe] = []
    found: dict[Diagnostic, list[str]] = {}
    for member in members:
        try:
            recipes.append(check(member.document))
        except RecipeError as error:
            for diagnostic in error.diagnostics:
                found.setdefault(diagnostic, []).append(member.name)
    if found:
        wrong = itertools.islice(_told(document, found, len(members)), MAX_PROBLEMS)
        raise RecipeError(list(wrong))
    return tuple(recipes)


def _told(
    document: Document, found: Mapping[Diagnostic, list[str]], count: int
) -> Iterator[Diagnostic]:
    """The diagnostics; one that only some members have, away from the matrix, names the first."""
    lines = {
        (place.file or document.file, place.line)
        for path, place in document.values.items()
        if path[:1] == ("matrix",)
    }
    for diagnostic, names in found.items():
        everywhere = len(names) == count or (diagnostic.file, diagnostic.line) in lines
        told = diagnostic.message if everywhere else f"{diagnostic.message} (in {names[0]})"
        yield replace(diagnostic, message=told)


def _matrix(document: Document) -> Mapping[str, Any]:
    matrix = document.value.get("matrix") if isinstance(document.value, dict) else None
    return matrix if isinstance(matrix, dict) else {}


def _axes(document: Document, matrix: Mapping[str, list[Any]]) -> list[_Axis]:
    """The axes as written. Raises RecipeError with all that is wrong with them."""
    axes: list[_Axis] = []
    wrong: list[Diagnostic] = []
    for key, values in matrix.items():
        path = path_of(key)
        if path is None or key in FIXED:
            wrong.append(_no_axis(document, key))
            continue
        wrong += _repeated(document, key, values)
        if stopped := _no_section(document, path):
            message = f"`{dotted(stopped)}` is not a section, so `{key}` cannot vary in it"
            wrong.append(document.diagnostic(stopped, message, "remove one of them", key=True))
        axes.append(_Axis(key=key, path=path, values=values))
    if wrong:
        raise RecipeError(wrong)
    return axes


def _no_axis(document: Document, key: str) -> Diagnostic:
    if key in FIXED:
        message, hint = f"`{key}` cannot vary in a matrix", FIXED[key]
    else:
        near = nearest_key(key)
        message = f"a recipe has no key `{visible(key)}`"
        hint = f"did you mean `{near}`?" if near else "write the section too: `training.seed`"
    return document.diagnostic(("matrix", key), message, hint, key=True)


def _repeated(document: Document, key: str, values: list[Any]) -> Iterator[Diagnostic]:
    """Values that an axis has twice: two members would be one recipe."""
    for index, value in enumerate(values):
        first = next((i for i, other in enumerate(values[:index]) if _same(other, value)), None)
        if first is not None:
            where = document.spot(("matrix", key, first))
            message = f"this value of `{key}` stands here a second time ({where})"
            yield document.diagnostic(("matrix", key, index), message, "keep one of them")


def _same(one: Any, other: Any) -> bool:
    """Equal as values of a recipe: 8 and 8.0 are, 1 and true are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _no_section(document: Document, path: KeyPath) -> KeyPath:
    """The first part of a path at which something else than a section stands, empty for none."""
    value: Any = document.value
    for depth, part in enumerate(path[:-1]):
        value = value.get(part, {})
        if not isinstance(value, dict):
            return path[: depth + 1]
    return ()


def _names(
    document: Document, keys: list[str], combinations: list[dict[str, Any]]
) -> tuple[str, ...]:
    name = document.value.get("name") if isinstance(document.value, dict) else None
    if not is_name(name):
        # The checker says what is wrong with it.
        return tuple(str(index) for index in range(len(combinations)))
    if len(name) > LONGEST_STEM:
        message = (
            f"`name` has {len(name)} characters; a recipe with a matrix has at most {LONGEST_STEM}"
        )
        hint = "its members are named after it and their values, in 63 characters"
        raise RecipeError([document.diagnostic(("name",), message, hint)])
    return member_names(name, keys, combinations)


def _member(document: Document, name: str, axes: list[_Axis], indexes: tuple[int, ...]) -> Document:
    """The recipe with one value of each axis; its places are those of the matrix's entries."""
    plain: Any = document.value
    value = copy.deepcopy({key: item for key, item in plain.items() if key != "matrix"})
    if is_name(plain.get("name")):
        value["name"] = name
    keys, values = dict(document.keys), dict(document.values)
    for axis, index in zip(axes, indexes, strict=True):
        at: KeyPath = ("matrix", axis.key, index)
        parent = value
        for part in axis.path[:-1]:
            parent = parent.setdefault(part, {})
        parent[axis.path[-1]] = copy.deepcopy(axis.values[index])
        _move(keys, at, axis.path)
        _move(values, at, axis.path)
        entry = document.place(("matrix", axis.key), key=True)
        keys[axis.path] = entry
        for depth in range(1, len(axis.path)):
            keys.setdefault(axis.path[:depth], entry)
    return replace(document, value=value, keys=keys, values=values)


def _move(places: dict[KeyPath, Place], source: KeyPath, target: KeyPath) -> None:
    """Put the places below `source` at `target`, instead of those that are there."""
    moved = {
        (*target, *path[len(source) :]): place
        for path, place in places.items()
        if path[: len(source)] == source
    }
    for path in [path for path in places if path[: len(target)] == target]:
        del places[path]
    places.update(moved)
