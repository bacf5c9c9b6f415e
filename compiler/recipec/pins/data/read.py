"""A recipe's data, pinned: its files, its labels, and what a user should know of them.

In: splits and what is wanted of their rows, the project's folder, the store. Out: `DataFacts`, or
every diagnostic at once. What was found out about the same bytes is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from recipec.errors import Diagnostic, RecipeError
from recipec.pins.data.check import RowCheck
from recipec.pins.data.faults import Faults, whole
from recipec.pins.data.normal import NORMAL_FORM, Overlap, Written, divide, write_split, write_whole
from recipec.pins.data.overall import empty_faults, label_faults
from recipec.pins.data.shares import counts_of
from recipec.pins.data.source import Source, stamp_of
from recipec.pins.data.wanted import Wanted
from recipec.pins.lockfile import DataFile, SourceFile
from recipec.recipe.formats import ENDINGS, format_of
from recipec.recipe.splits import Split
from recipec.store import Store, canonical, sha256

_RECORD_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The pinned splits, train first, and what is known of their rows."""

    files: tuple[DataFile, ...]
    labels: tuple[str, ...] = ()
    """Labels or tags in the order of the model's outputs."""
    label_counts: tuple[int, ...] = ()
    """Training rows (of tags: words) that have each of them."""
    sources: Mapping[str, Path]
    """Where each split's bytes lie, by digest: a file of the project or a blob of the store."""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Split:
    """A split as it is remembered: without `digest` its one source is taken as it is."""

    name: str
    rows: int
    digest: str
    size: int
    empty: int
    overlap: int


@dataclass(frozen=True, kw_only=True)
class _Known:
    splits: tuple[_Split, ...]
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]


def read_splits(
    splits: Sequence[Split], wanted: Wanted, *, project: Path, store: Store
) -> DataFacts:
    """Check and pin splits. Raises RecipeError with all that is wrong in their files."""
    sources = _sources(splits, wanted, project, store)
    key = _key(splits, sources, wanted)
    known = _remembered(store, key)
    if known is None:
        known = _read(splits, sources, wanted, store)
        _refuse_moved(sources)
        store.put_record("data", key, asdict(known))
    return _facts(known, sources, store)


def _sources(
    splits: Sequence[Split], wanted: Wanted, project: Path, store: Store
) -> dict[str, list[Source]]:
    """The files of each split that has its own, with their digests."""
    wrong = []
    found: dict[str, list[Source]] = {}
    for name, path in ((split.name, path) for split in splits for path in split.paths):
        form = format_of(path, wanted.format)
        if form is None:
            hint = f"known are {', '.join(ENDINGS)}; or say `domain.data.format`"
            wrong.append(whole(path, "the name does not tell the format", hint))
            continue
        file = project / path
        try:
            stamp = stamp_of(file)
            digest = store.digest_of(file)
        except OSError as error:
            wrong.append(_unreadable(path, error))
            continue
        source = Source(
            path=path, file=file, format=form, digest=digest, size=stamp[1], stamp=stamp
        )
        found.setdefault(name, []).append(source)
    if wrong:
        raise RecipeError(wrong)
    return found


def _refuse_moved(sources: Mapping[str, list[Source]]) -> None:
    """A file that was written while it was read is neither the old one nor the new one."""
    wrong = []
    for source in (source for some in sources.values() for source in some):
        try:
            moved = stamp_of(source.file) != source.stamp
        except OSError:
            moved = True
        if moved:
            message = "the file changed while it was read"
            wrong.append(whole(source.path, message, "run the command again"))
    if wrong:
        raise RecipeError(wrong)


def _unreadable(path: str, error: OSError) -> Diagnostic:
    if isinstance(error, FileNotFoundError):
        return whole(path, "no such file", "`domain.data` names files relative to the project")
    return whole(path, f"cannot be read: {error.strerror or error}")


def _key(splits: Sequence[Split], sources: Mapping[str, list[Source]], wanted: Wanted) -> str:
    """The digest of everything that the facts depend on but the files' places."""
    about = [
        [
            split.name,
            split.share,
            [[file.digest, asdict(file.format)] for file in sources.get(split.name, ())],
        ]
        for split in splits
    ]
    drawn = any(split.share is not None for split in splits)
    wish = asdict(wanted if drawn else replace(wanted, seed=0))
    return sha256(canonical([_RECORD_VERSION, NORMAL_FORM, about, wish]))


def _remembered(store: Store, key: str) -> _Known | None:
    try:
        known = msgspec.convert(store.record("data", key), _Known)
    except msgspec.ValidationError:
        return None
    there = all(not split.digest or store.has(split.digest) for split in known.splits)
    return known if there else None


def _read(
    splits: Sequence[Split], sources: Mapping[str, list[Source]], wanted: Wanted, store: Store
) -> _Known:
    """Read every row. The training rows come last: the others are looked for among them."""
    faults, overlap = Faults(), Overlap()
    checks = {name: RowCheck(wanted, faults) for name in sources}
    written: dict[str, Written] = {}
    for name in (name for name in sources if name != "train"):
        written[name] = write_split(
            name, sources[name], wanted, checks[name], overlap, faults, store
        )
    drawn = [split for split in splits if split.share is not None]
    if drawn:
        written |= _divided(
            drawn, sources["train"], wanted, checks["train"], overlap, faults, store
        )
    else:
        written["train"] = write_split(
            "train", sources["train"], wanted, checks["train"], overlap, faults, store
        )
    for name, check in checks.items():
        empty_faults(sources[name][0].path, check, wanted.max_lost, faults)
    if not faults and wanted.label_column is not None:
        label_faults({n: w.tally for n, w in written.items()}, sources, wanted, faults)
    faults.raise_any()
    counts = written["train"].tally.counts
    labels = wanted.labels if wanted.labels is not None else tuple(sorted(counts))
    return _Known(
        splits=tuple(
            _Split(
                name=split.name,
                rows=written[split.name].rows,
                digest=written[split.name].digest,
                size=written[split.name].size,
                empty=checks[split.name].empty if split.name in checks else 0,
                overlap=overlap.found.get(split.name, 0),
            )
            for split in splits
        ),
        labels=labels,
        label_counts=tuple(counts.get(label, 0) for label in labels),
    )


def _divided(
    drawn: Sequence[Split],
    sources: Sequence[Source],
    wanted: Wanted,
    check: RowCheck,
    overlap: Overlap,
    faults: Faults,
    store: Store,
) -> dict[str, Written]:
    """The training rows without those that other splits take a share of, and those splits."""
    with store.scratch() as folder:
        write_whole(folder / "rows", sources, wanted, check, faults)
        counts = counts_of(check.rows, [split.share or 0 for split in drawn])
        if not faults and sum(counts) >= check.rows:
            drawn_names = " and ".join(split.name for split in drawn)
            message = f"{check.rows} rows are too few to draw {drawn_names} from"
            faults.whole(sources[0].path, message, "name files for them, or leave them out")
        if faults:
            return {}
        names = [split.name for split in drawn]
        return divide(folder / "rows", names, counts, check.rows, wanted, overlap, store)


def _facts(known: _Known, sources: Mapping[str, list[Source]], store: Store) -> DataFacts:
    files: list[DataFile] = []
    places: dict[str, Path] = {}
    notices: list[str] = []
    for split in known.splits:
        read_from = sources.get(split.name, sources["train"])
        first = read_from[0]
        if split.digest:
            file = DataFile(
                split=split.name,
                path=f"{split.name}.jsonl",
                sha256=split.digest,
                size=split.size,
                rows=split.rows,
                normal_form=NORMAL_FORM,
                sources=tuple(
                    SourceFile(path=s.path, sha256=s.digest, size=s.size) for s in read_from
                ),
            )
            places[split.digest] = store.path(split.digest)
        else:
            file = DataFile(
                split=split.name,
                path=first.path,
                sha256=first.digest,
                size=first.size,
                rows=split.rows,
            )
            places[first.digest] = first.file
        files.append(file)
        notices += _notices(split)
    return DataFacts(
        files=tuple(files),
        labels=known.labels,
        label_counts=known.label_counts,
        sources=places,
        notices=tuple(notices),
    )


def _notices(split: _Split) -> list[str]:
    said = []
    if split.empty:
        said.append(f"{split.name}: {split.empty:,} empty rows are left out; {split.rows:,} stay")
    if split.overlap:
        said.append(
            f"{split.name}: {split.overlap:,} of its {split.rows:,} rows stand in train too, so"
            " its metrics say less about new texts"
        )
    return said
