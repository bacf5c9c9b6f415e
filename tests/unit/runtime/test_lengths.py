"""Rows that are too long or empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from recipec_runtime.errors import TrainingFailed
from recipec_runtime.lengths import fitting

ROWS = [{"text": "one"}, {"text": "one two"}, {"text": "one two three"}, {"text": " "}]


def words(tokenizer: Any, rows: Sequence[dict[str, Any]]) -> list[list[tuple[int, int]]]:
    """A token a word, and at most two."""
    assert tokenizer is None
    return [[(len(row["text"].split()), 2)] for row in rows]


def test_long_rows_are_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows, lost = fitting(None, ROWS, words, max_lost=0.25)
    assert rows == ROWS
    assert lost == {"empty": 1, "cut": 1}
    assert capsys.readouterr().err == "of 4 training rows: 1 empty, 1 cut\n"


def test_long_rows_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    rows, lost = fitting(None, ROWS, words, max_lost=0.5, drop=True)
    assert rows == [ROWS[0], ROWS[1], ROWS[3]]
    assert lost == {"empty": 1, "dropped": 1}
    assert capsys.readouterr().err == "of 4 training rows: 1 empty, 1 dropped\n"


def test_nothing_is_said_when_all_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert fitting(None, ROWS[:2], words, max_lost=0.0) == (ROWS[:2], {})
    assert capsys.readouterr().err == ""


def test_too_many_are_lost() -> None:
    with pytest.raises(TrainingFailed) as caught:
        fitting(None, ROWS, words, max_lost=0.4, drop=True)
    assert caught.value.render() == (
        "error: 2 of 4 training rows are empty or too long, and training.max_lost is 0.4\n"
        "  hint: look at the data, raise the lengths under training, or raise training.max_lost"
    )
    with pytest.raises(TrainingFailed, match=r"^1 of 4 training rows are empty, and"):
        fitting(None, ROWS, words, max_lost=0.1)


def test_a_run_without_rows_is_no_run() -> None:
    with pytest.raises(TrainingFailed, match=r"^1 of 1 training rows are empty"):
        fitting(None, ROWS[3:], words, max_lost=1.0)


def test_many_rows_are_counted_in_parts() -> None:
    rows = [{"text": "one two three" if n % 5 == 0 else "one"} for n in range(2500)]
    kept, lost = fitting(None, rows, words, max_lost=0.2, drop=True)
    assert (len(kept), lost) == (2000, {"dropped": 500})
