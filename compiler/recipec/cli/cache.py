"""`recipec cache info|gc|verify`: the content store."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recipec.cli.collect import (
    Part,
    drop_idle_records,
    entries,
    locks_below,
    measure,
    needed,
    to_remove,
)
from recipec.cli.console import print_json, quiet_or_bars, say, size
from recipec.errors import MISMATCH, OK, EnvironmentLacks, UsageError
from recipec.filelocks import Taken, hold, use_of
from recipec.progress import Progress
from recipec.store import RECORD, Store

DAY = 86_400
"""Seconds."""
USUAL_AGE = 7 * DAY
_SECONDS = {"m": 60, "h": 3600, "d": DAY, "w": 7 * DAY}
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_OPTIONS = {
    "older_than": ("gc", "--older-than"),
    "keep": ("gc", "--keep"),
    "keep_locks": ("gc", "--keep-locks"),
    "dry_run": ("gc", "--dry-run"),
    "repair": ("verify", "--repair"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("action", choices=("info", "gc", "verify"))
    parser.add_argument(
        "--older-than",
        type=_age,
        metavar="AGE",
        help="gc: what came longer ago and nobody needs goes, such as 12h or 30d (7d)",
    )
    parser.add_argument(
        "--keep",
        type=_amount,
        metavar="SIZE",
        help="gc: the oldest that nobody needs goes until the store is no larger, such as 20GB",
    )
    parser.add_argument(
        "--keep-locks",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="gc: what the locks in these folders need stays, besides what was built here",
    )
    parser.add_argument("--dry-run", action="store_true", help="gc: say what would go")
    parser.add_argument(
        "--repair", action="store_true", help="verify: remove what is wrong; builds make it again"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _age(text: str) -> float:
    """An age in seconds, for argparse."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([mhdw])", text)
    if not found:
        raise argparse.ArgumentTypeError("a number and m, h, d or w, such as 30d")
    return float(found[1]) * _SECONDS[found[2]]


def _amount(text: str) -> int:
    """A number of bytes, for argparse."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?) ?([KMGT]?)B?", text, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError("a number and KB, MB, GB or TB, such as 20GB")
    return int(float(found[1]) * _BYTES[found[2].upper()])


def run(options: argparse.Namespace) -> int:
    """Do what was asked. `verify` gives exit code 4 when something is not what it should be."""
    for name, (action, flag) in _OPTIONS.items():
        if getattr(options, name) not in (None, False) and options.action != action:
            raise UsageError(
                f"{flag} says nothing to `cache {options.action}`",
                hint=f"it belongs to `recipec cache {action}`",
            )
    store = Store()
    if options.action == "info":
        return _info(store, as_json=options.json)
    if options.action == "gc":
        return _gc(store, options)
    with quiet_or_bars(options.json) as bars:
        return _verify(store, bars, repair=options.repair, as_json=options.json)


@contextmanager
def _nobody_building(store: Store) -> Iterator[None]:
    """A build may be about to use a blob that no finished build names yet.

    Raises EnvironmentLacks while one is running; builds that begin now wait.
    """
    try:
        with hold(use_of(store), wait=False):
            yield
    except Taken:
        raise EnvironmentLacks(
            "a build is using the store", hint="run `recipec cache gc` when it is done"
        ) from None


def _info(store: Store, *, as_json: bool) -> int:
    parts = {
        name: measure(store.root / name)
        for name in ("blobs", "records", "partial", "rootfs", "tmp")
    }
    if as_json:
        print_json(
            {
                "folder": str(store.root),
                "parts": {n: {"files": f, "bytes": b} for n, (f, b) in parts.items()},
            }
        )
        return OK
    print(store.root)
    for name, (files, used) in parts.items():
        print(f"  {name:8} {files:>8} files  {size(used):>10}")
    return OK


def _gc(store: Store, options: argparse.Namespace) -> int:
    """Remove what nobody needs and what is old, or too much."""
    age: float | None = options.older_than
    if age is None and options.keep is None:
        age = USUAL_AGE
    kept = needed(store, locks_below(options.keep_locks or ()))
    before = None if age is None else time.time() - age
    if options.dry_run:
        going = to_remove(store, kept, before=before, at_most=options.keep)
    else:
        with _nobody_building(store):
            kept |= needed(store)  # of a build that has ended meanwhile
            going = to_remove(store, kept, before=before, at_most=options.keep)
            for part in going:
                _remove(part.path)
            drop_idle_records(store)
    _tell(store, going, len(kept), options)
    return OK


def _tell(store: Store, going: list[Part], kept: int, options: argparse.Namespace) -> None:
    freed = sum(part.bytes for part in going)
    if options.json:
        plain: dict[str, object] = {"removed": len(going), "bytes": freed, "kept": kept}
        if options.dry_run:
            names = [part.path.relative_to(store.root).as_posix() for part in going]
            plain |= {"dry_run": True, "paths": names}
        print_json(plain)
        return
    for part in going if options.dry_run else ():
        print(f"{size(part.bytes):>10}  {part.path.relative_to(store.root).as_posix()}")
    verb = "would remove" if options.dry_run else "removed"
    say(f"{verb} {len(going)} blobs, downloads and trees ({size(freed)}); {kept} are in use")
    used = sum(measure(store.root / name)[1] for name in ("blobs", "partial", "rootfs", "tmp"))
    left = used - (freed if options.dry_run else 0)
    if options.keep is not None and left > options.keep:
        say(f"note: {size(left)} stay: builds and locks on this machine need them")


def _remove(path: Path) -> None:
    """Remove a file, or a tree that may hold folders without write permission."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for here, folders, _ in os.walk(path):
        for name in folders:
            inner = Path(here) / name
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(path)


def _verify(store: Store, progress: Progress, *, repair: bool, as_json: bool) -> int:
    """Read every blob and record; what is not what it should be can be made or had again."""
    digests = list(store.digests())
    task = progress.begin("reading blobs", sum(store.path(d).stat().st_size for d in digests))
    wrong: list[str] = []
    for digest in digests:
        path = store.path(digest)
        try:
            if not store.verified(digest):
                wrong.append(digest)
            progress.advance(task, path.stat().st_size)
        except FileNotFoundError:
            continue  # removed meanwhile: others use the store too
    progress.end(task)
    records = list(store.records())
    damaged = [path for path, plain in records if plain is None]
    broken = list(_broken_promises(store, records, wrong, progress))
    for path in (*map(store.path, wrong), *damaged, *broken) if repair else ():
        path.unlink(missing_ok=True)
    names = [path.relative_to(store.root).as_posix() for path in damaged]
    lies = [path.relative_to(store.root).as_posix() for path in broken]
    parts = sum(path.suffix != ".lock" for path in entries(store.root / "partial"))
    if as_json:
        plain = {"blobs": len(digests), "wrong": wrong, "records": len(records)}
        plain |= {"damaged": names, "broken_promises": lies}
        print_json({**plain, "unfinished": parts, "repaired": repair})
    else:
        after = "removed; the next build makes it again" if repair else "`--repair` removes it"
        for name in (*wrong, *names):
            say(f"{name}: its bytes have changed: {after}")
        for name in lies:
            say(f"{name}: the layer does not inflate to what a lock promised: {after}")
        count = len(wrong) + len(damaged) + len(broken)
        say(f"{len(digests)} blobs and {len(records)} records read, {count} wrong")
        if parts:
            say(f"{parts} downloads are unfinished: they are checked when they are whole")
    return MISMATCH if wrong or damaged or broken else OK


def _broken_promises(
    store: Store, records: Sequence[tuple[Path, Any]], wrong: Sequence[str], progress: Progress
) -> Iterator[Path]:
    """Records of layers whose diff_id was a lock's word, and a false one; a true one is noted."""
    from recipec.image.contents import digest_inside

    told = {path: plain for path, plain in records if isinstance(plain, dict)}
    there = {path: plain for path, plain in told.items() if plain.get("promised")}
    task = progress.begin("inflating layers", sum(int(plain["size"]) for plain in there.values()))
    for path, plain in there.items():
        if plain["digest"] not in wrong and store.has(plain["digest"]):
            if digest_inside(store.path(plain["digest"])) != plain["diff_id"]:
                yield path
            else:
                known = {name: plain[name] for name in ("digest", "diff_id", "size")}
                store.put_record("layers", path.name.removesuffix(RECORD), known)
        progress.advance(task, int(plain["size"]))
    progress.end(task)
