"""Arguments and wiring that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_recipe(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """The recipe, or several."""
    what = "a recipe, or RECIPE:MEMBER for one member of its matrix"
    if many:
        parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help=what)
    else:
        parser.add_argument("recipe", type=Path, metavar="RECIPE", help=what)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """What every command that may compile takes."""
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder of the build folders (build/)"
    )
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="worker processes (the number of cores)"
    )


def add_plain_http(parser: argparse.ArgumentParser) -> None:
    """Leave for HTTP without encryption."""
    parser.add_argument(
        "--plain-http",
        action="store_true",
        help="talk to the registry without encryption; on this machine's own that is the rule",
    )


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
