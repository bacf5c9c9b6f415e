"""One split's rows, checked: each value, what its parts say of each other, labels over all rows.

In: rows as a reader found them, with their places. Out: normal rows, and what is wrong. A normal
row has only the columns that are read, as the runtime takes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from recipec.pins.data.faults import Fault, Faults, Place, counted, kind_of
from recipec.pins.data.labels import Scheme, Tally, closed_set_fault
from recipec.pins.data.values import place_fault, reader
from recipec.pins.data.wanted import Wanted

Row = dict[str, object]
_NEVER_EMPTY = frozenset({"text", "source", "target", "question", "context", "words"})


class RowCheck:
    """Checks the rows of one split."""

    def __init__(self, wanted: Wanted, faults: Faults) -> None:
        self.rows = 0
        self.empty = 0
        self.first_empty: Place | None = None
        self.changed = False
        """Whether a normal row has other values than the file."""
        self.tally = Tally(wanted.label_column or "")
        self._faults = faults
        self._scheme = Scheme()
        self._closed = dict.fromkeys(wanted.labels, 0) if wanted.labels is not None else None
        self._column = dict(wanted.columns)
        self._filled = [column for part, column in wanted.columns if part in _NEVER_EMPTY]
        self._kinds: dict[str, tuple[str, Place]] = {}
        self._readers = [
            (column, reader(part, column, multi_label=wanted.multi_label))
            for part, column in wanted.columns
        ]

    def __call__(self, place: Place, found: Mapping[str, object] | Fault, raw: bytes) -> Row | None:
        """The normal row, or None for one that is empty or wrong."""
        row = found if isinstance(found, Fault) else self._row(found)
        fault = row if isinstance(row, Fault) else self._fault(row, found, place)
        if fault is not None:
            self._faults.add(place, fault, raw)
            return None
        assert not isinstance(row, Fault)
        if any(self._is_empty(row[column]) for column in self._filled):
            self.empty += 1
            self.first_empty = self.first_empty or place
            return None
        self.rows += 1
        self._count(row, place, raw)
        return row

    def report(self) -> None:
        """Add what is known only now that the split has been read."""
        self._scheme.report(self._faults)

    def _row(self, found: Mapping[str, object]) -> Row | Fault:
        row: Row = {}
        for column, read in self._readers:
            if column not in found:
                has = ", ".join(f"`{key}`" for key in list(found)[:8]) or "nothing"
                hint = f"it has {has}; see `task.fields` in the recipe"
                return Fault(message=f"the row has no `{column}`", hint=hint)
            value = read(found[column])
            if isinstance(value, Fault):
                return value
            row[column] = value
            if value != found[column]:
                self.changed = True
        return row

    def _fault(self, row: Row, found: Mapping[str, object] | Fault, place: Place) -> Fault | None:
        """What is wrong with the parts of a row taken together, or with its labels."""
        column = self._column
        if "answers" in column:
            context, answers = row[column["context"]], row[column["answers"]]
            assert isinstance(context, str)
            assert isinstance(answers, dict)
            return place_fault(context, answers)
        if "tags" in column:
            wrong = _tags_fault(row[column["words"]], row[column["tags"]])
            if wrong is not None:
                return wrong
        if "label" in column:
            assert not isinstance(found, Fault)
            mixed = self._mixed(column["label"], found[column["label"]], place)
            if mixed is not None:
                return mixed
        return closed_set_fault(self._labels(row), self._closed) if self._closed else None

    def _mixed(self, name: str, value: object, place: Place) -> Fault | None:
        """Labels are all names or all numbers: 1 and "1" would be two kinds of the same thing."""
        for item in value if isinstance(value, list) else [value]:
            kind = kind_of(item)
            first, there = self._kinds.setdefault(name, (kind, place))
            if first != kind:
                return Fault(
                    message=f"`{name}` is {kind} here and {first} at {there}",
                    hint="a column has one type of value",
                )
        return None

    def _labels(self, row: Row) -> list[str]:
        return labels_of(row, self._column)

    def _count(self, row: Row, place: Place, raw: bytes) -> None:
        labels = self._labels(row)
        if labels:
            self.tally.add(labels, place)
            if "tags" in self._column:
                self._scheme.add(labels, place, raw)

    @staticmethod
    def _is_empty(value: object) -> bool:
        return not (value.strip() if isinstance(value, str) else value)


def _tags_fault(words: object, tags: object) -> Fault | None:
    """What is wrong with a row's words and tags taken together."""
    assert isinstance(words, list)
    assert isinstance(tags, list)
    hint = "each word has its tag"
    if len(words) != len(tags):
        numbers = f"{counted(len(words), 'word')} and {counted(len(tags), 'tag')}"
        return Fault(message=f"the row has {numbers}", hint=hint)
    if "" in tags or "" in words:
        return Fault(message=f"a {'tag' if '' in tags else 'word'} is empty", hint=hint)
    return None


def labels_of(row: Row, column: Mapping[str, str]) -> list[str]:
    """The labels or tags of a normal row; `column` is by part."""
    name = column.get("label") or column.get("tags")
    if name is None:
        return []
    value = row[name]
    return value if isinstance(value, list) else [str(value)]
