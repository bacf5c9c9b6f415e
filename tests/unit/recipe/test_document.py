"""Places: where a diagnostic points when a value, a key or neither is there."""

from __future__ import annotations

import pytest

from recipec.recipe.document import KeyPath, dotted
from recipec.recipe.read import read

TEXT = """\
name: a
method:
  type: lora
  target_modules:
    - q
    - kv
empty:
"""
DOCUMENT = read(TEXT.encode(), "r.yaml")


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        (("name",), False, (1, 7, 1)),
        (("name",), True, (1, 1, 4)),
        (("method", "type"), False, (3, 9, 4)),
        (("method", "target_modules", 1), False, (6, 7, 2)),
        (("method", "target_modules", 1), True, (6, 7, 2)),  # an item has no key
        # What is not there is shown at the key of the nearest section that is
        (("method", "rank"), False, (2, 1, 6)),
        (("method", "target_modules", 9), False, (4, 3, 14)),
        (("method", "a", "b"), True, (2, 1, 6)),
        (("training", "seed"), False, (1, 1, 1)),
        (("empty",), False, (7, 1, 5)),
        ((), False, (1, 1, 1)),
    ],
)
def test_the_place_of_a_path(path: KeyPath, key: bool, expected: tuple[int, int, int]) -> None:
    place = DOCUMENT.place(path, key=key)
    assert (place.line, place.column, place.width) == expected


def test_a_diagnostic_at_a_place() -> None:
    found = DOCUMENT.diagnostic(("method", "target_modules", 1), "no", "hint")
    assert found.render() == (
        "r.yaml:6:7: error: no\n    6 |     - kv\n      |       ^^\n  hint: hint"
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), ""),
        (("a",), "a"),
        (("method", "target_modules", 2), "method.target_modules[2]"),
        (("a", 0, 1, "b"), "a[0][1].b"),
        (("a\n", "\x1b"), "a\\n.\\x1b"),
    ],
)
def test_paths_are_written_as_users_write_them(path: KeyPath, expected: str) -> None:
    assert dotted(path) == expected
