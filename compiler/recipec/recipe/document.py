"""A YAML document as plain values that know where they stand.

Values only. `recipec.recipe.read` makes a `Document`; the checker asks it for places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipec.errors import Diagnostic, visible

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a key or value begins: line and column from 1, width in characters."""

    line: int
    column: int
    width: int
    file: str = ""
    """The file, where it is another one than the document's own."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """Plain values, and the place of every key and every value by its path."""

    file: str
    lines: tuple[str, ...]
    value: object
    keys: Mapping[KeyPath, Place]
    values: Mapping[KeyPath, Place]
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The lines of the other files that places stand in, by name."""

    def place(self, path: KeyPath, *, key: bool = False) -> Place:
        """The place of a value or of its key, or of the nearest parent that is there."""
        for cut in range(len(path), -1, -1):
            part = path[:cut]
            first, second = (self.keys, self.values) if key else (self.values, self.keys)
            found = first.get(part) or second.get(part)
            # The place of a whole section is its key: a caret under its first value would mislead.
            if cut < len(path) and part in self.keys:
                found = self.keys[part]
            if found:
                return found
        return Place(line=1, column=1, width=1)

    def diagnostic(
        self, path: KeyPath, message: str, hint: str = "", *, key: bool = False
    ) -> Diagnostic:
        """A diagnostic at the value of `path`, or at its key."""
        place = self.place(path, key=key)
        lines = self.others[place.file] if place.file else self.lines
        excerpt = lines[place.line - 1] if place.line <= len(lines) else ""
        return Diagnostic(
            file=place.file or self.file,
            line=place.line,
            column=place.column,
            message=message,
            hint=hint,
            excerpt=excerpt,
            width=place.width,
        )

    def spot(self, path: KeyPath, *, key: bool = False) -> str:
        """Where something stands, for a sentence that is shown elsewhere: `FILE:LINE:COLUMN`."""
        place = self.place(path, key=key)
        return f"{place.file or self.file}:{place.line}:{place.column}"


def dotted(path: KeyPath) -> str:
    """A path as users write it: `method.target_modules[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{visible(part)}" if text else visible(part)
    return text
