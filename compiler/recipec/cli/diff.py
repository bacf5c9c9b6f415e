"""`recipec diff A B`: how two recipes, two locks or two images differ, in words."""

from __future__ import annotations

import argparse
from typing import Any

from recipec.cli import differences
from recipec.cli.console import print_json
from recipec.cli.images import Named, named, open_named
from recipec.errors import OK, UsageError
from recipec.store import Store

_IMAGES = ("image", "registry")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "one",
        metavar="A",
        help="a recipe, a lock, or an image: an OCI layout, a build folder, an archive, or"
        " registry.example/team/name:tag",
    )
    parser.add_argument("other", metavar="B")
    parser.add_argument(
        "--image", action="store_true", help="compare the images that two recipes were built to"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Print every difference. Raises UsageError when the two are not of one kind."""
    one, other = named(options.one), named(options.other)
    kind = _kind(one, other, images=options.image)
    found, more = _compare(kind, one, other, Store())
    if options.json:
        print_json({"kind": kind, "same": not found, "differences": found, **more})
    else:
        print("\n".join(found) if found else f"the two {kind}s say the same")
    return OK


def _kind(one: Named, other: Named, *, images: bool) -> str:
    """What the two are compared as: a recipe beside an image is the image it was built to."""
    kinds = {"image" if side.kind in _IMAGES else side.kind for side in (one, other)}
    if images and "lock" not in kinds:
        return "image"
    if kinds == {"recipe", "image"}:
        return "image"
    if len(kinds) == 1 and not images:
        return kinds.pop()
    raise UsageError(
        f"{one.text} is a {_noun(one)} and {other.text} is a {_noun(other)}",
        hint="compare two recipes, two locks, or two images",
    )


def _noun(side: Named) -> str:
    return "image" if side.kind in _IMAGES else side.kind


def _compare(kind: str, one: Named, other: Named, store: Store) -> tuple[list[str], dict[str, Any]]:
    """The differences in words, and what more JSON says of them."""
    if kind == "recipe":
        return differences.of_recipes(one.path, other.path, store), {}
    if kind == "lock":
        return differences.of_locks(one.path, other.path), {}
    from recipec.cli.image_words import lines, to_plain
    from recipec.image.compare import compare

    found = compare(open_named(one, store), open_named(other, store))
    return lines(found), to_plain(found)
