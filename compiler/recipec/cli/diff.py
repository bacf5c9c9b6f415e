"""`recipec diff A B`: how two recipes, two locks or two images differ, in words."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from recipec.cli import differences
from recipec.cli.console import print_json
from recipec.cli.project import split_member
from recipec.errors import OK, UsageError
from recipec.store import Store


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two things that are compared."""

    kind: str
    """recipe, lock or image."""
    path: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("one", type=Path, metavar="A", help="a recipe, a lock, or an OCI layout")
    parser.add_argument("other", type=Path, metavar="B")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Print every difference. Raises UsageError when the two are not of one kind."""
    one, other = side(options.one), side(options.other)
    if one.kind != other.kind:
        raise UsageError(
            f"{one.path} is a {one.kind} and {other.path} is a {other.kind}",
            hint="compare two recipes, two locks, or two images",
        )
    if one.kind == "recipe":
        found = differences.of_recipes(one.path, other.path, Store())
    elif one.kind == "lock":
        found = differences.of_locks(one.path, other.path)
    else:
        found = differences.of_images(one.path, other.path)
    if options.json:
        print_json({"kind": one.kind, "same": not found, "differences": found})
    else:
        print("\n".join(found) if found else f"the two {one.kind}s say the same")
    return OK


def side(path: Path) -> Side:
    """What lies at a path: by its name for recipes and locks, by its content for images."""
    if path.is_dir():
        for folder in (path, path / "image"):
            if (folder / "index.json").is_file():
                return Side(kind="image", path=folder)
        raise UsageError(
            f"{path} holds no image", hint="name an OCI layout or a build folder (build/NAME)"
        )
    file, _ = split_member(path)
    if not file.is_file():
        raise UsageError(f"there is no {path}", hint="name two files or two build folders")
    if path.name.endswith(".json"):
        return Side(kind="lock", path=path)
    return Side(kind="recipe", path=path)
