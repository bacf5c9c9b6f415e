"""Packing: the rows of a batch one after another in a single row, without padding between them.

In: a padded batch. Out: the same tokens as one row whose positions begin anew with every text;
transformers reads from them which tokens may see each other, as long as there is neither an
attention mask nor a cache. Losses are those of the padded batch, to the last digits of a float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def packed(batch: dict[str, Any]) -> dict[str, Any]:
    """`input_ids`, `position_ids` and `labels` of shape (1, tokens), from shape (rows, tokens).

    `batch` has `input_ids`, `attention_mask` (1 where there is text) and `labels`.
    """
    text = batch["attention_mask"].bool()
    positions = text.long().cumsum(1) - 1
    return {
        "input_ids": batch["input_ids"][text][None],
        "position_ids": positions[text][None],
        "labels": batch["labels"][text][None],
    }


def padded(rows: Sequence[Sequence[int]], value: int) -> Any:
    """Rows of numbers as one tensor of shape (rows, longest), `value` behind the shorter ones."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
