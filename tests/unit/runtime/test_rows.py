"""Rows as a script gets them: texts, lists and mappings of the named fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipec_runtime.data import read_rows
from recipec_runtime.errors import TrainingFailed


def test_texts_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"a": "x", "b": 1, "c": null}\n\n{"a": "\\u00fc", "b": true}\n')
    assert read_rows(path, ["a", "b"]) == [{"a": "x", "b": "1"}, {"a": "\u00fc", "b": "true"}]


def test_lists_and_mappings(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(
        '{"words": ["a", "b"], "labels": [], "chat": [{"role": "user", "content": "q"}],'
        ' "answers": {"text": ["x"], "answer_start": [3]}}\n'
    )
    assert read_rows(path, ["words", "labels", "chat", "answers"]) == [
        {
            "words": ["a", "b"],
            "labels": [],
            "chat": [{"role": "user", "content": "q"}],
            "answers": {"text": ["x"], "answer_start": [3]},
        }
    ]


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes('{"a": "one\u2028two\x85three"}\r\n{"a": "\\r"}\n'.encode())
    assert [row["a"] for row in read_rows(path, ["a"])] == ["one\u2028two\x85three", "\r"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": null}', "train.jsonl:1: not a row: a field holds NoneType"),
        ('{"a": 1.5}', "train.jsonl:1: not a row: a field holds float"),
        ('{"a": "x"}\n{"b": "x"}', "train.jsonl:2: the row has no field 'a'"),
    ],
)
def test_what_is_no_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(text)
    with pytest.raises(TrainingFailed) as failed:
        read_rows(path, ["a"])
    assert failed.value.message == message


def test_what_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"a": "x"}\n{"a"\n')
    with pytest.raises(TrainingFailed, match=r"^train\.jsonl:2: not a row: "):
        read_rows(path, ["a"])
