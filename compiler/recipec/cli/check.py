"""`recipec check RECIPE…`: every mistake at once, with its line and a way out."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipec.cli.console import print_json, say
from recipec.cli.frontend import Loaded, load
from recipec.cli.project import find_project
from recipec.errors import OK, Diagnostic, RecipeError
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Check the recipes and the files in the project that they name. Raises RecipeError."""
    store = Store()
    good: list[Loaded] = []
    wrong: list[Diagnostic] = []
    for path in options.recipes:
        try:
            loaded = load(find_project(path), store)
            check_files(loaded, store)
            good.append(loaded)
        except RecipeError as error:
            wrong += error.diagnostics
    if wrong:
        raise RecipeError(wrong)
    if options.json:
        rows = [
            {"recipe": str(one.project.recipe), "name": one.recipe.name, "digest": one.digest}
            for one in good
        ]
        print_json({"recipes": rows})
    else:
        for one in good:
            say(f"{one.project.shown(one.project.recipe)}: good")
    return OK


def check_files(loaded: Loaded, store: Store) -> None:
    """Look into what the recipe names in the project: the model's config, every data row.

    What was looked at before and has not changed is not read again. Raises RecipeError.
    """
    from recipec.cli.files import faults_of_files

    faults = faults_of_files(loaded, store)
    if faults:
        raise RecipeError(faults)
