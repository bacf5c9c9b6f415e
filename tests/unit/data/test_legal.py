"""data/legal: the committed rows are what the generator makes, and what its README says of them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

LEGAL = Path(__file__).resolve().parents[3] / "data" / "legal"
SIZES = {"train": 3000, "validation": 300, "test": 300}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("legal_generate", LEGAL / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(split: str) -> list[dict[str, str]]:
    text = (LEGAL / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def clauses(split: str) -> set[str]:
    return {row["clause"] for row in rows(split)}


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_regenerating_gives_the_committed_bytes(tmp_path: Path, hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    script = [sys.executable, str(LEGAL / "generate.py"), "--out", str(tmp_path)]
    subprocess.run(script, check=True, env=environment, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    for split in SIZES:
        name = f"{split}.jsonl"
        assert (tmp_path / name).read_bytes() == (LEGAL / name).read_bytes(), name


@pytest.mark.parametrize("split", SIZES)
def test_rows_have_the_promised_shape(split: str) -> None:
    made = rows(split)
    assert len(made) == SIZES[split]
    for row in made:
        assert list(row) == ["clause", "summary"]
        assert 30 <= len(row["clause"].split()) <= 110
        assert 10 <= len(row["summary"].split()) <= 30
        assert not re.search(r"[\[\]{}|!]|  ", row["clause"] + row["summary"])
    assert (LEGAL / f"{split}.jsonl").stat().st_size < 3_000_000


def test_no_clause_is_in_two_files_or_twice_in_one() -> None:
    assert all(len(clauses(split)) == size for split, size in SIZES.items())
    for one, other in itertools.combinations(SIZES, 2):
        assert not clauses(one) & clauses(other)


def test_splits_refuses_a_clause_that_two_files_share(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "ROWS", {"train": 3, "validation": 3})
    original = generator.pairs
    monkeypatch.setattr(
        generator, "pairs", lambda _seed, *, held_out: original(5, held_out=held_out)
    )
    with pytest.raises(RuntimeError, match=r"^validation repeats a clause of another file: "):
        generator.splits()


def test_test_only_words_are_absent_from_training_and_most_are_in_test() -> None:
    frames = tomllib.loads((LEGAL / "frames.toml").read_text(encoding="utf-8"))
    marked = [
        word.removeprefix("!")
        for words in frames["words"].values()
        for word in words
        if word.startswith("!")
    ]
    assert len(marked) == 20
    seen_in_training = "\n".join(clauses("train") | clauses("validation"))
    seen_in_test = "\n".join(clauses("test"))
    assert [word for word in marked if re.search(rf"\b{word}\b", seen_in_training)] == []
    missing = [word for word in marked if not re.search(rf"\b{word}\b", seen_in_test)]
    assert len(missing) < len(marked) / 2, missing


def test_test_clauses_use_frames_that_training_never_shows() -> None:
    held_out = re.compile(r"saves .+ harmless in the matter of|puts the .+ at the disposal of")
    assert not any(map(held_out.search, clauses("train") | clauses("validation")))
    assert any(map(held_out.search, clauses("test")))


def test_the_stream_avoids_what_it_is_told_and_shows_no_test_only_part(
    generator: ModuleType,
) -> None:
    taken = [row["clause"] for row in itertools.islice(generator.pairs(3, held_out=False), 40)]
    first = list(itertools.islice(generator.stream(3, avoid=frozenset(taken[:20])), 60))
    assert not set(taken[:20]) & set(first)
    assert set(taken[20:]) < set(first)
    assert not re.search(r"Manufacturer|Tampere|Finland|In derogation from", "\n".join(first))


def test_no_sentence_of_a_note_is_a_sentence_of_a_summary(generator: ModuleType) -> None:
    dice = generator.Dice(4, held_out=False)
    sentence = re.compile(r"(?<=[.?]) ")
    noted = {part for _ in range(3000) for part in sentence.split(generator.note(dice))}
    summed = {
        part for split in SIZES for row in rows(split) for part in sentence.split(row["summary"])
    }
    assert len(noted) > 5000
    assert not noted & summed


def test_the_stream_mixes_notes_with_clauses_and_never_shows_a_summary(
    generator: ModuleType,
) -> None:
    shown = set(itertools.islice(generator.stream(generator.SEED, avoid=frozenset()), 3200))
    assert len(shown & clauses("train")) > 1500  # train.jsonl's own seed
    assert not shown & {row["summary"] for row in rows("train")}


def test_restatements_are_no_summaries_and_avoid_what_they_are_told(
    generator: ModuleType,
) -> None:
    first = list(itertools.islice(generator.restatements(6, avoid=frozenset()), 40))
    avoid = frozenset(clause for clause, _ in first[:20])
    assert list(itertools.islice(generator.restatements(6, avoid=avoid), 20)) == first[20:]
    many = {other for _, other in itertools.islice(generator.restatements(7, avoid=avoid), 3000)}
    assert not many & {row["summary"] for split in SIZES for row in rows(split)}


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (19, "nineteen"), (45, "forty-five"), (120, "one hundred and twenty")],
)
def test_spell(generator: ModuleType, number: int, words: str) -> None:
    assert generator.spell(number) == words
