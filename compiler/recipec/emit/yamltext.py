"""Plain values as the lines of a dvc.yaml, the way DVC itself writes them.

In: names, texts, lists and mappings of them. Out: YAML text in ASCII that reads back as the same
values. It knows nothing of stages.
"""

from __future__ import annotations

import re
from typing import Any


def indented(name: str, value: Any, indent: int, inner: int = 2, end: str = "\n") -> str:
    """A key and its mapping as a block; `inner` is how much further in the mapping stands."""
    lead = " " * indent
    return "".join(f"{lead}{line}{end}" for line in [f"{scalar(name)}:", *block(value, inner)])


def block(value: Any, indent: int) -> list[str]:
    """A plain mapping in block style, the way DVC itself writes it."""
    lead = " " * indent
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict | list) and not item:
            lines.append(f"{lead}{scalar(key)}: {flow(item)}")
        elif isinstance(item, dict):
            lines += [f"{lead}{scalar(key)}:", *block(item, indent + 2)]
        elif isinstance(item, list):
            lines.append(f"{lead}{scalar(key)}:")
            for entry in item:
                if isinstance(entry, dict):
                    inner = block(entry, indent + 2)
                    lines += [f"{lead}- {inner[0].lstrip()}", *inner[1:]]
                else:
                    lines.append(f"{lead}- {scalar(entry)}")
        else:
            lines.append(f"{lead}{scalar(key)}: {scalar(item)}")
    return lines


def flow(value: Any) -> str:
    """A plain value in flow style, on one line."""
    if isinstance(value, dict):
        pairs = (f"{quoted(key)}: {flow(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return quoted(value)


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./ ")


def scalar(text: str) -> str:
    """A text without quotes, if it is safe to read back as the same text."""
    plain = set(text) <= _PLAIN and text[:1].isalpha() and text == text.strip()
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    return text if plain and text.lower() not in words else quoted(text)


def quoted(text: str) -> str:
    """A double-quoted scalar. JSON's pairs of surrogates would be two characters to YAML."""
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if " " <= character <= "~" else f"\\U{ord(character):08X}"


def split_lines(text: str) -> list[str]:
    """The lines with their ends, counted as ruamel.yaml counts them."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def line_end(text: str) -> str:
    """How the file ends its lines."""
    return "\r\n" if "\r\n" in text else "\n"


def with_newline(text: str, end: str) -> str:
    """The text with an end to its last line."""
    return text if not text or text.endswith(("\n", "\r")) else text + end
