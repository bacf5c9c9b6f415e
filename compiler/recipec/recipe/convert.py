"""A document's plain values as the typed recipe, or None if they are not one.

The fast half of the check: what is accepted here needs no JSON Schema, and only what is refused
goes to `recipec.recipe.explain`. Both accept the same values (tests/unit/recipe/test_agreement.py).
It gives no reasons, and fills nothing in but the defaults of the types.
"""

from __future__ import annotations

from typing import Any

import msgspec

from recipec.recipe.schema import Recipe


def convert(value: object) -> Recipe | None:
    """The recipe that plain values spell out; None if any of them is refused."""
    try:
        recipe = msgspec.convert(value, Recipe)
    except msgspec.ValidationError:
        return None
    return recipe if _all_used(value, recipe) else None


def _all_used(plain: Any, typed: Any) -> bool:
    """Whether every key arrived in a section, and with a value.

    msgspec drops keys that a dataclass lacks, and takes null for what may be left out.
    """
    fields = getattr(typed, "__dataclass_fields__", None)
    if fields is not None:
        return all(
            key in fields and value is not None and _all_used(value, getattr(typed, key))
            for key, value in plain.items()
        )
    if isinstance(typed, dict):
        return all(_all_used(plain[key], value) for key, value in typed.items())
    if isinstance(typed, list):
        return all(map(_all_used, plain, typed))
    return True
