"""Comparing safetensors files without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.cli.tensors import differing_tensors


def file_of(path: Path, tensors: dict[str, bytes], **more: object) -> Path:
    header: dict[str, object] = dict(more)
    start = 0
    for name, data in tensors.items():
        end = start + len(data)
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(tensors.values()))
    return path


def compared(tmp_path: Path, one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return differing_tensors(file_of(tmp_path / "a", one), file_of(tmp_path / "b", other))


def test_equal_files_do_not_differ(tmp_path: Path) -> None:
    assert compared(tmp_path, {"w": b"abc", "b": b""}, {"w": b"abc", "b": b""}) == []
    # Another order and other metadata are the same tensors
    one = file_of(tmp_path / "a", {"w": b"abc", "b": b"x"}, __metadata__={"format": "pt"})
    other = file_of(tmp_path / "b", {"b": b"x", "w": b"abc"})
    assert differing_tensors(one, other) == []


def test_what_differs_is_named_in_the_order_of_the_first_file(tmp_path: Path) -> None:
    one = {"z": b"1", "same": b"s", "a": b"2", "gone": b"3"}
    other = {"new": b"4", "a": b"x", "same": b"s", "z": b"y"}
    assert compared(tmp_path, one, other) == ["z", "a", "gone", "new"]


def test_shape_and_dtype_count(tmp_path: Path) -> None:
    assert compared(tmp_path, {"w": b"ab"}, {"w": b"abc"}) == ["w"]
    a, b = file_of(tmp_path / "a", {"w": b"ab"}), file_of(tmp_path / "b", {"w": b"ab"})
    b.write_bytes(b.read_bytes().replace(b'"U8"', b'"I8"'))
    assert differing_tensors(a, b) == ["w"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 8,
        struct.pack("<Q", 10) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 8) + b'{"w": 1}',
        struct.pack("<Q", 9) + b'{"w": {}}',
        struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
        b"PK\x03\x04 not safetensors at all",
    ],
)
def test_what_is_no_safetensors_file_is_a_value_error(tmp_path: Path, data: bytes) -> None:
    good = file_of(tmp_path / "good", {"w": b"a"})
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError):
            differing_tensors(*pair)


_tensors = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.binary(max_size=4))


@given(_tensors, _tensors)
def test_the_names_are_exactly_those_that_differ(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    found = compared(tmp_path_factory.getbasetemp(), one, other)
    assert sorted(found) == sorted(n for n in {*one, *other} if one.get(n) != other.get(n))
