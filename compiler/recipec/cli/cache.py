"""`recipec cache info|gc|verify`: the content store."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recipec.cli.console import print_json, quiet_or_bars, say, size
from recipec.errors import MISMATCH, OK, EnvironmentLacks
from recipec.filelocks import Taken, hold, use_of
from recipec.progress import Progress
from recipec.store import Store

DAY = 86_400
"""Seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("action", choices=("info", "gc", "verify"))
    parser.add_argument(
        "--days",
        type=_days,
        default=7,
        metavar="N",
        help="gc keeps what is younger than this, used or not (7)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _days(text: str) -> float:
    """A number of days, for argparse. A NaN or a negative one would take what is being made."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError("a number of days, 0 or more")
    return number


def run(options: argparse.Namespace) -> int:
    """Do what was asked. `verify` gives exit code 4 when a blob is not what its name says."""
    store = Store()
    if options.action == "info":
        return _info(store, as_json=options.json)
    if options.action == "gc":
        with _nobody_building(store):
            return _gc(store, days=options.days, as_json=options.json)
    with quiet_or_bars(options.json) as bars:
        return _verify(store, bars, as_json=options.json)


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
        name: _measure(store.root / name)
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


def _measure(folder: Path) -> tuple[int, int]:
    files = used = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # gone meanwhile: others use the store too
                used += (Path(here) / name).lstat().st_size
                files += 1
    return files, used


def _gc(store: Store, *, days: float, as_json: bool) -> int:
    """Remove what no build folder or lock on this machine needs and nobody touched lately."""
    kept = reachable(store)
    limit = time.time() - days * DAY
    count = freed = 0
    for path in _candidates(store, kept):
        try:
            about = path.lstat()
        except FileNotFoundError:
            continue
        if max(about.st_mtime, about.st_ctime) > limit:
            continue
        count += 1
        freed += about.st_size if path.is_file() else _measure(path)[1]
        if path.is_dir():
            _remove_tree(path)
        else:
            path.unlink(missing_ok=True)
    if as_json:
        print_json({"removed": count, "bytes": freed, "kept": len(kept)})
    else:
        say(f"removed {count} blobs, downloads and trees ({size(freed)}); {len(kept)} are in use")
    return OK


def _candidates(store: Store, kept: set[str]) -> Iterator[Path]:
    for digest in store.digests():
        if digest not in kept:
            yield store.path(digest)
    for part in ("partial", "tmp"):
        yield from _entries(store.root / part)
    for tree in _entries(store.root / "rootfs"):
        if not any(tree.name.startswith(digest[7:]) for digest in kept):
            yield tree


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove_tree(path: Path) -> None:
    """Remove a tree that may hold folders without write permission, as unpacked layers do."""
    for here, folders, _ in os.walk(path):
        for name in folders:
            inner = Path(here) / name
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(path)


def reachable(store: Store) -> set[str]:
    """Digests that finished builds on this machine still name: blobs, inputs, diff_ids."""
    kept: set[str] = set()
    for record in _entries(store.root / "records" / "builds"):
        plain = _json(record)
        state = _json(Path(str(plain.get("state", ""))))
        if not state:
            record.unlink(missing_ok=True)
            continue
        kept |= _digests_in(state.get("image"))
        kept |= _digests_in(_json(Path(str(plain.get("lock", "")))))
    return kept


def _digests_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {d for item in value.values() for d in _digests_in(item)}
    if isinstance(value, list):
        return {d for item in value for d in _digests_in(item)}
    return {value} if isinstance(value, str) and value.startswith("sha256:") else set()


def _json(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _verify(store: Store, progress: Progress, *, as_json: bool) -> int:
    """Read every blob; what is not what its name says is removed, since it can be had again."""
    digests = list(store.digests())
    task = progress.begin("reading blobs", sum(store.path(d).stat().st_size for d in digests))
    wrong = []
    for digest in digests:
        if not store.verified(digest):
            wrong.append(digest)
        progress.advance(task, store.path(digest).stat().st_size)
    progress.end(task)
    for digest in wrong:
        store.path(digest).unlink()
    if as_json:
        print_json({"blobs": len(digests), "wrong": wrong})
    else:
        for digest in wrong:
            say(f"removed {digest}: its bytes had changed; the next build makes it again")
        say(f"{len(digests)} blobs read, {len(wrong)} wrong")
    return MISMATCH if wrong else OK
