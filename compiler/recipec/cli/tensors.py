"""Comparing two safetensors files tensor by tensor, without torch or numpy.

The format: 8 bytes little-endian length, a JSON header of that length, then the tensors' bytes at
the offsets that the header gives (github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

MAX_HEADER = 100_000_000
"""Bytes; the format's own limit."""


def differing_tensors(one: Path, other: Path) -> list[str]:
    """Names of tensors that differ in dtype, shape or bytes, or that only one file has.

    In the order in which the first file holds them. Raises ValueError for what is not safetensors.
    """
    with one.open("rb") as left, other.open("rb") as right:
        left_header, left_base = _header(left)
        right_header, right_base = _header(right)
        names = sorted(left_header, key=lambda name: left_header[name]["data_offsets"])
        names += [name for name in right_header if name not in left_header]
        return [
            name
            for name in names
            if not _equal(
                left, left_header.get(name), left_base, right, right_header.get(name), right_base
            )
        ]


def _header(stream: BinaryIO) -> tuple[Mapping[str, Any], int]:
    length = int.from_bytes(stream.read(8), "little")
    if not 0 < length <= MAX_HEADER:
        raise ValueError("not a safetensors file")
    text = stream.read(length)
    if len(text) != length:
        raise ValueError("not a safetensors file: it ends within its header")
    header: dict[str, Any] = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file: its header is not an object")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
            raise ValueError(f"not a safetensors file: {name!a} is not a tensor")
    return header, 8 + length


def _equal(
    left: BinaryIO,
    one: Mapping[str, Any] | None,
    left_base: int,
    right: BinaryIO,
    other: Mapping[str, Any] | None,
    right_base: int,
) -> bool:
    if one is None or other is None:
        return False
    if one["dtype"] != other["dtype"] or one["shape"] != other["shape"]:
        return False
    return _bytes(left, one, left_base) == _bytes(right, other, right_base)


def _bytes(stream: BinaryIO, entry: Mapping[str, Any], base: int) -> bytes:
    start, end = entry["data_offsets"]
    stream.seek(base + start)
    return stream.read(end - start)
