"""Relations between Debian packages: what one depends on, provides or excludes.

In: a field's text, such as `libc6 (>= 2.36), awk | mawk`. Out: relations, and whether a version
satisfies one. Source: Debian Policy, chapter 7. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from recipec.pins.debversion import compare

_RELATION = re.compile(
    r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)(?::\w+)?\s*"
    r"(?:\(\s*(?P<operator><<|<=|>=|>>|<|>|=)\s*(?P<version>[^)\s]+)\s*\))?"
)
_FITS = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
    # deprecated spellings, which dpkg reads so
    "<": lambda order: order <= 0,
    ">": lambda order: order >= 0,
}


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A package's name, and which of its versions are meant; no operator means every one."""

    name: str
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name

    def fits(self, version: str) -> bool:
        """Whether a package of this version is meant."""
        return not self.operator or _FITS[self.operator](compare(version, self.version))


Group = tuple[Relation, ...]
"""Alternatives: one of them is enough."""


def groups(text: str) -> tuple[Group, ...]:
    """Every group of a Depends field, in its order."""
    found = (
        tuple(r for part in group.split("|") if (r := _relation(part)) is not None)
        for group in text.replace("\n", " ").split(",")
    )
    return tuple(group for group in found if group)


def relations(text: str) -> tuple[Relation, ...]:
    """Every relation of a field without alternatives, such as Provides or Conflicts."""
    return tuple(relation for group in groups(text) for relation in group)


def _relation(text: str) -> Relation | None:
    found = _RELATION.match(text)
    if not found:
        return None
    operator, version = found["operator"] or "", found["version"] or ""
    return Relation(name=found["name"], operator=operator, version=version)
