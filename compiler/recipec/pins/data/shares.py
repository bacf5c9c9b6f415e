"""Which rows belong to a split that is a share of the training rows.

In: the number of rows, the shares, the seed. Out: the split of every row, in order. No memory
beyond a block of keys, however many rows there are, and no random generator.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence

_BLOCK = 4096
"""Rows whose keys are made at a time."""
_TOP = 48
"""Bits below those that sort the keys coarsely."""


def counts_of(rows: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Rows of each share: rounded to the nearest, at least one."""
    return tuple(max(1, round(share * rows)) for share in shares)


def assign(rows: int, counts: Sequence[int], seed: int) -> Iterator[int]:
    """For every row 0 if it stays in training, else 1 + the number of the share that it goes to.

    Rows are ranked by 64-bit keys from SHAKE-256 of the seed and the row's number (FIPS 202); the
    first share takes the lowest `counts[0]`, the next one those after them. Equal keys keep the
    rows' own order.
    """
    cuts, taken = [], 0
    for count in counts:
        taken += count
        cuts.append(_ranked(rows, taken, seed) if taken < rows else (1 << 64, 0))
    for row, key in enumerate(_keys(rows, seed)):
        yield next((n for n, cut in enumerate(cuts, start=1) if (key, row) < cut), 0)


def _ranked(rows: int, rank: int, seed: int) -> tuple[int, int]:
    """Key and number of the row that `rank` rows come before."""
    histogram = [0] * (1 << 64 - _TOP)
    for key in _keys(rows, seed):
        histogram[key >> _TOP] += 1
    bucket = 0
    while rank >= histogram[bucket]:
        rank -= histogram[bucket]
        bucket += 1
    near = ((key, row) for row, key in enumerate(_keys(rows, seed)) if key >> _TOP == bucket)
    return sorted(near)[rank]


def _keys(rows: int, seed: int) -> Iterator[int]:
    for first in range(0, rows, _BLOCK):
        size = min(_BLOCK, rows - first)
        name = f"recipec row split, seed {seed}, rows from {first}".encode("ascii")
        yield from struct.unpack(f"<{size}Q", hashlib.shake_256(name).digest(8 * size))
