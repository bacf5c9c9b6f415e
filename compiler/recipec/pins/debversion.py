"""Debian version numbers in order, by the rules of Debian Policy 5.6.12.

In: two version texts. Out: which is newer. Pure.
"""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest


def compare(left: str, right: str) -> int:
    """Negative, zero or positive as `left` is older than, equal to or newer than `right`."""
    epoch_l, upstream_l, revision_l = split(left)
    epoch_r, upstream_r, revision_r = split(right)
    return (
        (epoch_l > epoch_r) - (epoch_l < epoch_r)
        or _compare_part(upstream_l, upstream_r)
        or _compare_part(revision_l, revision_r)
    )


version_key = cmp_to_key(compare)
"""A key for `sorted` and `max`."""


def split(version: str) -> tuple[int, str, str]:
    """`[epoch:]upstream[-revision]`: the epoch is 0 and the revision empty where left out."""
    epoch, colon, rest = version.partition(":")
    if not (colon and epoch.isdigit()):
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-")
    return (int(epoch), upstream, revision) if upstream else (int(epoch), rest, "")


def _compare_part(left: str, right: str) -> int:
    """Runs of other characters and of digits in turn, from the left."""
    for (text_l, digits_l), (text_r, digits_r) in zip_longest(
        _runs(left), _runs(right), fillvalue=("", "0")
    ):
        weights_l, weights_r = _weights(text_l), _weights(text_r)
        if weights_l != weights_r:
            return 1 if weights_l > weights_r else -1
        if int(digits_l) != int(digits_r):
            return 1 if int(digits_l) > int(digits_r) else -1
    return 0


def _runs(part: str) -> list[tuple[str, str]]:
    return [(text, digits or "0") for text, digits in re.findall(r"(\D*)(\d*)", part)]


def _weights(text: str) -> list[int]:
    """Tilde before the end of the run, the end before letters, letters before the rest."""
    return [_weight(character) for character in text] + [0]


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
