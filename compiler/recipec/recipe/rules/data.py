"""Rules of `domain.data` and of every path in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from recipec.recipe.document import KeyPath
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe
from recipec.recipe.splits import splits_of


def _paths(recipe: Recipe) -> Iterator[Broken]:
    named: dict[str, str] = {}
    for split in splits_of(recipe.domain.data):
        where: KeyPath = ("domain", "data", split.name)
        for path in split.paths:
            yield from _outside(where, path)
            plain = str(PurePosixPath(path))
            if plain in named:
                yield Broken(
                    path=where,
                    message=f"`{split.name}` is the same file as `{named[plain]}`",
                    hint="a model measured on what it was trained on looks better than it is",
                )
            named.setdefault(plain, split.name)
    if recipe.architecture.model.startswith("path:"):
        model_path = recipe.architecture.model.removeprefix("path:")
        yield from _outside(("architecture", "model"), model_path)


def _outside(where: KeyPath, path: str) -> Iterator[Broken]:
    pure = PurePosixPath(path)
    if pure.is_absolute() or path.startswith("~") or ".." in pure.parts or "\\" in path:
        yield Broken(
            path=where,
            message=f"{path!a} leaves the project",
            hint="name a path below the project's root: a lock must mean the same everywhere",
        )
    elif "${" in path:
        yield Broken(
            path=where,
            message=f"{path!a} holds `${{`, which DVC would take for a variable",
            hint="rename the file or folder",
        )
    elif any(ord(c) < 32 or ord(c) == 127 for c in path):
        yield Broken(path=where, message="the path holds a control character")


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_paths,)
