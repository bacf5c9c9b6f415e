"""Some rows of the locked training file, for guesses at how much text there is.

In: the file, the task's columns. Out: sizes of text, the same for the same bytes. A small file is
read whole; of a large one, pieces that lie evenly apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from recipec.plan.lengths import RowText, row_text
from recipec.plan.plan import TaskSettings

WHOLE = 1 << 19
"""Bytes of a file that is read whole."""
PIECES = 16
PIECE = 1 << 15
"""Bytes of a piece; rows longer than that are missed, unless all are: then the first is read."""


def sample_rows(file: Path, task: TaskSettings) -> tuple[RowText, ...]:
    """The text of sampled rows, in the file's order."""
    return tuple(row_text(json.loads(line), task) for line in _lines(file))


def _lines(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= WHOLE:
            yield from (line for line in stream if line.strip())
            return
        found = 0
        for number in range(PIECES):
            stream.seek(number * (size - PIECE) // (PIECES - 1))
            # what stands before the first line break and behind the last may be a part of a row
            for line in stream.read(PIECE).split(b"\n")[1:-1]:
                if line.strip():
                    found += 1
                    yield line
        if not found:
            stream.seek(0)
            yield next(line for line in stream if line.strip())
