"""Data files of every kind as commands meet them: looked for, checked, named to DVC."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from recipec.cli.frontend import Loaded, input_paths, load
from recipec.cli.passes import stage_paths
from recipec.cli.project import find_project
from recipec.pins.data import read_data
from recipec.pins.lockfile import Lock, Model
from tests.unit.conftest import RECIPE, Workplace

DATA = "data: {train: data/train.jsonl, test: data/test.jsonl}"
TABLE = b"clause,summary\n" + b"".join(b"The %d. party pays.,Pay.\n" % n for n in range(20))


def with_data(workplace: Workplace, text: str) -> None:
    workplace.recipe.write_text(RECIPE.replace(DATA, text))


def loaded(workplace: Workplace) -> tuple[Loaded, Lock]:
    made = load(find_project(workplace.recipe), workplace.store)
    facts = read_data(made.recipe, project=workplace.root, store=workplace.store)
    lock = Lock(
        recipe="legal-t5",
        recipe_digest=made.digest,
        uv="0.9.0",
        layer_format=1,
        wheels=(),
        debs=(),
        model=Model(source="path:models/tiny", files=()),
        data=facts.files,
    )
    return made, lock


@pytest.mark.parametrize(
    ("data", "trained_on", "measured_on"),
    [
        (
            "data: {train: data/train.jsonl, test: data/test.jsonl}",
            ("data/train.jsonl",),
            ("data/test.jsonl",),
        ),
        (
            "data: {train: [data/a.csv, data/b.csv.gz], validation: 10%, test: 10%}",
            ("data/a.csv", "data/b.csv.gz"),
            ("data/a.csv", "data/b.csv.gz"),
        ),
        (
            "data: {train: data/a.csv, validation: [data/b.csv.gz, data/train.jsonl]}",
            ("data/a.csv", "data/b.csv.gz", "data/train.jsonl"),
            ("data/b.csv.gz", "data/train.jsonl"),
        ),
        ("data: {train: data/a.csv}", ("data/a.csv",), ("data/a.csv",)),
    ],
)
def test_stages_depend_on_the_files_that_rows_come_from(
    workplace: Workplace, data: str, trained_on: tuple[str, ...], measured_on: tuple[str, ...]
) -> None:
    (workplace.root / "data/a.csv").write_bytes(TABLE)
    (workplace.root / "data/b.csv.gz").write_bytes(gzip.compress(TABLE))
    with_data(workplace, data)
    made, lock = loaded(workplace)
    paths = stage_paths(made, lock)
    assert paths.train_inputs == (*trained_on, "models/tiny")
    assert paths.evaluate_inputs == (*measured_on, "models/tiny")
    named = {Path(path) for path in input_paths(made)}
    assert {workplace.root / path for path in (*trained_on, *measured_on)} < named


def test_a_table_is_checked(workplace: Workplace) -> None:
    (workplace.root / "data/a.csv").write_bytes(TABLE)
    with_data(workplace, "data: {train: data/a.csv, test: 10%}")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 0, done.err
    (workplace.root / "data/a.csv").write_bytes(TABLE.replace(b",Pay.\n", b"\n", 1))
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert done.err.startswith(
        "data/a.csv:2:1: error: the row has 1 field and the header 2\n"
        "    2 | The 0. party pays.\n"
        "      | ^\n"
        "  hint: put fields with separators in quotes\n"
    )


def test_a_corpus_is_checked(workplace: Workplace) -> None:
    with_data(workplace, DATA + "\n  corpus: {train: data/corpus.txt}")
    (workplace.root / "data/corpus.txt").write_bytes(b"one\n\xff\n")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert "data/corpus.txt:2:1: error: byte 0xff is not UTF-8" in done.err


def test_patterns_are_not_followed(workplace: Workplace) -> None:
    with_data(workplace, "data: {train: [data/train.jsonl, 'data/*.csv']}")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert "the train file is missing: data/*.csv" in done.err
    assert "hint: a path names one file, and patterns are not followed: list the files" in done.err


def test_the_files_of_a_corpus_are_looked_for(workplace: Workplace) -> None:
    with_data(workplace, DATA + "\n  corpus: {train: data/corpus.txt}")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert "the train file is missing: data/corpus.txt" in done.err
