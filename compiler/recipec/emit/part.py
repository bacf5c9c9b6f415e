"""What one concern (task, method, training) adds to the scripts.

Values only. `script.py` joins the parts: their words are what templates are filled with, their
imports become the scripts' import lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recipec.emit.literal import from_import

Imports = Mapping[str, Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Words for the templates, and names to import by module."""

    words: Mapping[str, Any] = field(default_factory=dict)
    train: Imports = field(default_factory=dict)
    evaluate: Imports = field(default_factory=dict)
    standard: frozenset[str] = frozenset()
    """Modules of the standard library that train.py imports whole, such as `math`."""


def import_lines(imports: Iterable[Imports]) -> list[str]:
    """`from module import names` for all of them together, sorted as isort does."""
    joined: dict[str, set[str]] = {}
    for part in imports:
        for module, names in part.items():
            joined.setdefault(module, set()).update(names)
    return [from_import(module, sorted(names)) for module, names in sorted(joined.items()) if names]
