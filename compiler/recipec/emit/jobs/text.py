"""Plain values as the text of a job document: JSON, or YAML in one or several documents.

In: mappings, lists, texts, numbers, truth values. Out: bytes that read back as the same values,
keys in the order given. Nothing is ever pasted into a template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recipec.emit.yamltext import flow, scalar


def json_text(value: Mapping[str, Any]) -> bytes:
    """A JSON document."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode("ascii")


def yaml_text(*documents: Mapping[str, Any], head: str = "") -> bytes:
    """YAML documents, parted by `---`; `head` is a comment for the first line."""
    texts = ["\n".join(_lines(document, "")) + "\n" for document in documents]
    return (head + "---\n".join(texts)).encode("ascii")


def _lines(value: Any, lead: str) -> list[str]:
    """The lines of a mapping or list that is not empty."""
    if isinstance(value, Mapping):
        pairs = ((f"{lead}{scalar(key)}:", item) for key, item in value.items())
    else:
        pairs = ((f"{lead}-", item) for item in value)
    lines: list[str] = []
    for start, item in pairs:
        lines += _entry(start, item, lead)
    return lines


def _entry(start: str, item: Any, lead: str) -> list[str]:
    listed = start.endswith("-")
    if isinstance(item, Mapping | list | tuple) and item:
        inner = _lines(item, f"{lead}  ")
        if listed:
            return [f"{start} {inner[0].lstrip()}", *inner[1:]]
        # A list may stand at its key's column, which is how these services' own pages write it.
        return [start, *(inner if isinstance(item, Mapping) else _lines(item, lead))]
    if isinstance(item, Mapping | list | tuple):
        return [f"{start} {flow(item if isinstance(item, Mapping) else [])}"]
    if isinstance(item, str) and "\n" in item and _as_block(item):
        return [f"{start} |", *(f"{lead}  {line}".rstrip() for line in item.splitlines())]
    return [f"{start} {_plain(item)}"]


def _as_block(text: str) -> bool:
    """Whether a text of several lines reads back from a literal block as it is."""
    safe = all(" " <= character <= "~" or character == "\n" for character in text)
    ends_once = text.endswith("\n") and not text.endswith("\n\n")
    lines = text.splitlines()
    return safe and ends_once and not text[:1].isspace() and all(x == x.rstrip() for x in lines)


def _plain(item: Any) -> str:
    return scalar(item) if isinstance(item, str) else json.dumps(item, allow_nan=False)
