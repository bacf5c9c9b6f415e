"""Rows, their order and their batches.

In: JSON Lines files, as the compiler has checked or written them. Out: lists of rows with the named
fields, and an order that is a pure
function of seed and epoch. Nothing here draws from a random generator.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from recipec_runtime import stop
from recipec_runtime.errors import TrainingFailed

Row = dict[str, Any]
"""Value by field: a text, a list of texts (words, tags, labels), a chat, or a question's answers.

A chat is a list of {"role": ..., "content": ...}; answers are {"text": [...], "answer_start":
[...]}, in characters. The compiler has checked every one of them.
"""
T = TypeVar("T")


def read_rows(path: Path, fields: Sequence[str]) -> list[Row]:
    """The `fields` of every row of a JSON Lines file. Raises TrainingFailed with file:line."""
    rows = []
    with path.open(encoding="utf-8", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                rows.append({field: _value(row[field]) for field in fields})
            except (ValueError, TypeError) as error:
                message = f"{path.name}:{number}: not a row: {error}"
                raise TrainingFailed(message, hint="one JSON object a line") from error
            except KeyError as error:
                message = f"{path.name}:{number}: the row has no field {error}"
                raise TrainingFailed(message, hint="name the column under task.fields") from error
    return rows


def _value(value: object) -> object:
    """A field's value; a number or truth value that is a label becomes its JSON text."""
    if isinstance(value, (str, dict)):
        return value
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, int):
        return json.dumps(value)
    raise TypeError(f"a field holds {type(value).__name__}")


@lru_cache(maxsize=2)  # a loop asks at every step
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """The order of `count` rows in this epoch: row numbers, each once.

    Rows are sorted by 64-bit keys taken from SHAKE-256 of seed and epoch (FIPS 202), so the order
    is the same on every machine and under every Python and torch, and a resumed run finds its place
    without replaying anything. Equal keys keep the rows' own order.
    """
    name = f"recipec row order, seed {seed}, epoch {epoch}".encode("ascii")
    keys = struct.unpack(f"<{count}Q", hashlib.shake_256(name).digest(8 * count))
    return tuple(sorted(range(count), key=keys.__getitem__))


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Runs of `size` items, the last one shorter; between two of them a signal may stop the run."""
    for part in split_rows(items, size):
        stop.raise_if_asked()
        yield part


def split_rows(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """As `batches`, for the parts of one step: nothing stops between them."""
    return [items[start : start + size] for start in range(0, len(items), size)]
