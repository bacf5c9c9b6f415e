"""What format a data file has, told by its name.

In: a file's path, and the recipe's own word where it has one. Out: a `Format`. It opens no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, cast

Kind = Literal["jsonl", "json", "csv", "tsv", "parquet", "text"]
_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
}
_COMPRESSIONS: dict[str, Literal["gzip", "zstd"]] = {".gz": "gzip", ".zst": "zstd"}
ENDINGS = (*_KINDS, *_COMPRESSIONS)


@dataclass(frozen=True, kw_only=True)
class Format:
    """How rows lie in a file, and what the file is compressed with."""

    kind: Kind
    compression: Literal["", "gzip", "zstd"] = ""


def format_of(path: str, given: str | None = None) -> Format | None:
    """The format of a file; None if neither its ending nor the recipe tells it."""
    name = PurePosixPath(path)
    compression: Literal["", "gzip", "zstd"] = _COMPRESSIONS.get(name.suffix.lower(), "")
    if compression:
        name = name.with_suffix("")
    kind = cast("Kind | None", given) or _KINDS.get(name.suffix.lower())
    return Format(kind=kind, compression=compression) if kind is not None else None
