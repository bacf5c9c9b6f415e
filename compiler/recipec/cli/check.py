"""`recipec check RECIPE…`: every mistake at once, with its line and a way out.

One that was found good is not looked at again while its bytes and its files have not moved.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.cli.console import print_json, say
from recipec.cli.members import digests, members
from recipec.cli.project import Project, find_project
from recipec.cli.stamps import stamps, unmoved
from recipec.errors import OK, Diagnostic, RecipeError
from recipec.fingerprint import compiler_fingerprint
from recipec.store import Store, canonical, sha256


@dataclass(frozen=True, kw_only=True)
class Good:
    """A recipe that nothing is wrong with; of a matrix every member."""

    project: Project
    recipes: tuple[tuple[str, str], ...]
    """Name and digest of each."""
    matrix: bool

    def to_plain(self) -> dict[str, Any]:
        """The recipe as JSON."""
        rows = [{"name": name, "digest": digest} for name, digest in self.recipes]
        recipe = {"recipe": str(self.project.recipe)}
        return {**recipe, "members": rows} if self.matrix else {**recipe, **rows[0]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Check the recipes and the files in the project that they name. Raises RecipeError."""
    store = Store()
    good: list[Good] = []
    wrong: list[Diagnostic] = []
    for path in options.recipes:
        try:
            project = find_project(path)
            good.append(known_good(project, store) or look(project, store))
        except RecipeError as error:
            wrong += error.diagnostics
    if wrong:
        raise RecipeError(wrong)
    if options.json:
        print_json({"recipes": [one.to_plain() for one in good]})
    else:
        for one in good:
            count = f" ({len(one.recipes)} recipes)" if one.matrix else ""
            say(f"{one.project.shown(one.project.recipe)}: good{count}")
    return OK


def known_good(project: Project, store: Store) -> Good | None:
    """What an earlier check found, if nothing that it looked at has moved."""
    known: Any = store.record("good", _place(project))
    try:
        now = {file: sha256(Path(file).read_bytes()) for file in known["files"]}
        if known["key"] != _key(project, now) or not unmoved(known["inputs"]):
            return None
        recipes = tuple((str(name), str(digest)) for name, digest in known["recipes"])
        return Good(project=project, recipes=recipes, matrix=bool(known["matrix"]))
    except (AttributeError, LookupError, OSError, TypeError, ValueError):
        return None  # none, one of files that are gone, or a foreign record counts as none


def look(project: Project, store: Store) -> Good:
    """Check a recipe and look into the files it names: the model's config, every data row.

    Raises RecipeError with all that is wrong, each thing once.
    """
    from recipec.cli.files import faults_of_files
    from recipec.cli.frontend import input_paths, load

    several = members(project, store)
    recipes, faults = [], {}
    inputs: dict[str, list[int]] = {}
    files: dict[str, str] = {}
    for one in several:
        try:
            loaded = load(one, store)
            files = digests(loaded.sources)
            inputs |= stamps(input_paths(loaded))
            found = faults_of_files(loaded, store)
        except RecipeError as error:
            found = list(error.diagnostics)
        else:
            recipes.append((loaded.recipe.name, loaded.digest))
        faults.update(dict.fromkeys(found))
    if faults:
        raise RecipeError(list(faults))
    good = Good(project=project, recipes=tuple(recipes), matrix=several != (project,))
    found_good = {
        "key": _key(project, files),
        "files": list(files),
        "recipes": good.recipes,
        "matrix": good.matrix,
        "inputs": inputs,
    }
    store.put_record("good", _place(project), found_good)
    return good


def _place(project: Project) -> str:
    return f"{project.recipe}:{project.member}"


def _key(project: Project, files: Mapping[str, str]) -> str:
    # The root is what the recipe's paths are relative to, and a `git init` below it moves it.
    return sha256(canonical([list(files.items()), compiler_fingerprint(), str(project.root)]))
