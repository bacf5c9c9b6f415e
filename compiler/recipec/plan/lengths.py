"""How many tokens training reads, from a sample of the locked rows and the plan's lengths.

In: texts of some training rows, their settings. Out: `Tokens`, as a range: the compiler has no
tokenizer, so what a token is long is a rule of thumb. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipec.plan.batches import BYTES_OF_TOKEN
from recipec.plan.plan import Settings, TaskSettings

SHORTEST, LONGEST = 3.0, 5.0
"""Bytes of UTF-8 of a token on average: of text unlike English, or with a small vocabulary, and of
plain English with a large one. The middle is `BYTES_OF_TOKEN`."""
_NO_TEXT = ("label", "labels", "tags", "answers")
"""Parts of a row whose text the model does not read."""


@dataclass(frozen=True, kw_only=True)
class RowText:
    """UTF-8 bytes of a row's text: what is read, and what an encoder-decoder writes."""

    source: int
    target: int = 0


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Of one epoch of training, padding counted: what the model computes."""

    source: float
    """Of the encoder in an encoder-decoder; all of them elsewhere."""
    target: float
    """Of the decoder in an encoder-decoder."""
    row: float
    """Of a row's source, on average, padding counted: what attention looks at."""
    target_row: float


def row_text(row: Mapping[str, Any], task: TaskSettings) -> RowText:
    """The text of one row, as the task's columns name it."""
    sizes = {part: _text(row.get(column)) for part, column in task.columns if part not in _NO_TEXT}
    target = sizes.pop("target", 0)
    return RowText(source=sum(sizes.values()) + len(task.prefix.encode()), target=target)


def _text(value: object) -> int:
    """Bytes of all text in a value: of a text, a list of words, a list of messages."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(_text(part) for part in value.values())
    if isinstance(value, Iterable):
        # words of a list are apart: a blank belongs to each
        return sum(_text(part) + 1 for part in value)
    return 0


def tokens_of(sample: Sequence[RowText], settings: Settings, *, bytes_of_token: float) -> Tokens:
    """The tokens of one epoch, from a sample that is not empty.

    A batch is padded to its longest row: the sample's rows are taken in micro-batches, as training
    takes all rows. Packed rows and blocks have no padding.
    """
    training = settings.training
    if training.overlong == "split":
        return _blocks(sample, settings, bytes_of_token)
    decoded = settings.model.family == "encoder-decoder" and training.max_target_length > 0
    if not decoded:
        sample = [RowText(source=row.source + row.target) for row in sample]
    longest = training.max_source_length if decoded else training.max_length
    source = _mean(sample, longest, settings, bytes_of_token, "source")
    target = _mean(sample, training.max_target_length, settings, bytes_of_token, "target")
    rows = settings.train_rows
    return Tokens(
        source=rows * source,
        target=rows * target if decoded else 0.0,
        row=longest if training.packing else source,
        target_row=target if decoded else 0.0,
    )


def _blocks(sample: Sequence[RowText], settings: Settings, bytes_of_token: float) -> Tokens:
    """All texts are joined and cut: every block is full."""
    task, length = settings.task, settings.training.max_length
    text = sum(row.source + row.target for row in sample) / len(sample)
    tokens = settings.train_rows * (text / bytes_of_token + 1)
    hidden = 0.0
    if settings.model.family == "encoder-decoder":
        # T5 writes what is hidden, each span with a mark of its own; the others write all
        spans = task.mask_share * (1 + 1 / max(1.0, task.span_length))
        hidden = spans if settings.model.type in ("t5", "mt5") else 1.0
    return Tokens(
        source=tokens, target=tokens * hidden, row=float(length), target_row=length * hidden
    )


def _mean(
    sample: Sequence[RowText], longest: int, settings: Settings, bytes_of_token: float, part: str
) -> float:
    """Tokens of a row on average, cut and padded as batches are; 2 mark its ends."""
    counts: list[float] = [min(getattr(row, part) / bytes_of_token + 2, longest) for row in sample]
    if settings.training.packing:
        return sum(counts) / len(counts)
    size = settings.training.micro_batch_size
    batches = [counts[first : first + size] for first in range(0, len(counts), size)]
    return sum(max(batch) * len(batch) for batch in batches) / len(counts)


USUAL = float(BYTES_OF_TOKEN)
"""What a token is long where one number is wanted."""
