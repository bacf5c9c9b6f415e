"""Debian versions in the order that Policy 5.6.12 gives them."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipec.pins.debversion import compare, split, version_key

ASCENDING = [
    # The example of Policy 5.6.12: ~~, ~~a, ~, the empty part, a.
    ["1~~", "1~~a", "1~", "1", "1a"],
    # "1.0~beta1~svn1245 sorts earlier than 1.0~beta1, which sorts earlier than 1.0".
    ["1.0~beta1~svn1245", "1.0~beta1", "1.0"],
    # Epochs come first, digits are numbers, letters sort before other characters.
    ["9.9-9", "1:0.1-1", "2:0.0"],
    ["1.9", "1.10", "1.10.1"],
    ["1-1", "1a", "1+", "1.1"],
    # Debian's own: binary rebuilds, stable updates, backports.
    ["2.36-9~bpo11+1", "2.36-9", "2.36-9+b1", "2.36-9+deb12u9", "2.36-9+deb12u10", "2.36-10"],
]


@pytest.mark.parametrize("versions", ASCENDING, ids=lambda versions: versions[0])
def test_order(versions: list[str]) -> None:
    for older, newer in pairwise(versions):
        assert compare(older, newer) < 0, (older, newer)
        assert compare(newer, older) > 0, (newer, older)
    assert max(versions, key=version_key) == versions[-1]


@pytest.mark.parametrize(
    ("left", "right"), [("1.0", "1.0"), ("0:1.0", "1.0"), ("1.0-0", "1.0"), ("1.01", "1.1")]
)
def test_equal(left: str, right: str) -> None:
    assert compare(left, right) == 0


def test_split() -> None:
    assert split("1:2.3-4-5") == (1, "2.3-4", "5")
    assert split("2.3") == (0, "2.3", "")


VERSIONS = st.from_regex(r"([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c.+~]{1,4})?", fullmatch=True)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_is_an_order(a: str, b: str, c: str) -> None:
    assert compare(a, b) == -compare(b, a)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


if shutil.which("dpkg"):

    @given(VERSIONS, VERSIONS)
    @settings(max_examples=60, deadline=None)
    def test_agrees_with_dpkg(a: str, b: str) -> None:
        def holds(relation: str) -> bool:
            command = ["dpkg", "--compare-versions", a, relation, b]
            return subprocess.run(command, check=False).returncode == 0

        expected = -1 if holds("lt") else 1 if holds("gt") else 0
        assert compare(a, b) == expected
