"""What is wrong with data, gathered over many rows and files.

In: faults with the place where they stand. Out: diagnostics, the first of each file in full and the
others counted. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from recipec.errors import Diagnostic, RecipeError

MOST_DIAGNOSTICS = 20
"""Diagnostics per file; what is beyond is only counted."""
_EXCERPT = 110


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one row; `column` counts characters of its line from 1."""

    message: str
    hint: str = ""
    column: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A row of a file by the number of its line, or by its own where a file has no lines."""

    path: str
    number: int
    by_line: bool = True

    def __str__(self) -> str:
        return f"{self.path}:{self.number}" if self.by_line else f"{self.path} row {self.number:,}"


class Faults:
    """Everything that is wrong with a recipe's data."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []
        self._rows: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, fault: Fault, raw: bytes = b"") -> None:
        """A row is wrong; `raw` are the bytes of its line."""
        count = self._rows[place.path] = self._rows.get(place.path, 0) + 1
        if count > MOST_DIAGNOSTICS:
            return
        if not place.by_line:
            self.whole(place.path, f"row {place.number:,}: {fault.message}", fault.hint)
            return
        text = raw[: 8 * _EXCERPT].partition(b"\n")[0].decode("utf-8", "replace").rstrip("\r")
        self._found.append(
            Diagnostic(
                file=place.path,
                line=place.number,
                column=fault.column,
                message=fault.message,
                hint=fault.hint,
                excerpt=text[:_EXCERPT] if fault.column <= _EXCERPT else "",
            )
        )

    def whole(self, path: str, message: str, hint: str = "") -> None:
        """A file is wrong as a whole."""
        self._found.append(whole(path, message, hint))

    def extend(self, error: RecipeError) -> None:
        """Take the diagnostics of an error that ended the reading of a file."""
        self._found += error.diagnostics

    def diagnostics(self) -> list[Diagnostic]:
        """What was found, and how much more there is."""
        more = [
            whole(path, f"{count - MOST_DIAGNOSTICS:,} more rows are wrong")
            for path, count in self._rows.items()
            if count > MOST_DIAGNOSTICS
        ]
        return self._found + more

    def raise_any(self) -> None:
        """Raises RecipeError if anything is wrong."""
        if self._found:
            raise RecipeError(self.diagnostics())


def whole(path: str, message: str, hint: str = "") -> Diagnostic:
    """A diagnostic of a file as a whole."""
    return Diagnostic(file=path, line=0, column=0, message=message, hint=hint)


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 word`, `2 words`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def kind_of(value: object) -> str:
    """What a value is, in words."""
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        bytes: "bytes",
    }
    if value is None:
        return "null"
    return names.get(type(value), f"a {type(value).__name__}")
