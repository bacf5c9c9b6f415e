"""`recipec schema`: the JSON Schema of the recipe language, for editors and for other checkers."""

from __future__ import annotations

import argparse

from recipec.errors import OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--json", action="store_true", help="accepted; the schema is JSON anyway")


def run(options: argparse.Namespace) -> int:  # noqa: ARG001 - every command has this signature
    """Print the schema."""
    from recipec.recipe.json_schema import json_schema_text

    print(json_schema_text(), end="")
    return OK
