"""`recipec check-job TARGET FILE`: what the service's own client says of a job document."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipec.cli.console import print_json, say
from recipec.errors import OK, Diagnostic, RecipeError
from recipec.recipe.schema.deploy import TARGETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("target", choices=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("file", type=Path, metavar="FILE", help="a document of that target")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Check one file. Raises RecipeError with all that is wrong in it."""
    from recipec.clients.check import check_document

    name = str(options.file)
    try:
        data = options.file.read_bytes()
    except OSError as error:
        raise RecipeError([_fault(name, f"cannot be read: {error.strerror}")]) from error
    verdict = check_document(options.target, data)
    if verdict.faults:
        say(f"checked by {verdict.validator}")
        raise RecipeError([_fault(name, fault) for fault in verdict.faults])
    if options.json:
        print_json({"target": options.target, "file": name, "validator": verdict.validator})
    else:
        say(f"{name}: good, says {verdict.validator}")
    return OK


def _fault(name: str, message: str) -> Diagnostic:
    return Diagnostic(file=name, line=0, column=0, message=message)
