"""The data files: every row read, checked, counted and hashed, and written anew where it must be.

In: a recipe and the project's folder. Out: `DataFacts`, or every diagnostic. The runtime reads JSON
Lines and nothing else: a split that is one such file is taken as it is; of other formats, several
files, shares, and files with rows that stay out, the store gets a normal form. Files are streamed.
"""

from __future__ import annotations

from pathlib import Path

from recipec.pins.data.read import DataFacts, read_splits
from recipec.pins.data.wanted import wanted_of, wanted_of_corpus
from recipec.recipe.schema import Recipe
from recipec.recipe.splits import splits_of
from recipec.store import Store

__all__ = ["DataFacts", "read_corpus", "read_data", "read_splits"]


def read_data(recipe: Recipe, *, project: Path, store: Store) -> DataFacts:
    """Check and pin the recipe's data files. Raises RecipeError with all that is wrong in them."""
    splits = splits_of(recipe.domain.data)
    return read_splits(splits, wanted_of(recipe), project=project, store=store)


def read_corpus(recipe: Recipe, *, project: Path, store: Store) -> DataFacts:
    """As `read_data` for `domain.corpus`: rows of one text, whose splits are train, validation."""
    corpus = recipe.domain.corpus
    assert corpus is not None, "the recipe has a corpus"
    return read_splits(splits_of(corpus), wanted_of_corpus(recipe), project=project, store=store)
