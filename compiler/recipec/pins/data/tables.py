"""Rows as a table of texts: CSV and TSV with a header, and plain text with a row a line.

In: bytes. Out: for each row its number, its values or what is wrong with it, and its bytes. Quotes
are as RFC 4180 has them, in TSV too; a field may hold line feeds. A column that is no text holds
JSON, one of several labels has bars between them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence

from recipec.errors import Diagnostic, RecipeError
from recipec.pins.data.faults import Fault, counted
from recipec.pins.data.jsonrows import RepeatedKey, Rows, unique
from recipec.pins.data.source import BOM, Source, encoding_fault, lines
from recipec.pins.data.wanted import Wanted

LONGEST_FIELD = 1 << 24
"""Characters; what is longer is a quote that was never closed."""
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_WORDS = {
    "unexpected end of data": ("a quote is opened and never closed", "close it, or double it"),
    "field larger than field limit": (
        f"a field is longer than {LONGEST_FIELD:,} characters",
        "is a quote opened and never closed?",
    ),
    "new-line character seen": (
        "a carriage return ends the line, or stands unquoted in a field",
        "save the file with line feeds",
    ),
    "expected after": (
        "text goes on after a field's closing quote",
        'a quote inside a quoted field is doubled: ""',
    ),
}


def read_text(source: Source, wanted: Wanted) -> Rows:
    """A row for each line that is not blank, without its line end."""
    (column,) = wanted.names
    for number, line in lines(source):
        fault = encoding_fault(line, number)
        if fault is not None:
            yield number, fault, line
        elif line.strip():
            yield number, {column: line.removesuffix(b"\n").removesuffix(b"\r").decode()}, line


def read_table(source: Source, wanted: Wanted) -> Rows:
    """The rows of a CSV or TSV file. A broken quote ends it: what follows could be anything."""
    separator = _SEPARATORS[source.format.kind]
    texts = _Lines(source)
    limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        records = csv.reader(texts, delimiter=separator, strict=True)
        header = next(records, None)
        if header is None:
            return
        at = _header(source.path, header, wanted, texts, separator)
        cells = [(name, at[name], wanted.cells.get(name, "")) for name in wanted.names]
        while True:
            texts.begin_record()
            record = next(records, None)
            if record is None:
                return
            yield texts.first, texts.fault or _row(record, header, cells), texts.raw
    except csv.Error as error:
        yield texts.first, _csv_fault(str(error)), texts.raw
    finally:
        csv.field_size_limit(limit)


class _Lines:
    """The lines of a file as text for `csv`, which remembers where the record began."""

    def __init__(self, source: Source) -> None:
        self._lines = lines(source)
        self.begin_record()

    def begin_record(self) -> None:
        self.first, self.raw = 0, b""
        self.fault: Fault | None = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        if number == 1:
            line = line.removeprefix(BOM)  # spreadsheets write one, and no value begins with it
        if not self.first:
            self.first, self.raw = number, line
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            pass
        fault = encoding_fault(line, number)
        if number > self.first and fault is not None:
            fault = Fault(message=f"line {number:,}: {fault.message}", hint=fault.hint)
        self.fault = self.fault or fault
        return line.decode("utf-8", "replace")


def _header(
    path: str, header: Sequence[str], wanted: Wanted, texts: _Lines, separator: str
) -> Mapping[str, int]:
    """Column number by name. Raises RecipeError for one that is absent or stands there twice."""
    wrong = [texts.fault] if texts.fault else []
    for name in wanted.names if not wrong else ():
        if name not in header:
            wrong.append(Fault(message=f"the header has no `{name}`", hint=_near(name, header)))
        elif header.count(name) > 1:
            message = f"the header names `{name}` twice"
            wrong.append(Fault(message=message, hint="rename one of the columns"))
    if len(header) == 1 and wrong and (other := next((c for c in ";\t|," if c in header[0]), "")):
        words = f"the columns are separated by {other!r}, not by {separator!r}"
        wrong = [Fault(message=words, hint="`format: tsv` is for tabs; write others as CSV")]
    if wrong:
        excerpt = texts.raw.decode("utf-8", "replace").rstrip("\r\n")
        raise RecipeError(
            [
                Diagnostic(
                    file=path,
                    line=texts.first,
                    column=fault.column,
                    message=fault.message,
                    hint=fault.hint,
                    excerpt=excerpt,
                )
                for fault in wrong
            ]
        )
    return {name: header.index(name) for name in wanted.names}


def _near(name: str, header: Sequence[str]) -> str:
    import difflib  # only for what is wrong

    near = difflib.get_close_matches(name, header, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`? `task.fields` names the columns"
    listed = ", ".join(f"`{column}`" for column in header[:8])
    return f"it has {listed}; see `task.fields` in the recipe"


def _row(
    record: Sequence[str], header: Sequence[str], cells: Sequence[tuple[str, int, str]]
) -> Mapping[str, object] | Fault:
    if len(record) != len(header):
        if not record:
            return Fault(message="the line is blank", hint="remove it: every line is one row")
        return Fault(
            message=f"the row has {counted(len(record), 'field')} and the header {len(header)}",
            hint="put fields with separators in quotes",
        )
    row: dict[str, object] = {}
    for name, at, form in cells:
        value = record[at]
        if form == "json":
            try:
                row[name] = json.loads(value, object_pairs_hook=unique)
            except RepeatedKey as error:
                return Fault(message=f"`{name}`: {error}", hint="remove one of them")
            except (ValueError, RecursionError):
                return Fault(
                    message=f"`{name}` is not JSON",
                    hint='a list in a table is written as JSON: ["a", "b"]',
                )
        elif form == "bars":
            row[name] = value.split("|") if value else []
        else:
            row[name] = value
    return row


def _csv_fault(reason: str) -> Fault:
    for start, (message, hint) in _WORDS.items():
        if start in reason:
            return Fault(message=message, hint=hint)
    return Fault(message=f"not CSV: {reason}")
