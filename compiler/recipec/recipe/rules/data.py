"""Rules of `domain.data`, `domain.corpus`, and of every path in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from recipec.recipe.columns import columns_of
from recipec.recipe.document import KeyPath
from recipec.recipe.formats import format_of
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Corpus, Data, Recipe
from recipec.recipe.splits import SHARE, Split, splits_of


def _sections(recipe: Recipe) -> Iterator[tuple[str, Data | Corpus, str | None]]:
    """The sections that name data files, and the format that they say these have."""
    yield "data", recipe.domain.data, recipe.domain.data.format
    if recipe.domain.corpus is not None:
        yield "corpus", recipe.domain.corpus, None


def _paths(recipe: Recipe) -> Iterator[Broken]:
    for section, data, _ in _sections(recipe):
        named: dict[str, str] = {}
        for split in splits_of(data):
            where: KeyPath = ("domain", section, split.name)
            for path in split.paths:
                yield from _outside(where, path)
                plain = str(PurePosixPath(path))
                if plain in named:
                    yield _twice(where, split.name, named[plain], plain)
                named.setdefault(plain, split.name)
    if recipe.architecture.model.startswith("path:"):
        model_path = recipe.architecture.model.removeprefix("path:")
        yield from _outside(("architecture", "model"), model_path)


def _twice(where: KeyPath, split: str, other: str, path: str) -> Broken:
    if split == other:
        return Broken(path=where, message=f"`{split}` names {path!a} twice")
    return Broken(
        path=where,
        message=f"`{split}` is the same file as `{other}`",
        hint="a model measured on what it was trained on looks better than it is",
    )


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


def _shares(recipe: Recipe) -> Iterator[Broken]:
    for section, data, _ in _sections(recipe):
        taken = 0.0
        for split in splits_of(data):
            where: KeyPath = ("domain", section, split.name)
            for path in split.paths:
                if SHARE.fullmatch(path):
                    yield _no_share(where, split, path)
            taken += split.share or 0
            if split.share == 0:
                yield Broken(path=where, message="a share of 0% is no rows", hint="leave it out")
            elif split.share is not None and taken >= 1:
                yield Broken(
                    path=where,
                    message=f"shares of {taken:.0%} leave no row to train on",
                    hint="10% is usual",
                )


def _no_share(where: KeyPath, split: Split, path: str) -> Broken:
    if split.name == "train":
        message = f"`train` is {path!a}: only validation and test can be shares, and of `train`"
        return Broken(path=where, message=message, hint="name the files that hold the rows")
    return Broken(
        path=where,
        message=f"{path!a} stands among files",
        hint=f"`{split.name}` is either a share of the training rows or files",
    )


def _formats(recipe: Recipe) -> Iterator[Broken]:
    for section, data, given in _sections(recipe):
        for split in splits_of(data):
            where: KeyPath = ("domain", section, split.name)
            for path in split.paths:
                found = format_of(path, given)
                if found is not None and found.kind == "parquet" and found.compression:
                    yield Broken(
                        path=where,
                        message=f"{path!a} is a compressed Parquet file",
                        hint="Parquet compresses its columns itself: unpack the file",
                    )


def _plain_text(recipe: Recipe) -> Iterator[Broken]:
    parts = list(columns_of(recipe))
    if len(parts) == 1:
        return
    data = recipe.domain.data
    for split in splits_of(data):
        for path in split.paths:
            found = format_of(path, data.format)
            if found is not None and found.kind == "text":
                yield Broken(
                    path=("domain", "data", split.name),
                    message=f"{path!a} is plain text, which has one text a row",
                    hint=f"{recipe.task.type} needs {' and '.join(parts)}: use JSON Lines or CSV",
                )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_plain_text,)
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_paths, _shares, _formats)
