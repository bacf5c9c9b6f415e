"""What is to be read of every row, and what must hold for it.

In: a recipe. Out: a `Wanted`, which the readers and checks take in place of the recipe, so that a
corpus is read by the same code as a task's rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipec.recipe.columns import columns_of
from recipec.recipe.schema import Recipe

_CELLS = {"words": "json", "tags": "json", "messages": "json", "answers": "json"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Parts of a row and their columns, in the order in which a normal row has them."""

    columns: tuple[tuple[str, str], ...]
    """Part and column, such as ("source", "clause")."""
    labels: tuple[str, ...] | None = None
    """The closed set of labels or tags; None: those of the training rows."""
    multi_label: bool = False
    format: str | None = None
    """Format of every file; None: told by each file's name."""
    seed: int = 0
    """Draws the rows of splits that are a share of the training rows."""
    max_lost: float = 0.1
    """The share of a split's rows that may be empty."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(column for _, column in self.columns)

    @property
    def label_column(self) -> str | None:
        """The column with labels or tags; None where the task has none."""
        return next((column for part, column in self.columns if part in {"label", "tags"}), None)

    @property
    def cells(self) -> Mapping[str, str]:
        """How a column that is no text is written in a table of texts: `json` or `bars`."""
        chosen = {column: _CELLS[part] for part, column in self.columns if part in _CELLS}
        if self.multi_label:
            chosen |= {column: "bars" for part, column in self.columns if part == "label"}
        return chosen


def wanted_of(recipe: Recipe) -> Wanted:
    """What `domain.data` must have for the recipe's task."""
    return Wanted(
        columns=tuple(columns_of(recipe).items()),
        labels=tuple(recipe.task.labels) if recipe.task.labels is not None else None,
        multi_label=recipe.task.multi_label,
        format=recipe.domain.data.format,
        seed=recipe.training.seed,
        max_lost=recipe.training.max_lost,
    )


def wanted_of_corpus(recipe: Recipe) -> Wanted:
    """What `domain.corpus` must have: one text a row. Empty texts are left out, however many."""
    corpus = recipe.domain.corpus
    assert corpus is not None, "the recipe has a corpus"
    return Wanted(
        columns=(("text", corpus.field or "text"),), seed=recipe.training.seed, max_lost=1.0
    )
