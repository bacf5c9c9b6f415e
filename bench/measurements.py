"""Measurements that are written down, so that docs/ can show them and a bench can add to them.

In: a file under docs/ and dataclasses. Out: the same as JSON, each on a few lines. It measures
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def read(path: Path, kind: type[T]) -> list[T]:
    """The measurements in a file; none if it is not there."""
    if not path.is_file():
        return []
    return msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]


def write(path: Path, found: Sequence[Any]) -> None:
    """Write measurements down."""
    plain = [asdict(one) for one in found]
    path.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
