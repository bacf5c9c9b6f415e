"""Our deflate encoder against two independent decoders."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib

from recipec.image.deflate import distance_code, encode, stored
from recipec.store import sha256

lumpy = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.integers(1, 700).map(bytes),
        st.integers(1, 700).map(lambda n: b"0" * n),
        st.sampled_from([b"train.py", b"recipec", b"\n    ", b"\x90\xff\x8f"]),
    ),
    max_size=40,
).map(b"".join)


@given(lumpy, st.booleans())
def test_what_is_encoded_comes_back_from_zlib_and_isal(data: bytes, match: bool) -> None:
    packed = encode(data, final=True, match=match)
    assert zlib.decompress(packed, -15) == data
    assert isal_zlib.decompress(packed, -15) == data


@given(lumpy, st.lists(st.integers(0, 2000), max_size=30), st.booleans(), st.booleans())
def test_how_data_was_cut_never_shows(
    data: bytes, cuts: list[int], final: bool, match: bool
) -> None:
    """Runs of NUL and 0 go over the cuts; pieces come in all sizes, none and long ones too."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    whole = encode(data, final=final, match=match)
    assert encode(pieces, final=final, match=match) == whole


@given(lumpy, lumpy, st.booleans())
def test_an_open_end_takes_any_other_stream(first: bytes, second: bytes, match: bool) -> None:
    other = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = encode(first, final=False, match=match) + other.compress(second) + other.flush()
    for module in (zlib, isal_zlib):
        inflate = module.decompressobj(-15)
        assert inflate.decompress(packed) == first + second
        assert inflate.eof
        assert inflate.unused_data == b""


@given(st.binary(max_size=200_000), st.booleans())
def test_stored_blocks_hold_any_size(data: bytes, final: bool) -> None:
    packed = stored(data, final=final)
    inflate = zlib.decompressobj(-15)
    assert inflate.decompress(packed) == data
    assert inflate.eof == final


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 131070, 131071])
def test_stored_blocks_at_their_limits(size: int) -> None:
    data = b"x" * size
    assert zlib.decompress(stored(data, final=True), -15) == data


@pytest.mark.parametrize("distance", [1, 2, 4, 5, 257, 8192, 24577, 32768])
def test_every_distance_is_found_again(distance: int) -> None:
    data = b"needle" + bytes(i * 7 % 251 for i in range(distance - 6)) + b"needle"
    for whole in (data, data * 2):
        assert zlib.decompress(encode(whole, final=True, match=True), -15) == whole


def test_distance_codes_are_those_of_the_specification() -> None:
    # RFC 1951, 3.2.5: code 4 with one extra bit is 5-6, code 29 with thirteen is 24577-32768.
    assert distance_code(5) == (0b00100, 6)
    assert distance_code(6) == (0b00100 | 1 << 5, 6)
    assert distance_code(32768) == (0b10111 | 0x1FFF << 5, 18)


def test_the_bytes_never_change() -> None:
    text = b"".join(b"%d bottles, %05d walls\n" % (n, n * n) for n in range(200))
    runs, matches = encode(text, final=True), encode(text, final=True, match=True)
    assert (len(text), len(runs), len(matches)) == (4890, 4883, 1563)
    assert (
        sha256(runs + matches)
        == "sha256:5a975f1265e42e2e25c7d8130ea4733b9604b1db5d740b976e6571325b478365"
    )


def test_script_sized_text_becomes_much_smaller() -> None:
    line = b"    step_%d = compute(step_%d, learning_rate)\n"
    text = b"".join(line % (n, n - 1) for n in range(500))
    assert len(encode(text, final=True, match=True)) < len(text) / 4
