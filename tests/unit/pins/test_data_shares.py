"""Splits that are a share of the training rows, and how much memory reading takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipec.errors import RecipeError
from recipec.pins.data import DataFacts, read_corpus, read_data, read_splits
from recipec.pins.data.shares import assign, counts_of
from recipec.pins.data.wanted import Wanted
from recipec.recipe.schema import Architecture, Corpus, Data, Domain, Recipe, Task, Training
from recipec.recipe.splits import Split
from recipec.store import Store

TEXT = Wanted(columns=(("text", "text"),), seed=7)
LABEL = Wanted(columns=(("text", "text"), ("label", "label")), seed=7)
SHARES = (
    Split(name="train", paths=("train.jsonl",)),
    Split(name="validation", share=0.1),
    Split(name="test", share=0.05),
)


def texts(facts: DataFacts) -> dict[str, list[str]]:
    """The texts of each split."""
    return {
        file.split: [
            json.loads(line)["text"]
            for line in facts.sources[file.sha256].read_text(encoding="utf-8").splitlines()
        ]
        for file in facts.files
    }


def put(project: Path, count: int) -> None:
    lines = [json.dumps({"text": f"row {n}", "label": "ab"[n % 2]}) for n in range(count)]
    (project / "train.jsonl").write_text("\n".join(lines) + "\n")


def test_who_is_drawn_never_changes() -> None:
    """Committed draws: others would change the bytes of every recipe with a share."""
    assert list(assign(12, (2, 1), 7)) == [0, 0, 0, 0, 0, 0, 1, 2, 1, 0, 0, 0]
    assert list(assign(12, (2, 1), 8)) == [0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 1, 0]


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(2, 10_000),
    shares=st.lists(st.floats(0.0001, 0.4), min_size=1, max_size=2),
    seed=st.integers(0, 2**32 - 1),
)
def test_shares_divide_the_rows(rows: int, shares: list[float], seed: int) -> None:
    counts = counts_of(rows, shares)
    assert all(
        count >= 1 and abs(count - share * rows) <= max(1 - share * rows, 0.5)
        for count, share in zip(counts, shares, strict=True)
    )
    owners = list(assign(rows, counts, seed))
    assert len(owners) == rows
    for number, count in enumerate(counts, start=1):
        left = rows - sum(counts[: number - 1])
        assert owners.count(number) == min(count, max(0, left))


def test_a_second_share_leaves_the_first_as_it_is() -> None:
    one, two = list(assign(9000, (900,), 3)), list(assign(9000, (900, 450), 3))
    assert [row for row, owner in enumerate(one) if owner == 1] == [
        row for row, owner in enumerate(two) if owner == 1
    ]


def test_splits_are_drawn_and_training_loses_them(tmp_path: Path, store: Store) -> None:
    put(tmp_path, 200)
    facts = read_splits(SHARES, LABEL, project=tmp_path, store=store)
    assert [(f.split, f.rows, f.path) for f in facts.files] == [
        ("train", 170, "train.jsonl"),
        ("validation", 20, "validation.jsonl"),
        ("test", 10, "test.jsonl"),
    ]
    assert {s.path for f in facts.files for s in f.sources} == {"train.jsonl"}
    found = texts(facts)
    for rows in found.values():
        assert rows == sorted(rows, key=lambda text: int(text.split()[1]))
    assert sorted(text for rows in found.values() for text in rows) == sorted(
        f"row {n}" for n in range(200)
    )
    assert sum(facts.label_counts) == 170
    again = read_splits(SHARES, LABEL, project=tmp_path, store=store)
    assert again == facts
    other = Wanted(columns=LABEL.columns, seed=8)
    assert texts(read_splits(SHARES, other, project=tmp_path, store=store)) != found


def test_too_few_rows_to_divide(tmp_path: Path, store: Store) -> None:
    put(tmp_path, 2)
    with pytest.raises(RecipeError) as caught:
        read_splits(SHARES, TEXT, project=tmp_path, store=store)
    assert caught.value.render() == (
        "train.jsonl: error: 2 rows are too few to draw validation and test from\n"
        "  hint: name files for them, or leave them out\n\n1 error"
    )


def test_a_label_that_is_drawn_away(tmp_path: Path, store: Store) -> None:
    put(tmp_path, 200)
    rows = texts(read_splits(SHARES, LABEL, project=tmp_path, store=store))["test"]
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    number = int(rows[0].split()[1])
    lines[number] = json.dumps({"text": "t", "label": "rare"})
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    with pytest.raises(RecipeError) as caught:
        read_splits(SHARES, LABEL, project=tmp_path, store=store)
    assert caught.value.render() == (
        "train.jsonl: error: every row with the label 'rare' was drawn into test\n"
        "  hint: name a file of test rows, or let another training.seed draw them\n\n1 error"
    )


def test_rows_that_are_doubled_before_the_draw(tmp_path: Path, store: Store) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "same"}\n' * 20)
    splits = (SHARES[0], Split(name="validation", share=0.1))
    facts = read_splits(splits, TEXT, project=tmp_path, store=store)
    assert facts.notices == (
        "validation: 2 of its 2 rows stand in train too, so its metrics say less about new texts",
    )


def test_the_recipe_s_seed_draws(tmp_path: Path, store: Store) -> None:
    put(tmp_path, 50)

    def drawn(seed: int) -> list[str]:
        recipe = Recipe(
            name="x",
            task=Task(type="causal-lm"),
            domain=Domain(data=Data(train="train.jsonl", validation="10%")),
            architecture=Architecture(model="path:m"),
            training=Training(seed=seed),
        )
        return texts(read_data(recipe, project=tmp_path, store=store))["validation"]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(drawn(1)) == 5


def test_a_corpus_is_rows_of_text(tmp_path: Path, store: Store) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"body": "three"}\n{"body": ""}\n')
    recipe = Recipe(
        name="x",
        task=Task(type="causal-lm"),
        domain=Domain(
            data=Data(train="none.jsonl"),
            corpus=Corpus(train=["a.txt", "b.jsonl"], validation="a.txt", field="body"),
        ),
        architecture=Architecture(model="path:m"),
    )
    facts = read_corpus(recipe, project=tmp_path, store=store)
    assert [(file.split, file.rows) for file in facts.files] == [("train", 3), ("validation", 2)]
    train = facts.sources[facts.files[0].sha256].read_text()
    assert train == '{"body":"one"}\n{"body":"two"}\n{"body":"three"}\n'


READ = """
import sys
from pathlib import Path
from recipec.pins.data import read_splits
from recipec.pins.data.wanted import Wanted
from recipec.recipe.splits import Split
from recipec.store import Store

def read(name):
    wanted = Wanted(columns=(("text", "text"), ("label", "label")))
    splits = [Split(name="train", paths=(name,)), Split(name="validation", share=0.1)]
    project = Path(sys.argv[1])
    return read_splits(splits, wanted, project=project, store=Store(project / "cache"))

def peak():  # not getrusage's, which a child inherits from its parent
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

read(sys.argv[2])
before = peak()
facts = read(sys.argv[3])
print(peak() - before, sum(file.rows for file in facts.files))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_a_large_file_takes_little_memory(tmp_path: Path, ending: str) -> None:
    """200 MB, read in a process of its own: its peak may grow by less than 100 MB."""
    write_rows(tmp_path / f"few{ending}", megabytes=1)
    rows = write_rows(tmp_path / f"many{ending}", megabytes=200)
    assert (tmp_path / f"many{ending}").stat().st_size > 190_000_000
    command = [sys.executable, "-c", READ, str(tmp_path), f"few{ending}", f"many{ending}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, read = (int(word) for word in done.stdout.split())
    assert read == rows
    assert grown < 100


def write_rows(path: Path, *, megabytes: int) -> int:
    """Rows of about 2 kB until the file (before Parquet's encoding) is that large."""
    count = megabytes * 500
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([("text", pa.string()), ("label", pa.string())])
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as out:
            for start in range(0, count, 1000):
                some = range(start, min(start + 1000, count))
                columns = [[text(n) for n in some], ["ab"[n % 2] for n in some]]
                out.write_table(pa.table(columns, schema=schema))
        return count
    with path.open("w") as stream:
        stream.write("text,label\n" if path.suffix == ".csv" else "[")
        for n in range(count):
            if path.suffix == ".csv":
                stream.write(f'"{text(n)}",{"ab"[n % 2]}\n')
            else:
                row = json.dumps({"text": text(n), "label": "ab"[n % 2]})
                stream.write(row + (",\n" if n < count - 1 else "]"))
    return count


def text(number: int) -> str:
    return f"{number} " + "words, and more of them; " * 80
