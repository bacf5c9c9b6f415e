"""Which recipes a recipe's file stands for: itself, or the members of its matrix.

In: a project. Out: a project for each recipe. On the path of a build with nothing to do: a recipe
that was checked before is known from a record, and neither YAML nor the types are imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipec.cli.chain import Source, read_source
from recipec.cli.project import Project
from recipec.errors import Diagnostic, RecipeError, UsageError
from recipec.fingerprint import compiler_fingerprint
from recipec.store import Store, sha256


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a recipe's files were found to hold: good recipes, as plain values."""

    sources: tuple[Source, ...]
    matrix: bool
    recipes: tuple[Mapping[str, Any], ...]

    @property
    def names(self) -> list[str]:
        """The names of the recipes."""
        return [str(recipe["name"]) for recipe in self.recipes]


def members(project: Project, store: Store) -> tuple[Project, ...]:
    """A project for each recipe that is meant: all members, or the one that is named.

    Raises RecipeError when the recipe is wrong, UsageError for a member that it has not.
    """
    checked = recall(project, store)
    if checked is None:
        from recipec.cli.frontend import examine

        checked = examine(project, store)
    if project.member or not checked.matrix:
        pick(project, checked)
        return (project,)
    _refuse_lock_of_others(project, checked.names)
    return tuple(replace(project, member=name) for name in checked.names)


def pick(project: Project, checked: Checked) -> Mapping[str, Any]:
    """The one recipe that a project means. Raises UsageError when it does not say which."""
    file, names = project.shown(project.recipe), checked.names
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if not checked.matrix:
        if project.member:
            hint = f"name the recipe alone: {file}"
            raise UsageError(f"{file} has no matrix, so no member {project.member!a}", hint=hint)
        return checked.recipes[0]
    if not project.member:
        message = f"{file} has a matrix of {len(names)} recipes; this takes one"
        raise UsageError(message, hint=f"name it as {file}:{names[0]}; the members: {listed}")
    if project.member not in names:
        import difflib

        near = difflib.get_close_matches(project.member, names, n=1, cutoff=0.5)
        hint = f"did you mean {file}:{near[0]}? " if near else ""
        message = f"{file} has no member {project.member!a}"
        raise UsageError(message, hint=f"{hint}its members: {listed}")
    return checked.recipes[names.index(project.member)]


def recall(project: Project, store: Store) -> Checked | None:
    """What an earlier check found, if the recipe's files and this compiler are the same."""
    first = read_source(project)
    record = store.record("checked", _key(first))
    try:
        sources = [first, *(_unmoved(project, *row) for row in record["bases"])]  # type: ignore[index]
        names = [recipe["name"] for recipe in record["recipes"]]  # type: ignore[index]
        matrix = bool(record["matrix"])  # type: ignore[index]
        recipes = tuple(record["recipes"])  # type: ignore[index]
    except (LookupError, OSError, TypeError, ValueError):
        return None  # a base has moved, or it is a foreign record
    if not names:
        return None
    return Checked(sources=tuple(sources), matrix=matrix, recipes=recipes)


def keep(project: Project, checked: Checked, store: Store) -> None:
    """Remember what a check found."""
    first, *bases = checked.sources
    here = project.recipe.parent
    rows = [[os.path.relpath(base.link, here), sha256(base.data)] for base in bases]
    found = {"bases": rows, "matrix": checked.matrix, "recipes": list(checked.recipes)}
    store.put_record("checked", _key(first), found)


def digests(sources: Sequence[Source]) -> dict[str, str]:
    """The digest of each file of a recipe, by where it was looked for."""
    return {str(source.link): sha256(source.data) for source in sources}


def _key(first: Source) -> str:
    return sha256(f"{sha256(first.data)} {compiler_fingerprint()}".encode())


def _unmoved(project: Project, place: str, digest: str) -> Source:
    """A base as it was. Raises ValueError when it is another now."""
    link = project.recipe.parent / place
    path, data = Path(os.path.realpath(link)), link.read_bytes()
    if sha256(data) != digest or not path.is_relative_to(project.root):
        raise ValueError(place)
    return Source(path=path, link=link, data=data)


def _refuse_lock_of_others(project: Project, names: Sequence[str]) -> None:
    """A member's lock would be that of a recipe beside it. Raises RecipeError."""
    for name in names:
        for ending in (".yaml", ".yml"):
            other = project.recipe.with_name(name + ending)
            if other.is_file():
                message = f"its member {name} would have the lock of {project.shown(other)}"
                hint = "rename one of the two recipes"
                file = project.shown(project.recipe)
                wrong = Diagnostic(file=file, line=0, column=0, message=message, hint=hint)
                raise RecipeError([wrong])
