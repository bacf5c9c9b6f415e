"""Collects the decisions of a plan while they are made, each with its reason."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from recipec.plan.plan import Decision, Origin

T = TypeVar("T")


@dataclass(kw_only=True)
class Ledger:
    """The decisions so far."""

    decisions: list[Decision] = field(default_factory=list)

    def choose(self, key: str, given: Any, default: T, reason: str, unit: str = "") -> T:
        """The recipe's value, or the default with its reason."""
        if given is not None:
            value: T = given
            return self.note(key, value, "the recipe says so", unit, "recipe")
        return self.note(key, default, reason, unit, "default")

    def keep(self, section: str, values: Any, name: str, reason: str, unit: str = "") -> Any:
        """A value whose default stands in the schema itself."""
        value = getattr(values, name)
        known = next(f for f in fields(values) if f.name == name)
        usual = known.default if known.default_factory is MISSING else known.default_factory()
        origin: Origin = "default" if value == usual else "recipe"
        said = reason if origin == "default" else "the recipe says so"
        return self.note(f"{section}.{name}", value, said, unit, origin)

    def note(
        self, key: str, value: T, reason: str, unit: str = "", origin: Origin = "derived"
    ) -> T:
        """A value that follows from others."""
        self.decisions.append(
            Decision(key=key, value=value, unit=unit, origin=origin, reason=reason)
        )
        return value
