"""Training rows that do not fit: counted, said, and left out if the recipe asks for it.

In: rows, and a function that counts their tokens. Out: the rows to train on, and numbers for
metrics.json. The compiler has no tokenizer, so this is a matter of the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from recipec_runtime.data import Row, batches
from recipec_runtime.errors import TrainingFailed

CHUNK = 1000
"""Rows whose tokens are counted at once."""

Count = tuple[int, int]
"""Tokens of a text, and the most that are taken."""


def fitting(
    tokenizer: Any,
    rows: Sequence[Row],
    token_counts: Callable[[Any, Sequence[Row]], Sequence[Sequence[Count]]],
    *,
    max_lost: float,
    drop: bool = False,
) -> tuple[list[Row], dict[str, int]]:
    """The rows to train on, and how many were cut or dropped, and are empty; zeros are left out.

    `token_counts` gives for each row its texts' counts. A row is empty if one of its texts has
    nothing but white space. Raises TrainingFailed when more than the share `max_lost` of the rows
    is empty or dropped.
    """
    long: list[bool] = []
    for some in batches(rows, CHUNK):
        counted = token_counts(tokenizer, some)
        long += [any(tokens > most for tokens, most in counts) for counts in counted]
    blank = [any(_is_blank(value) for value in row.values()) for row in rows]
    lost = sum(b or (drop and o) for b, o in zip(blank, long, strict=True))
    found = {"empty": sum(blank), "dropped" if drop else "cut": sum(long)}
    numbers = {name: number for name, number in found.items() if number}
    if numbers:
        said = ", ".join(f"{number:,} {name}" for name, number in numbers.items())
        print(f"of {len(rows):,} training rows: {said}", file=sys.stderr, flush=True)
    if lost > max_lost * len(rows) or (rows and lost == len(rows)):
        raise TrainingFailed(
            f"{lost:,} of {len(rows):,} training rows are empty{' or too long' if drop else ''},"
            f" and training.max_lost is {max_lost:g}",
            hint="look at the data, raise the lengths under training, or raise training.max_lost",
        )
    kept = [row for row, over in zip(rows, long, strict=True) if not (drop and over)]
    return kept, numbers


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()
