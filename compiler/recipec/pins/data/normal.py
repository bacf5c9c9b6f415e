"""Normal form: a split's rows as the image has them, written while they are read.

In: the sources of a split. Out: a blob in the store, one row a line, with nothing but the columns
that are read; or the word that the file is in this form already. The bytes depend on the rows and
on `NORMAL_FORM` alone: JSON without spaces, UTF-8, the columns in the recipe's order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from recipec.errors import RecipeError
from recipec.pins.data.check import Row, RowCheck, labels_of
from recipec.pins.data.faults import Faults, Place
from recipec.pins.data.jsonrows import Rows, read_array, read_jsonl
from recipec.pins.data.labels import Tally
from recipec.pins.data.parquet import read_parquet
from recipec.pins.data.shares import assign
from recipec.pins.data.source import Source
from recipec.pins.data.tables import read_table, read_text
from recipec.pins.data.wanted import Wanted
from recipec.store import Store, disk_error

NORMAL_FORM = 1
"""Raised when the same rows would be written as other bytes."""
MOST_COMPARED = 1 << 18
"""Rows of a split that are looked for among the training rows."""

_READERS: dict[str, Callable[[Source, Wanted], Rows]] = {
    "jsonl": read_jsonl,
    "json": read_array,
    "csv": read_table,
    "tsv": read_table,
    "parquet": read_parquet,
    "text": read_text,
}
_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode


@dataclass(frozen=True, kw_only=True)
class Written:
    """A split's normal file. Without a digest, the source has the same rows in a readable form."""

    rows: int
    tally: Tally
    digest: str = ""
    size: int = 0


class Overlap:
    """Rows of validation or test that stand in train as well, by 64 bits of their BLAKE2b."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, int]] = {}
        self.found: dict[str, int] = {}

    def hold(self, split: str, line: bytes) -> None:
        """A row that was measured on."""
        rows = self._rows.setdefault(split, {})
        key = _short(line)
        if key in rows or len(rows) < MOST_COMPARED:
            rows[key] = rows.get(key, 0) + 1

    def look_for(self, line: bytes) -> None:
        """A row that was trained on."""
        if not self._rows:
            return
        key = _short(line)
        for split, rows in self._rows.items():
            if key in rows:
                self.found[split] = self.found.get(split, 0) + rows.pop(key)

    def see(self, split: str, line: bytes) -> None:
        """A row of any split; the training rows come last."""
        if split == "train":
            self.look_for(line)
        else:
            self.hold(split, line)


def _short(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=8).digest()


def write_split(
    split: str,
    sources: Sequence[Source],
    wanted: Wanted,
    check: RowCheck,
    overlap: Overlap | None,
    faults: Faults,
    store: Store,
) -> Written:
    """Check a split that has files of its own, and write it unless its one file will do."""
    first, *others = sources
    readable = not others and first.format.kind == "jsonl" and not first.format.compression
    if readable:
        for line in _lines(sources, wanted, check, faults):
            if overlap is not None:
                overlap.see(split, line)
        if faults or not (check.changed or check.empty):
            return Written(rows=check.rows, tally=check.tally)
        check, overlap = RowCheck(wanted, faults), None  # once more, and now to write it
    with store.writer() as blob:
        for line in _lines(sources, wanted, check, faults):
            if overlap is not None:
                overlap.see(split, line)
            blob.write(line)
        if faults:
            return Written(rows=check.rows, tally=check.tally)
        digest = blob.commit()
    return Written(rows=check.rows, tally=check.tally, digest=digest, size=blob.size)


def write_whole(
    target: Path, sources: Sequence[Source], wanted: Wanted, check: RowCheck, faults: Faults
) -> None:
    """Check the training files and write all their rows to one file, to be divided."""
    try:
        with target.open("wb") as stream:
            for line in _lines(sources, wanted, check, faults):
                stream.write(line)
    except OSError as error:
        raise disk_error(error, target.parent) from error


def divide(
    whole: Path,
    names: Sequence[str],
    counts: Sequence[int],
    rows: int,
    wanted: Wanted,
    overlap: Overlap,
    store: Store,
) -> dict[str, Written]:
    """The rows of a normal file in the split that each belongs to: `names` are shares of it."""
    column = dict(wanted.columns)
    written = {}
    for number, split in enumerate([*names, "train"], start=1):
        mine = number if split != "train" else 0
        tally, kept = Tally(wanted.label_column or ""), 0
        with whole.open("rb") as stream, store.writer() as blob:
            for line, owner in zip(stream, assign(rows, counts, wanted.seed), strict=True):
                if owner != mine:
                    continue
                kept += 1
                blob.write(line)
                overlap.see(split, line)
                if wanted.label_column is not None:
                    row: Row = json.loads(line)
                    tally.add(labels_of(row, column))
            digest = blob.commit()
        written[split] = Written(rows=kept, tally=tally, digest=digest, size=blob.size)
    return written


def _lines(
    sources: Sequence[Source], wanted: Wanted, check: RowCheck, faults: Faults
) -> Iterator[bytes]:
    """The normal lines of all sources, one after the other."""
    for source in sources:
        seen = False
        by_line = source.format.kind != "parquet"
        try:
            with closing(_READERS[source.format.kind](source, wanted)) as rows:
                for number, found, raw in rows:
                    seen = True
                    place = Place(path=source.path, number=number, by_line=by_line)
                    row = check(place, found, raw)
                    if row is not None:
                        yield _encode(row).encode("utf-8") + b"\n"
        except RecipeError as error:
            faults.extend(error)
            continue
        if not seen:
            faults.whole(source.path, "the file is empty", "it needs at least one row")
    check.report()
