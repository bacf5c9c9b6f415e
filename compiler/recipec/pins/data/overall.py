"""What can be said of data only when all of it was read: empty rows, labels between splits.

In: the checks and tallies of every split. Out: faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recipec.pins.data.check import RowCheck
from recipec.pins.data.faults import MOST_DIAGNOSTICS, Fault, Faults
from recipec.pins.data.labels import Tally
from recipec.pins.data.source import Source
from recipec.pins.data.wanted import Wanted

_UNLEARNT = "a model learns only the labels it is trained on"


def empty_faults(path: str, check: RowCheck, max_lost: float, faults: Faults) -> None:
    """A split of which too many rows are empty."""
    rows = check.rows + check.empty
    if not check.empty or faults:
        return
    if check.empty > max_lost * rows or not check.rows:
        hint = f"the first is {check.first_empty}; fill or remove them"
        if check.rows:
            hint += ", or raise training.max_lost"
        message = (
            f"{check.empty:,} of {rows:,} rows are empty, and training.max_lost allows"
            f" {max_lost:g} of them"
        )
        faults.whole(path, message, hint)


def label_faults(
    tallies: Mapping[str, Tally],
    sources: Mapping[str, Sequence[Source]],
    wanted: Wanted,
    faults: Faults,
) -> None:
    """Too few labels to choose from, or labels that only validation or test rows have."""
    known = tallies["train"].counts
    train = sources["train"][0].path
    tagged = any(part == "tags" for part, _ in wanted.columns)
    if wanted.multi_label and not known:
        faults.whole(train, "no row has a label", "classification needs at least one label")
    elif not wanted.multi_label and len(known) < 2:
        what = "every word has the same tag" if tagged else "every row has the same label"
        faults.whole(train, what, "classification needs at least two labels")
    word = "tag" if tagged else "label"
    for split, tally in tallies.items():
        unknown = [label for label in tally.counts if label not in known]
        for label in unknown[:MOST_DIAGNOSTICS]:
            if label in tally.first:
                what = train if len(sources["train"]) == 1 else "the training files"
                fault = Fault(message=f"{word} {label!r} does not occur in {what}", hint=_UNLEARNT)
                faults.add(tally.first[label], fault)
            else:
                message = f"every row with the {word} {label!r} was drawn into {split}"
                hint = f"name a file of {split} rows, or let another training.seed draw them"
                faults.whole(train, message, hint)
        if len(unknown) > MOST_DIAGNOSTICS:
            path = sources.get(split, sources["train"])[0].path
            faults.whole(path, f"{len(unknown) - MOST_DIAGNOSTICS:,} more {word}s are unknown")
