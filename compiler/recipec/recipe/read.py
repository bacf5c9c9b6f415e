"""Pass: read. Bytes of YAML in, a `Document` out, or diagnostics.

YAML 1.2's core schema over ruamel.yaml's event stream: no tags, no anchors, no duplicate keys, no
code, bounded size, depth and count. It reads no file and knows nothing of recipes.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Any

from recipec.errors import Diagnostic, RecipeError, visible
from recipec.recipe.document import Document, KeyPath, Place, dotted

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_PROBLEMS = 100
"""Diagnostics of one file; what comes after them is noise."""

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_HALF = re.compile("[\ud800-\udfff]")
_NOT_FINITE = re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")


def read(data: bytes, file: str) -> Document:
    """The document in `data`; `file` is only what diagnostics call it.

    Raises RecipeError for what is not UTF-8, not YAML, or outside the subset.
    """
    return _Reader(file=file, text=_decode(data, file)).document()


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        message = f"the file has {len(data):,} bytes; a recipe has at most {MAX_BYTES:,}"
        raise RecipeError([Diagnostic(file=file, line=0, column=0, message=message)])
    body = data.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        before = body[body.rfind(b"\n", 0, error.start) + 1 : error.start]
        column = len(before.decode("utf-8")) + 1
        raise RecipeError(
            [
                Diagnostic(
                    file=file,
                    line=line,
                    column=column,
                    message=f"byte 0x{body[error.start]:02x} is not UTF-8",
                    hint="save the file as UTF-8",
                )
            ]
        ) from None


class _Stop(Exception):
    """What follows cannot be understood any more."""


@dataclass(kw_only=True)
class _Open:
    """A mapping or sequence that is still being read."""

    path: KeyPath
    value: dict[str, Any] | list[Any]
    key: str | None = None


@dataclass(kw_only=True)
class _Reader:
    file: str
    text: str
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    second: dict[KeyPath, KeyPath] = field(default_factory=dict)
    """The path that a repeated key was meant to have, by the path that it is read under."""

    def document(self) -> Document:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        # Lines as ruamel.yaml counts them: str.splitlines would also end one at U+0085 or U+2028.
        self.lines = tuple(re.split(r"\r\n|\r|\n", self.text))
        root: list[Any] = []
        try:
            self._consume(YAML(typ="safe", pure=True).parse(self.text), root)
        except _Stop:
            pass
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            reason = " ".join(str(error.problem or error.context or "cannot be read").split())
            self._problem(line, column, f"not valid YAML: {reason}", _yaml_hint(reason))
        except YAMLError as error:
            position = getattr(error, "position", 0) or 0
            line = self.text.count("\n", 0, position) + 1
            column = position - (self.text.rfind("\n", 0, position) + 1) + 1
            reason = str(getattr(error, "reason", "cannot be read"))
            self._problem(line, column, f"not valid YAML: {reason}")
        if self.problems:
            raise RecipeError(self.problems)
        value = root[0] if root else None
        if not isinstance(value, dict):
            hint = "begin with `name:`, or run `recipec init NAME` for a recipe to start from"
            what = "the file is empty" if value is None else "a recipe is a mapping of sections"
            raise RecipeError(
                [Diagnostic(file=self.file, line=0, column=0, message=what, hint=hint)]
            )
        return Document(
            file=self.file, lines=self.lines, value=value, keys=self.keys, values=self.values
        )

    def _problem(
        self, line: int, column: int, message: str, hint: str = "", width: int = 1
    ) -> None:
        excerpt = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        self.problems.append(
            Diagnostic(
                file=self.file,
                line=line,
                column=column,
                message=message,
                hint=hint,
                excerpt=excerpt,
                width=width,
            )
        )

    def _consume(self, events: Any, root: list[Any]) -> None:
        from ruamel.yaml import events as kinds

        stack: list[_Open] = []
        documents = 0
        for event in events:
            place = self._place(event)
            if isinstance(event, kinds.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem(place.line, 1, "a recipe file holds one document")
                    return
            elif isinstance(event, kinds.AliasEvent):
                self._problem(
                    place.line,
                    place.column,
                    "anchors and aliases are not part of the recipe language",
                    "write the value out",
                    place.width,
                )
                return
            elif isinstance(event, kinds.MappingStartEvent | kinds.SequenceStartEvent):
                self._refuse_tag(event, place)
                if len(stack) >= MAX_DEPTH:
                    message = f"nested deeper than {MAX_DEPTH} levels"
                    self._problem(place.line, place.column, message)
                    return
                path = self._attach_path(stack, place)
                value: dict[str, Any] | list[Any] = (
                    {} if isinstance(event, kinds.MappingStartEvent) else []
                )
                self._attach(stack, root, value)
                self.values[path] = place
                stack.append(_Open(path=path, value=value))
            elif isinstance(event, kinds.MappingEndEvent | kinds.SequenceEndEvent):
                stack.pop()
            elif isinstance(event, kinds.ScalarEvent):
                self._scalar(event, place, stack, root)
            if len(self.values) > MAX_VALUES:
                self._problem(place.line, place.column, f"more than {MAX_VALUES:,} values")
                return
            if len(self.problems) >= MAX_PROBLEMS:
                return

    def _scalar(self, event: Any, place: Place, stack: list[_Open], root: list[Any]) -> None:
        self._refuse_tag(event, place)
        if _HALF.search(event.value):
            message = "the text holds half of a surrogate pair, which is no character"
            hint = "write the character itself, or \\U and eight digits"
            self._problem(place.line, place.column, message, hint, place.width)
        top = stack[-1] if stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(event, place, top)
            return
        path = self._attach_path(stack, place)
        # An empty value stands where the next token does: its key is the better place to show.
        empty = event.value == "" and event.style is None
        self.values[path] = self.keys.get(path, place) if empty else place
        self._attach(stack, root, self._resolve(event, place))

    def _key(self, event: Any, place: Place, top: _Open) -> None:
        path = (*top.path, event.value)
        if path in self.keys:
            first = self.keys[path]
            shown = dotted((*self._named(top.path), event.value))
            self._problem(
                place.line,
                place.column,
                f"`{shown}` stands here a second time; it is already on line {first.line}",
                "keep one of them",
                place.width,
            )
            # Its value is read under a name of its own, so that its keys are not "second" too.
            top.key = f"{event.value}\0{place.line}:{place.column}"
            self.second[(*top.path, top.key)] = path
        else:
            self.keys[path] = place
            top.key = event.value

    def _named(self, path: KeyPath) -> KeyPath:
        """A path as the file spells it, also below a key that stands there a second time."""
        if not path:
            return path
        meant = self.second.get(path, path)
        return (*self._named(path[:-1]), meant[-1])

    def _attach_path(self, stack: list[_Open], place: Place) -> KeyPath:
        if not stack:
            return ()
        top = stack[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value))
        if top.key is None:
            message = "a key must be plain text, not a list or a mapping"
            self._problem(place.line, place.column, message)
            raise _Stop
        return (*top.path, top.key)

    def _attach(self, stack: list[_Open], root: list[Any], value: object) -> None:
        if not stack:
            root.append(value)
        elif isinstance(stack[-1].value, list):
            stack[-1].value.append(value)
        else:
            top = stack[-1]
            assert top.key is not None
            top.value.setdefault(top.key, value)  # type: ignore[union-attr]
            top.key = None

    def _refuse_tag(self, event: Any, place: Place) -> None:
        if getattr(event, "anchor", None) is not None:
            self._problem(
                place.line,
                place.column,
                "anchors and aliases are not part of the recipe language",
                "write the value out",
                place.width,
            )
        tag = getattr(event, "tag", None)
        if tag is not None and str(tag) != "!":
            message = f"tag {visible(str(tag))} is not part of the recipe language"
            self._problem(place.line, place.column, message, "remove the tag", place.width)

    def _resolve(self, event: Any, place: Place) -> object:
        text = event.value
        if event.style is not None:
            return text
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text):
            return True
        if _FALSE.fullmatch(text):
            return False
        if _INTEGER.fullmatch(text) and len(text) < 100:
            return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if number not in (float("inf"), float("-inf")):
                return number
        elif not _NOT_FINITE.fullmatch(text):
            return text
        message = f"{visible(text)} is not a finite number"
        self._problem(place.line, place.column, message, width=place.width)
        return 0.0

    @staticmethod
    def _place(event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Place(line=start.line + 1, column=start.column + 1, width=max(1, width))


def _yaml_hint(reason: str) -> str:
    if "\\t" in reason or "tab" in reason:
        return "indent with spaces; YAML does not allow tabs"
    if "mapping values are not allowed" in reason:
        return "put text that holds `: ` in quotes, and indent sections alike"
    if "expected <block end>" in reason:
        return "check the indentation of this line"
    return ""
