"""The splits of a recipe's data: which files each has, or which share of the training rows.

In: the recipe's `domain.data` or `domain.corpus`. Out: `Split`s, train first. It reads no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from recipec.recipe.schema import Corpus, Data

SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)%")


@dataclass(frozen=True, kw_only=True)
class Split:
    """`train`, `validation` or `test`: its files, or its share of the training rows."""

    name: str
    paths: tuple[str, ...] = ()
    """Relative to the project's root."""
    share: float | None = None
    """Between 0 and 1; such a split has no files of its own."""


def splits_of(data: Data | Corpus) -> tuple[Split, ...]:
    """The splits that the recipe has, train first."""
    test = data.test if isinstance(data, Data) else None
    named = (("train", data.train), ("validation", data.validation), ("test", test))
    return tuple(_split(name, value) for name, value in named if value is not None)


def _split(name: str, value: str | list[str]) -> Split:
    if isinstance(value, str) and name != "train" and (found := SHARE.fullmatch(value)):
        return Split(name=name, share=float(found[1]) / 100)
    return Split(name=name, paths=(value,) if isinstance(value, str) else tuple(value))
