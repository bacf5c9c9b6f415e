"""Rows as JSON: one object a line, or one array of objects.

In: bytes. Out: for each row its number, its values or what is wrong with it, and its bytes. An
array is cut into its elements as it streams by, so neither form is ever in memory whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from recipec.errors import RecipeError
from recipec.pins.data.faults import Fault, kind_of
from recipec.pins.data.source import LONGEST, Source, chunks, encoding_fault, lines, stop
from recipec.pins.data.wanted import Wanted

Found = tuple[int, Mapping[str, object] | Fault, bytes]
"""Number of the row's line or of the row, its values, and its bytes for an excerpt."""
Rows = Generator[Found, None, None]
_EVERY_LINE = "every line must be one whole JSON object"
DEEPEST = 64
"""Objects and arrays within each other."""
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_NESTED = frozenset({"messages", "answers"})
_NOT_NUMBERS = re.compile(rb"-?(?:NaN|Infinity|inf|nan)")


def read_jsonl(source: Source, wanted: Wanted) -> Rows:
    """The rows of JSON Lines."""
    decode = _Decoder(wanted)
    for number, line in lines(source):
        yield number, decode(line, number), line


def read_array(source: Source, wanted: Wanted) -> Rows:
    """The rows of a JSON array. What is wrong between two of them ends it."""
    decode = _Decoder(wanted, hint="every element of the array must be an object")
    for number, element in _elements(source):
        found = decode(element, 0)
        if isinstance(found, Fault) and b"\n" in element:
            yield _within(number, found, element)
        else:
            yield number, found, element


def _within(number: int, fault: Fault, element: bytes) -> Found:
    """The fault at its own line of an element that has several."""
    before = element.decode("utf-8", "replace")[: fault.column - 1]
    line = before.count("\n")
    column = fault.column - (before.rfind("\n") + 1)
    raw = element.split(b"\n")[line]
    return number + line, replace(fault, column=column), raw


class _Decoder:
    """One row from its bytes; a column that stands in it twice is told, not chosen from."""

    def __init__(self, wanted: Wanted, *, hint: str = _EVERY_LINE) -> None:
        self._hint = hint
        self._decode = _msgspec_decode()
        self._names = [json.dumps(name, ensure_ascii=False).encode() for name in wanted.names]
        self._always = any(part in _NESTED for part, _ in wanted.columns)

    def __call__(self, line: bytes, number: int) -> Mapping[str, object] | Fault:
        if line.count(b"[") + line.count(b"{") > DEEPEST and _depth(line) > DEEPEST:
            # Python's own limit differs from version to version.
            return Fault(message="the object is nested too deeply", hint="a row is a flat object")
        try:
            row = self._decode(line)
            if not isinstance(row, dict):
                message = f"a row must be a JSON object, not {kind_of(row)}"
                return Fault(message=message, hint=self._hint)
            # An escape may spell a name in another way, so such rows are looked at in full too.
            if self._always or b"\\u" in line or any(line.count(n) > 1 for n in self._names):
                return _repeated(line) or row
        except ValueError as error:  # msgspec's and UnicodeDecodeError are of it
            return _json_fault(line, number, str(error), self._hint)
        return row


@cache
def _msgspec_decode() -> Any:
    import msgspec

    return msgspec.json.Decoder().decode


def _depth(line: bytes) -> int:
    """How many brackets are open at once, at the most, outside strings."""
    depth = deepest = 0
    for found in _STRING_OR_BRACKET.finditer(line):
        if found[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in b"]}":
            depth -= 1
    return deepest


class RepeatedKey(ValueError):
    """A key that stands twice in one object."""


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of `json.loads` whose keys are all different. Raises RepeatedKey."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKey(f"`{twice}` stands twice in one object")
    return found


def _repeated(line: bytes) -> Fault | None:
    try:
        json.loads(line, object_pairs_hook=unique, parse_int=str)
    except RepeatedKey as error:
        return Fault(message=str(error), hint="remove one of them")
    return None


def _json_fault(line: bytes, number: int, reason: str, hint: str) -> Fault:
    if not line.strip():
        return Fault(message="the line is blank", hint="remove it: every line is one row")
    fault = encoding_fault(line, number)
    if fault is not None:
        return fault
    text = line.decode("utf-8")
    if "truncated" in reason:
        if text.rstrip().endswith("}") and "\\u" in text:
            return Fault(message="half of a surrogate pair (\\uD800 to \\uDFFF)", hint=hint)
        column = len(text.rstrip()) + 1
        return Fault(message="not JSON: the line ends too early", hint=hint, column=column)
    lead = len(text) - len(text.lstrip())
    if not text[lead:].startswith("{"):
        message = "not a JSON object: the line does not start with {"
        return Fault(message=message, hint=hint, column=lead + 1)
    found = re.search(r"\(byte (\d+)\)", reason)
    at = int(found[1]) if found else 0
    column = len(line[:at].decode("utf-8", "ignore")) + 1
    number_like = _NOT_NUMBERS.match(line, at)
    if number_like:
        return Fault(
            message=f"{number_like[0].decode()} is not JSON",
            hint="write null or a number",
            column=column,
        )
    words = re.sub(r"\s*\(byte \d+\)", "", reason.removeprefix("JSON is malformed: "))
    return Fault(message=f"not JSON: {words}", hint=hint, column=column)


_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')
_BLANKS = b" \t\r\n"


def _elements(source: Source) -> Iterator[tuple[int, bytes]]:
    """Line and bytes of each element of the one array in a file."""
    cutter = _Cutter(source.path)
    for chunk in chunks(source):
        yield from cutter.feed(chunk)
    cutter.finish()


class _Cutter:
    """Follows strings and brackets just far enough to see where the array's elements end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._text = b""
        self._start = 0
        """Where in `_text` the next element begins."""
        self._at = 0
        """Where the search for its end goes on; beyond the text after a backslash at its end."""
        self._line = 1
        self._depth = 0
        self._quoted = False
        self._count = 0
        self._closed = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """The elements that end in this chunk."""
        self._text = self._text[self._start :] + chunk
        self._at -= self._start
        self._start = 0
        if len(self._text) > LONGEST + len(chunk):
            raise self._stop(f"an element is longer than {LONGEST >> 20} MiB")
        if self._depth == 0 and not self._closed:
            self._open()
        while self._depth and not self._closed:
            found = (_INSIDE if self._quoted else _OUTSIDE).search(self._text, self._at)
            if found is None:
                self._at = max(self._at, len(self._text))
                return
            self._at = found.end()
            if self._ends_element(found[0]):
                yield from self._take(last=self._depth == 0)
        if self._closed and self._text[self._start :].strip(_BLANKS):
            raise self._stop("text after the array's end")

    def finish(self) -> None:
        """The file is at its end."""
        if self._depth:
            self._go_on(len(self._text))
            raise self._stop("the array is not closed: the file ends too early")

    def _ends_element(self, mark: bytes) -> bool:
        if mark == b"\\":
            self._at += 1
        elif mark == b'"':
            self._quoted = not self._quoted
        elif mark in b"[{":
            self._depth += 1
        elif mark == b",":
            return self._depth == 1
        else:
            self._depth -= 1
            if self._depth == 0 and mark == b"}":
                raise self._stop("a } that closes nothing")
        return self._depth == 0

    def _open(self) -> None:
        """Find the bracket that opens the array."""
        start = self._text.lstrip(_BLANKS)
        if not start:
            return
        fault = encoding_fault(start[:4], 1) if start[0] in b"\xef\xff\xfe" else None
        if fault is not None:
            raise stop(self._path, fault.message, fault.hint)
        if not start.startswith(b"["):
            raise stop(
                self._path,
                "a JSON file must be one array of rows",
                "one object a line is JSON Lines: name the file .jsonl, or say `format: jsonl`",
            )
        self._go_on(self._text.index(b"[") + 1)
        self._depth = 1

    def _take(self, *, last: bool) -> Iterator[tuple[int, bytes]]:
        element = self._text[self._start : self._at - 1]
        body = element.lstrip(_BLANKS)
        number = self._line + element.count(b"\n", 0, len(element) - len(body))
        self._go_on(self._at)
        self._closed = last
        if body:
            self._count += 1
            yield number, body.rstrip(_BLANKS)
        elif not last or self._count:
            raise self._stop("a comma with no row beside it")

    def _go_on(self, end: int) -> None:
        self._line += self._text.count(b"\n", self._start, end)
        self._start = self._at = end

    def _stop(self, message: str) -> RecipeError:
        return stop(self._path, f"not JSON: {message} (line {self._line:,})")
