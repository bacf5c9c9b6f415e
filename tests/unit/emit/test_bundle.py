"""The bundle: emitted files in one order, with one digest."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.emit.bundle import Bundle

FILES = {"train.py": b"a", "README.md": b"b", "run.json": b"c"}


def test_files_are_sorted_and_found() -> None:
    bundle = Bundle.of(FILES)
    assert [path for path, _ in bundle] == ["README.md", "run.json", "train.py"]
    assert bundle["train.py"] == b"a"
    with pytest.raises(KeyError):
        bundle["other"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.files = ()  # type: ignore[misc]


def test_the_digest_of_nothing_is_that_of_an_empty_object() -> None:
    assert Bundle.of({}).digest == (
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )


_files = st.dictionaries(st.text(min_size=1, max_size=5), st.binary(max_size=5), max_size=4)


@given(_files, _files)
def test_equal_digests_mean_equal_files(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (Bundle.of(one).digest == Bundle.of(other).digest) == (one == other)
    assert Bundle.of(dict(reversed(one.items()))).digest == Bundle.of(one).digest
