"""Data files: every row checked, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipec.errors import RecipeError
from recipec.pins.data import DataFacts, read_data
from recipec.recipe.schema import Architecture, Data, Domain, Fields, Recipe, Task
from recipec.store import Store, sha256

GOOD = b'{"clause": "a", "summary": "b"}\n'


def summarization(*, train: str = "train.jsonl", test: str | None = None) -> Recipe:
    return Recipe(
        name="x",
        task=Task(type="summarization", fields=Fields(source="clause", target="summary")),
        domain=Domain(data=Data(train=train, test=test)),
        architecture=Architecture(model="path:m"),
    )


def classification() -> Recipe:
    return Recipe(
        name="x",
        task=Task(type="sequence-classification"),
        domain=Domain(data=Data(train="train.jsonl", validation="val.jsonl")),
        architecture=Architecture(model="path:m"),
    )


def read(recipe: Recipe, project: Path, store: Store) -> DataFacts:
    return read_data(recipe, project=project, store=store)


def fault(project: Path, store: Store, data: bytes) -> str:
    (project / "train.jsonl").write_bytes(data)
    with pytest.raises(RecipeError) as caught:
        read(summarization(), project, store)
    assert caught.value.exit_code == 1
    return caught.value.render()


def test_rows_are_counted_and_hashed(tmp_path: Path, store: Store) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD * 3)
    (tmp_path / "test.jsonl").write_bytes(GOOD.strip())
    facts = read(summarization(test="test.jsonl"), tmp_path, store)
    train, test = facts.files
    assert (train.split, train.path, train.rows, train.size) == ("train", "train.jsonl", 3, 96)
    assert train.sha256 == sha256(GOOD * 3)
    assert (test.split, test.rows) == ("test", 1)
    assert facts.labels == ()


def test_what_was_checked_is_remembered(tmp_path: Path, store: Store) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD * 3)
    first = read(summarization(), tmp_path, store)
    assert len(list((store.root / "records" / "data").iterdir())) == 1
    (tmp_path / "copy.jsonl").write_bytes(GOOD * 3)
    again = read(summarization(train="copy.jsonl"), tmp_path, store)
    assert again.files[0].rows == first.files[0].rows
    assert len(list((store.root / "records" / "data").iterdir())) == 1


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        (b'{"clause": "a"}', 1, "the row has no `summary`"),
        (b'{"clause": 7, "summary": "b"}', 1, "`clause` must be a string, not a number"),
        (b'{"clause": null, "summary": "b"}', 1, "`clause` must be a string, not null"),
        (b'["a", "b"]', 1, "a row must be a JSON object, not an array"),
        (b'{"clause": "a" "summary": "b"}', 16, "not JSON: expected ',' or '}'"),
        (b'{"clause": "a", "summary": "b"', 31, "not JSON: the line ends too early"),
        (b'{"clause": "\xc3\xa9\xff"}', 14, "byte 0xff is not UTF-8"),
        (b'{"clause": ' + b"[" * 200_000, 1, "the object is nested too deeply"),
        (b"", 1, "the line is blank"),
    ],
)
def test_places(tmp_path: Path, store: Store, line: bytes, column: int, message: str) -> None:
    text = fault(tmp_path, store, GOOD + line + b"\n" + GOOD)
    assert text.startswith(f"train.jsonl:2:{column}: error: {message}\n")
    assert text.endswith("\n\n1 error")


def test_whole_text_of_a_diagnostic(tmp_path: Path, store: Store) -> None:
    assert fault(tmp_path, store, b'{"clause": "a", "sumary": "b"}\n') == (
        "train.jsonl:1:1: error: the row has no `summary`\n"
        '    1 | {"clause": "a", "sumary": "b"}\n'
        "      | ^\n"
        "  hint: it has `clause`, `sumary`; see `task.fields` in the recipe\n"
        "\n1 error"
    )


def test_a_byte_order_mark(tmp_path: Path, store: Store) -> None:
    text = fault(tmp_path, store, b"\xef\xbb\xbf" + GOOD)
    assert text.startswith("train.jsonl:1:1: error: the file starts with a byte order mark")


def test_many_faults_are_counted(tmp_path: Path, store: Store) -> None:
    text = fault(tmp_path, store, b"[]\n" * 25)
    assert text.count("a row must be a JSON object") == 20
    assert "train.jsonl: error: 5 more rows are wrong" in text


def test_empty_and_missing(tmp_path: Path, store: Store) -> None:
    assert fault(tmp_path, store, b"").startswith("train.jsonl: error: the file is empty\n")
    with pytest.raises(RecipeError) as caught:
        read(summarization(train="none.jsonl", test="none2.jsonl"), tmp_path, store)
    assert [d.render().splitlines()[0] for d in caught.value.diagnostics] == [
        "none.jsonl: error: no such file",
        "none2.jsonl: error: no such file",
    ]
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        read(summarization(train="folder.jsonl"), tmp_path, store)


def test_labels(tmp_path: Path, store: Store) -> None:
    (tmp_path / "train.jsonl").write_bytes(
        b'{"text": "1", "label": "no"}\n{"text": "2", "label": "yes"}\n'
    )
    (tmp_path / "val.jsonl").write_bytes(b'{"text": "1", "label": "yes"}\n')
    assert read(classification(), tmp_path, store).labels == ("no", "yes")
    (tmp_path / "val.jsonl").write_bytes(
        b'{"text": "1", "label": "yes"}\n{"text": "1", "label": "maybe"}\n' * 2
    )
    for _ in range(2):  # the second time from what is remembered
        with pytest.raises(RecipeError) as caught:
            read(classification(), tmp_path, store)
        assert caught.value.render() == (
            "val.jsonl:2:1: error: label 'maybe' does not occur in train.jsonl\n"
            "  hint: a model learns only the labels it is trained on\n\n1 error"
        )
    (tmp_path / "train.jsonl").write_bytes(b'{"text": "1", "label": "no"}\n')
    with pytest.raises(RecipeError, match="every row has the same label"):
        read(classification(), tmp_path, store)
