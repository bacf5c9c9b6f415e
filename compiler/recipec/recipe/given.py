"""What a recipe says beyond the defaults.

In: values of the recipe's types. Out: plain values without those that are their default, so that
neither a recipe's digest nor a golden moves when the language gains a key.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any


def given_values(value: Any) -> Any:
    """The values of a section that are not their defaults; whatever is no section as it is."""
    if not is_dataclass(value):
        return value
    chosen = {}
    for known in fields(value):
        found = getattr(value, known.name)
        usual = known.default if known.default_factory is MISSING else known.default_factory()
        if found != usual:
            chosen[known.name] = given_values(found)
    return chosen
