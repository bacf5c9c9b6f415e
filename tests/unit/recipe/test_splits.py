"""Splits, the formats of their files, and the rules of `domain.data` and `domain.corpus`."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.recipe.formats import Format, format_of
from recipec.recipe.rules.data import OF_TASK, RULES
from recipec.recipe.schema import Architecture, Corpus, Data, Domain, Recipe, Task
from recipec.recipe.splits import Split, splits_of


def recipe(data: Data, *, corpus: Corpus | None = None, task: Any = "causal-lm") -> Recipe:
    return Recipe(
        name="x",
        task=Task(type=task),
        domain=Domain(data=data, corpus=corpus),
        architecture=Architecture(model="path:m"),
    )


def broken(data: Data, **more: Any) -> list[tuple[object, str]]:
    rules = (*OF_TASK, *RULES)
    return [(b.path[1:], b.message) for rule in rules for b in rule(recipe(data, **more))]


def test_files_and_shares() -> None:
    assert splits_of(Data(train=["a.csv", "b.csv"], validation="10%", test="2.5%")) == (
        Split(name="train", paths=("a.csv", "b.csv")),
        Split(name="validation", share=0.1),
        Split(name="test", share=0.025),
    )
    assert splits_of(Corpus(train="a.txt", validation="b.txt")) == (
        Split(name="train", paths=("a.txt",)),
        Split(name="validation", paths=("b.txt",)),
    )


@pytest.mark.parametrize(
    ("path", "given", "found"),
    [
        ("a.jsonl", None, Format(kind="jsonl")),
        ("a.ndjson", None, Format(kind="jsonl")),
        ("a.b/c.JSON", None, Format(kind="json")),
        ("a.csv.gz", None, Format(kind="csv", compression="gzip")),
        ("a.TSV.zst", None, Format(kind="tsv", compression="zstd")),
        ("a.parquet", None, Format(kind="parquet")),
        ("a.txt", "csv", Format(kind="csv")),
        ("a", "text", Format(kind="text")),
        ("a.gz", "jsonl", Format(kind="jsonl", compression="gzip")),
        ("a.gz", None, None),
        ("a", None, None),
        ("jsonl", None, None),
    ],
)
def test_formats(path: str, given: str | None, found: Format | None) -> None:
    assert format_of(path, given) == found


def test_good_sections_break_no_rule() -> None:
    assert broken(Data(train=["a.csv", "b.csv"], validation="10%", test="10%")) == []
    assert broken(Data(train="a.txt"), corpus=Corpus(train="a.txt", validation="5%")) == []


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        (
            Data(train="10%"),
            "train",
            "`train` is '10%': only validation and test can be shares, and of `train`",
        ),
        (Data(train="a.csv", test=["b.csv", "5%"]), "test", "'5%' stands among files"),
        (Data(train="a.csv", test="0%"), "test", "a share of 0% is no rows"),
        (
            Data(train="a.csv", validation="60%", test="40%"),
            "test",
            "shares of 100% leave no row to train on",
        ),
        (Data(train=["a.csv", "./a.csv"]), "train", "`train` names 'a.csv' twice"),
        (
            Data(train="a.csv", validation=["b.csv", "a.csv"]),
            "validation",
            "`validation` is the same file as `train`",
        ),
        (Data(train="a.parquet.gz"), "train", "'a.parquet.gz' is a compressed Parquet file"),
        (Data(train=["a.csv", "/b.csv"]), "train", "'/b.csv' leaves the project"),
    ],
)
def test_broken_rules(data: Data, split: str, message: str) -> None:
    assert broken(data) == [(("data", split), message)]


def test_the_corpus_has_the_same_rules() -> None:
    corpus = Corpus(train="../a.txt", validation="120%")
    assert broken(Data(train="a.csv"), corpus=corpus) == [
        (("corpus", "train"), "'../a.txt' leaves the project"),
        (("corpus", "validation"), "shares of 120% leave no row to train on"),
    ]


def test_plain_text_has_one_part() -> None:
    assert broken(Data(train="a.txt"), task="summarization") == [
        (("data", "train"), "'a.txt' is plain text, which has one text a row")
    ]
