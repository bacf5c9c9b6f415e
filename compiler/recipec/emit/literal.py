"""Values as Python source: text that reads back as the value, and only as the value.

In: strings, numbers, tuples. Out: ASCII source in the form that `ruff format` leaves alone. Every
recipe string that reaches a script goes through here, so no recipe can put code into one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

WIDTH = 100
MANY = 30
"""Items of a list up to which each has a line of its own."""
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def literal(value: object) -> str:
    """The value as Python source on one line. Raises TypeError or ValueError on what has none."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a script cannot hold {value}")
    if value is None or isinstance(value, bool | int | float):
        return repr(value).replace("e+", "e")  # 1e+22 is 1e22 to ruff
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{literal(key)}: {literal(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    raise TypeError(f"a script cannot hold a {type(value).__name__}")


def assignment(name: str, value: object, comment: str = "") -> str:
    """`name = value  # comment` within the line width: wrapped, or the comment above, if not."""
    line = f"{name} = {literal(value)}"
    if len(line) > WIDTH:
        line = _wrapped(name, value)
    if comment and ("\n" in line or len(line) + len(comment) + 4 > WIDTH):
        return f"# {comment}\n{line}"
    return f"{line}  # {comment}" if comment else line


def from_import(module: str, names: Sequence[str]) -> str:
    """`from module import names`, sorted as isort does: constants, classes, functions."""
    ordered = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"


def prose(value: object) -> str:
    """A value as words for a comment or a docstring: a short line of harmless characters."""
    text = re.sub(r"[^A-Za-z0-9 ._:/@=+-]", "?", str(value))
    return text if len(text) <= 40 else text[:37] + "..."


def markdown(value: object) -> str:
    """A value as text in Markdown: on one line, with no character that marks anything up."""
    line = " ".join(str(value).encode("utf-8", "replace").decode("utf-8").split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", line)


def _wrapped(name: str, value: object) -> str:
    if isinstance(value, list | tuple):
        items = [literal(item) for item in value]
        lines = items if len(items) <= MANY else _rows(items)
        return f"{name} = [\n" + "".join(f"    {line},\n" for line in lines) + "]"
    if isinstance(value, Mapping):
        pairs = (f"    {literal(key)}: {literal(item)},\n" for key, item in value.items())
        return f"{name} = {{\n" + "".join(pairs) + "}"
    text = literal(value)
    return f"{name} = (\n    {text}\n)" if len(text) + 4 <= WIDTH else f"{name} = {text}"


def _rows(items: Sequence[str]) -> list[str]:
    """Items as lines of the list that they make up, each line with as many as fit."""
    rows: list[list[str]] = [[]]
    for item in items:
        if rows[-1] and len(_row([*rows[-1], item])) + len("    ,") > WIDTH:
            rows.append([])
        rows[-1].append(item)
    return [_row(row) for row in rows]


def _row(items: Sequence[str]) -> str:
    return f"*({', '.join(items)})" if len(items) > 1 else items[0]


def _text(value: str) -> str:
    # The quote that needs fewer escapes, as ruff format chooses it
    quote = "'" if value.count('"') > value.count("'") else '"'
    return quote + "".join(_character(character, quote) for character in value) + quote


def _character(character: str, quote: str) -> str:
    code = ord(character)
    if character == quote:
        return "\\" + quote
    if character in ESCAPES:
        return ESCAPES[character]
    if 0x20 <= code < 0x7F:
        return character
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
