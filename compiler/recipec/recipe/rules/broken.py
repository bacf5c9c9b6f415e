"""What a rule says of a recipe that breaks it."""

from __future__ import annotations

from dataclasses import dataclass

from recipec.recipe.document import KeyPath


@dataclass(frozen=True, kw_only=True)
class Broken:
    """One rule that does not hold, at a path of the recipe."""

    path: KeyPath
    message: str
    hint: str = ""
    at_key: bool = False
