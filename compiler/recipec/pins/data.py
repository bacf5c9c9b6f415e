"""The data files: every row checked, counted and hashed.

In: a recipe and the project's folder. Out: `DataFile`s and the label set, or every diagnostic.
Files are JSON Lines: UTF-8, one object a line, with the named fields as strings. They are streamed;
what was found out about some bytes is remembered by their digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipec.errors import Diagnostic, RecipeError
from recipec.pins.lockfile import DataFile
from recipec.recipe.columns import columns_of
from recipec.recipe.schema import Recipe
from recipec.recipe.splits import splits_of
from recipec.store import Store, canonical, sha256

MOST_DIAGNOSTICS = 20
"""Diagnostics per file; what is beyond is only counted."""
_EXCERPT = 110
_EVERY_LINE = "every line must be one whole JSON object"
_RECORD_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The pinned data files, train first, and the sorted labels of a classification task."""

    files: tuple[DataFile, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Scan:
    rows: int
    labels: Mapping[str, int]
    """Label to the first line that has it."""


def read_data(recipe: Recipe, *, project: Path, store: Store) -> DataFacts:
    """Check and pin the recipe's data files. Raises RecipeError with all that is wrong in them."""
    parts = columns_of(recipe)
    columns = tuple(parts.values())
    label = parts.get("label")
    files: list[DataFile] = []
    labels: dict[str, Mapping[str, int]] = {}
    wrong: list[Diagnostic] = []
    for split, path in ((s.name, s.paths[0]) for s in splits_of(recipe.domain.data)):
        try:
            file, scan = _read_file(split, path, columns, label, project=project, store=store)
        except RecipeError as error:
            wrong += error.diagnostics
            continue
        files.append(file)
        labels[split] = scan.labels
    if not wrong and label is not None:
        wrong = _label_faults(labels, {file.split: file.path for file in files})
    if wrong:
        raise RecipeError(wrong)
    return DataFacts(files=tuple(files), labels=tuple(sorted(labels["train"])))


def _read_file(
    split: str,
    path: str,
    columns: Sequence[str],
    label: str | None,
    *,
    project: Path,
    store: Store,
) -> tuple[DataFile, _Scan]:
    source = project / path
    try:
        digest = store.digest_of(source)
        key = sha256(canonical([_RECORD_VERSION, digest, list(columns), label]))
        known = store.record("data", key)
        if isinstance(known, dict):
            scan = _Scan(rows=int(known["rows"]), labels=known["labels"])
        else:
            scan = _scan(source, path, digest, columns, label)
            store.put_record("data", key, {"rows": scan.rows, "labels": dict(scan.labels)})
        size = source.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    return DataFile(split=split, path=path, sha256=digest, size=size, rows=scan.rows), scan


def _scan(source: Path, path: str, digest: str, columns: Sequence[str], label: str | None) -> _Scan:
    """One pass over the bytes: rows, labels, and that they still are the bytes of `digest`."""
    import msgspec

    decode = msgspec.json.Decoder().decode
    hashed = hashlib.sha256()
    labels: dict[str, int] = {}
    wrong: list[Diagnostic] = []
    faults = number = 0
    with source.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            hashed.update(line)
            try:
                row = decode(line)
                found = _row_fault(row, columns)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                row, found = None, _json_fault(line, str(error))
            if found is not None:
                faults += 1
                if faults <= MOST_DIAGNOSTICS:
                    wrong.append(_diagnostic(path, number, line, *found))
            elif label is not None and row[label] not in labels:
                labels[row[label]] = number
    if faults > MOST_DIAGNOSTICS:
        wrong.append(_whole(path, f"{faults - MOST_DIAGNOSTICS} more rows are wrong"))
    if not number:
        wrong.append(_whole(path, "the file is empty", "it needs at least one row"))
    if "sha256:" + hashed.hexdigest() != digest:
        wrong = [_whole(path, "the file changed while it was read", "run the command again")]
    if wrong:
        raise RecipeError(wrong)
    return _Scan(rows=number, labels=labels)


def _row_fault(row: object, columns: Sequence[str]) -> tuple[int, str, str] | None:
    """Column, message and hint of what is wrong with a decoded row."""
    if not isinstance(row, dict):
        return 1, f"a row must be a JSON object, not {_kind(row)}", "write {...}, one a line"
    for name in columns:
        value = row.get(name)
        if isinstance(value, str):
            continue
        if name not in row:
            has = ", ".join(f"`{key}`" for key in list(row)[:8]) or "nothing"
            return 1, f"the row has no `{name}`", f"it has {has}; see `task.fields` in the recipe"
        return 1, f"`{name}` must be a string, not {_kind(value)}", "put the value in quotes"
    return None


def _json_fault(line: bytes, reason: str) -> tuple[int, str, str]:
    if line.startswith(b"\xef\xbb\xbf"):
        return 1, "the file starts with a byte order mark", "save it as UTF-8 without one"
    if not line.strip():
        return 1, "the line is blank", "remove it: every line is one row"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode("utf-8")) + 1
        return column, f"byte 0x{line[error.start]:02x} is not UTF-8", "save the file as UTF-8"
    if "truncated" in reason:
        return len(text.rstrip()) + 1, "not JSON: the line ends too early", _EVERY_LINE
    lead = len(text) - len(text.lstrip())
    if not text[lead:].startswith("{"):
        return lead + 1, "not a JSON object: the line does not start with {", _EVERY_LINE
    if "recursion" in reason:
        return 1, "the object is nested too deeply", "a row is a flat object of strings"
    found = re.search(r"\(byte (\d+)\)", reason)
    at = int(found[1]) if found else 0
    column = len(line[:at].decode("utf-8", "ignore")) + 1
    words = re.sub(r"\s*\(byte \d+\)", "", reason.removeprefix("JSON is malformed: "))
    return column, f"not JSON: {words}", _EVERY_LINE


def _diagnostic(
    path: str, number: int, line: bytes, column: int, message: str, hint: str
) -> Diagnostic:
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    excerpt = text[:_EXCERPT] if column <= _EXCERPT else ""
    return Diagnostic(
        file=path, line=number, column=column, message=message, hint=hint, excerpt=excerpt
    )


def _label_faults(
    labels: Mapping[str, Mapping[str, int]], paths: Mapping[str, str]
) -> list[Diagnostic]:
    known = labels["train"]
    wrong = []
    if len(known) < 2:
        wrong.append(
            _whole(
                paths["train"],
                "every row has the same label",
                "classification needs at least two labels",
            )
        )
    for split in ("validation", "test"):
        unknown = [pair for pair in labels.get(split, {}).items() if pair[0] not in known]
        for label, line in unknown[:MOST_DIAGNOSTICS]:
            wrong.append(
                Diagnostic(
                    file=paths[split],
                    line=line,
                    column=1,
                    message=f"label {label!r} does not occur in {paths['train']}",
                    hint="a model learns only the labels it is trained on",
                )
            )
        if len(unknown) > MOST_DIAGNOSTICS:
            more = len(unknown) - MOST_DIAGNOSTICS
            wrong.append(_whole(paths[split], f"{more} more labels are unknown"))
    return wrong


def _unreadable(path: str, error: OSError) -> RecipeError:
    if isinstance(error, FileNotFoundError):
        return RecipeError(
            [_whole(path, "no such file", "`domain.data` names files relative to the project")]
        )
    return RecipeError([_whole(path, f"cannot be read: {error.strerror or error}")])


def _whole(path: str, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic(file=path, line=0, column=0, message=message, hint=hint)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")
