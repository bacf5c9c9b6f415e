"""sample: some rows of a file, the same for the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

from recipec.cli.sample import PIECE, PIECES, WHOLE, sample_rows
from recipec.plan.lengths import RowText
from tests.unit.plan.test_make_plan import plan, recipe

TASK = plan(
    recipe("causal-lm"), family="decoder-only", config={"model_type": "llama"}
).settings.task


def write(file: Path, count: int, size: int) -> Path:
    rows = (json.dumps({"text": "é" * (size + number % 7)}) for number in range(count))
    file.write_text("\n".join(rows) + "\n")
    return file


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    found = sample_rows(write(tmp_path / "a.jsonl", 20, 10), TASK)
    assert found == tuple(RowText(source=2 * (10 + number % 7)) for number in range(20))


def test_the_last_line_may_have_no_end_and_empty_lines_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "ab"}\n\n{"text": "abc"}')
    assert [row.source for row in sample_rows(tmp_path / "a.jsonl", TASK)] == [2, 3]


def test_of_a_large_file_pieces_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", 4000, 100)
    assert file.stat().st_size > 2 * WHOLE
    found = sample_rows(file, TASK)
    assert {row.source for row in found} == {2 * (100 + number) for number in range(7)}
    line = file.stat().st_size / 4000
    assert len(found) <= PIECES * PIECE / line
    assert len(found) >= PIECES * (PIECE / line - 3)


def test_where_all_rows_are_longer_than_a_piece_the_first_is_read(tmp_path: Path) -> None:
    found = sample_rows(write(tmp_path / "a.jsonl", 40, PIECE), TASK)
    assert found == (RowText(source=2 * PIECE),)
