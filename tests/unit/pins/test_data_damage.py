"""Files that were cut or scribbled on: read, or refused with a diagnostic; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipec.errors import RecipeError
from recipec.pins.data import read_splits
from recipec.pins.data.wanted import Wanted
from recipec.recipe.splits import Split
from recipec.store import Store
from tests.unit.pins.test_data_formats import WRITERS

WANTED = Wanted(
    columns=(
        ("text", "text"),
        ("label", "label"),
        ("words", "words"),
        ("messages", "messages"),
        ("answers", "answers"),
        ("context", "text2"),
    ),
    max_lost=1.0,
)
ROWS = [
    {
        "text": f"{n} é",
        "label": "ab"[n % 2],
        "words": ["a", "\u2028"],
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "answers": {"text": ["x"], "answer_start": [1]},
        "text2": "yx",
    }
    for n in range(4)
]
FILES = {name: write(ROWS) for name, write in WRITERS.items()}
PIECES = st.sampled_from(
    [
        *(bytes([c]) for c in b'\0"\n\r,[]{}\xff\\1-'),
        b"",
        b"\\ud800",
        b"null",
        b"NaN",
        b"1e999",
        b'"text":',
        b"\xef\xbb\xbf",
        b"9" * 30,
        b"[" * 200,
    ]
)


@pytest.mark.parametrize("name", WRITERS)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), PIECES), max_size=3))
def test_a_damaged_file(
    tmp_path: Path, store: Store, name: str, changes: list[tuple[float, int, bytes]]
) -> None:
    data = FILES[name]
    for place, gone, piece in changes:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + gone :]
    (tmp_path / name).write_bytes(data)
    splits = [Split(name="train", paths=(name,))]
    try:
        facts = read_splits(splits, WANTED, project=tmp_path, store=store)
    except RecipeError as error:
        said = error.render()
    else:
        (file,) = facts.files
        said = f"{file.rows} rows"
        assert len(facts.sources[file.sha256].read_bytes().splitlines()) >= file.rows > 0
    assert said


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("part", [0.15, 0.55, 0.95])
def test_a_file_that_is_cut_is_never_taken_for_whole(
    tmp_path: Path, store: Store, name: str, part: float
) -> None:
    data = FILES[name]
    cut = data[: int(len(data) * part)]
    (tmp_path / name).write_bytes(cut[:-1] if cut.endswith((b"\n", b"\r")) else cut)
    splits = [Split(name="train", paths=(name,))]
    with pytest.raises(RecipeError):
        read_splits(splits, WANTED, project=tmp_path, store=store)
