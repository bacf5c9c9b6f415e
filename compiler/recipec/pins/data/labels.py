"""Labels and tags: counted, and their scheme checked.

In: each row's labels or tags with its place. Out: how often each occurs and where first, and what
is wrong with them over all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recipec.pins.data.faults import MOST_DIAGNOSTICS, Fault, Faults, Place
from recipec.pins.data.source import stop

MOST_LABELS = 10_000
"""Different labels; more of them are no labels."""


class Tally:
    """How often each label occurs in a split, and where first."""

    def __init__(self, column: str) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, Place] = {}
        self._column = column

    def add(self, labels: Sequence[str], place: Place | None = None) -> None:
        """Count the labels of a row. Raises RecipeError when there are too many different ones."""
        for label in labels:
            if label in self.counts:
                self.counts[label] += 1
                continue
            self.counts[label] = 1
            if place is not None:
                self.first[label] = place
                if len(self.counts) > MOST_LABELS:
                    message = f"more than {MOST_LABELS:,} different values of `{self._column}`"
                    hint = "is it the column with the labels? `task.fields` names it"
                    raise stop(place.path, message, hint)


def closed_set_fault(labels: Sequence[str], known: Mapping[str, int]) -> Fault | None:
    """A label that is not of the recipe's set."""
    for label in labels:
        if label not in known:
            import difflib  # only for what is wrong

            near = difflib.get_close_matches(label, known, n=1, cutoff=0.6)
            listed = ", ".join(list(known)[:8])
            hint = f"did you mean {near[0]!r}?" if near else f"`task.labels` has {listed}"
            return Fault(message=f"label {label!r} is not one of `task.labels`", hint=hint)
    return None


class Scheme:
    """BIO (Ramshaw and Marcus 1995, as CoNLL-2002 writes it: every span begins with B-).

    Whether tags are BIO is known only when one with a prefix was met, so faults wait until then.
    Tags of which none begins with B- or I- are plain tags of words, such as parts of speech.
    """

    def __init__(self) -> None:
        self.prefixed = False
        self._waiting: list[tuple[Place, Fault, bytes]] = []
        self._count = 0

    def add(self, tags: Sequence[str], place: Place, raw: bytes) -> None:
        """Look at the tags of a row."""
        if not self.prefixed:
            self.prefixed = any(tag.startswith(("B-", "I-")) for tag in tags)
        fault = bio_fault(tags)
        if fault is not None:
            self._count += 1
            if self._count <= MOST_DIAGNOSTICS:
                self._waiting.append((place, fault, raw[:1024]))

    def report(self, faults: Faults) -> None:
        """Add what waited, if the tags turned out to be BIO."""
        if not self.prefixed:
            return
        for place, fault, raw in self._waiting:
            faults.add(place, fault, raw)
        if self._count > len(self._waiting):
            more = self._count - len(self._waiting)
            faults.whole(self._waiting[0][0].path, f"the tags of {more:,} more rows are not BIO")


def bio_fault(tags: Sequence[str]) -> Fault | None:
    """The first tag of a row that BIO does not allow."""
    inside = ""
    for number, tag in enumerate(tags, start=1):
        prefix, _, kind = tag.partition("-")
        if tag == "O":
            inside = ""
        elif prefix not in {"B", "I"} or not kind:
            return Fault(
                message=f"tag {number} of the row, {tag!r}, is not BIO",
                hint="other tags of the data are: a tag is O, B-TYPE or I-TYPE",
            )
        elif prefix == "I" and kind != inside:
            before = f"follows {tags[number - 2]!r}" if number > 1 else "is the row's first"
            return Fault(
                message=f"tag {number} of the row, {tag!r}, {before}",
                hint=f"a span begins with B-{kind}; I-{kind} goes on with one",
            )
        else:
            inside = kind
    return None
