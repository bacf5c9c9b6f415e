"""`recipec check RECIPE…`: every mistake at once, with its line and a way out.

One that was found good is not looked at again while its bytes and its files have not moved.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from recipec.cli.console import print_json, say
from recipec.cli.fingerprint import compiler_fingerprint
from recipec.cli.project import Project, find_project
from recipec.cli.stamps import stamps, unmoved
from recipec.errors import OK, Diagnostic, RecipeError
from recipec.store import Store, canonical, sha256


@dataclass(frozen=True, kw_only=True)
class Good:
    """A recipe that nothing is wrong with."""

    project: Project
    name: str
    digest: str


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
        rows = [
            {"recipe": str(one.project.recipe), "name": one.name, "digest": one.digest}
            for one in good
        ]
        print_json({"recipes": rows})
    else:
        for one in good:
            say(f"{one.project.shown(one.project.recipe)}: good")
    return OK


def known_good(project: Project, store: Store) -> Good | None:
    """What an earlier check found, if nothing that it looked at has moved."""
    known = store.record("good", str(project.recipe))
    try:
        if known is None or known["key"] != _key(project) or not unmoved(known["inputs"]):
            return None
        return Good(project=project, name=known["name"], digest=known["digest"])
    except (AttributeError, LookupError, TypeError):
        return None  # a foreign record counts as none


def look(project: Project, store: Store) -> Good:
    """Check a recipe and look into the files it names: the model's config, every data row.

    Raises RecipeError with all that is wrong.
    """
    from recipec.cli.files import faults_of_files
    from recipec.cli.frontend import input_paths, load

    key = _key(project)
    loaded = load(project, store)
    inputs = stamps(input_paths(loaded))
    faults = faults_of_files(loaded, store)
    if faults:
        raise RecipeError(faults)
    found = {"key": key, "inputs": inputs, "name": loaded.recipe.name, "digest": loaded.digest}
    store.put_record("good", str(project.recipe), found)
    return Good(project=project, name=loaded.recipe.name, digest=loaded.digest)


def _key(project: Project) -> str:
    try:
        source = project.recipe.read_bytes()
    except OSError:
        return ""
    # The root is what the recipe's paths are relative to, and a `git init` below it moves it.
    return sha256(canonical([sha256(source), compiler_fingerprint(), str(project.root)]))
