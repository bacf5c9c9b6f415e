"""What of the store may go: by who needs it, how old it is, how much there is.

In: a store, and what to keep. Out: what goes, in the order in which it goes. Nothing is removed
here but records that say nothing any more. What a finished build or a lock needs never goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.errors import UsageError
from recipec.store import DIGEST, Store
from recipec.tempfiles import left_behind


@dataclass(frozen=True, kw_only=True)
class Part:
    """A blob, a part of a download, an unpacked layer, or a file that a killed process left."""

    path: Path
    bytes: int
    came: float
    """When it came into the store, in seconds since 1970; 0 for what nobody can use any more."""


def measure(folder: Path) -> tuple[int, int]:
    """Files below a folder and their bytes."""
    files = used = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # gone meanwhile: others use the store too
                used += (Path(here) / name).lstat().st_size
                files += 1
    return files, used


def to_remove(
    store: Store, kept: set[str], *, before: float | None, at_most: int | None
) -> list[Part]:
    """What goes: what came `before` a time, and then the oldest until there are `at_most` bytes."""
    parts = sorted(_parts(store, kept), key=lambda part: (part.came, part.path.name))
    going = [part for part in parts if not part.came or (before is not None and part.came < before)]
    if at_most is not None:
        left = sum(measure(store.root / name)[1] for name in ("blobs", "partial", "rootfs", "tmp"))
        left -= sum(part.bytes for part in going)
        for part in (part for part in parts if part not in going):
            if left <= at_most:
                break
            going.append(part)
            left -= part.bytes
    return going


def _parts(store: Store, kept: set[str]) -> Iterator[Part]:
    """All that nobody needs."""
    for digest in store.digests():
        if digest not in kept:
            yield from _part(store.path(digest))
    for path in entries(store.root / "partial"):
        yield from _part(path)
    for tree in entries(store.root / "rootfs"):
        # Beside the trees lie their locks, `.lock-HEX`; they are empty and stay.
        if not tree.name.startswith(".lock-") and f"sha256:{tree.name}" not in kept:
            yield from _part(tree)
    for path in left_behind(store.root / "tmp"):
        yield from _part(path, useless=True)


def _part(path: Path, *, useless: bool = False) -> Iterator[Part]:
    with suppress(FileNotFoundError):
        about = path.lstat()
        used = measure(path)[1] if path.is_dir() else about.st_size
        came = 0.0 if useless else max(about.st_mtime, about.st_ctime)
        yield Part(path=path, bytes=used, came=came)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where there is none."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def needed(store: Store, locks: Iterable[Path] = ()) -> set[str]:
    """Digests that builds and locks name: blobs, inputs, diff_ids.

    These are the builds and locks of every project that has used this store, as long as they are
    where they were, and further `locks`.
    """
    found: set[str] = set()
    for _, plain in store.records("builds"):
        place = plain if isinstance(plain, dict) else {}
        found |= _digests_in(_json(Path(str(place.get("state", "")))).get("image"))
        found |= _digests_in(_json(Path(str(place.get("lock", "")))))
    for path in locks:
        found |= _digests_in(_json(path))
    return found | {digest for one in found for digest in _layers(store, one)}


def _layers(store: Store, digest: str) -> set[str]:
    """What a manifest names, if the digest is one's: a lock has it and not the layers' blobs."""
    path = store.path(digest)
    with suppress(OSError):
        if path.stat().st_size < 1 << 20:
            plain = _json(path)
            return _digests_in([plain.get("layers"), plain.get("config")])
    return set()


def locks_below(folders: Iterable[Path]) -> list[Path]:
    """Every lock in these folders and below. Raises UsageError where there is no folder or none."""
    found = []
    for folder in folders:
        locks = sorted(folder.rglob("*.lock.json"))
        if not locks:
            what = "holds no *.lock.json" if folder.is_dir() else "is no folder"
            raise UsageError(
                f"{folder} {what}", hint="name a folder of locks, such as a project's recipes/"
            )
        found += locks
    return found


def drop_idle_records(store: Store) -> None:
    """Remove records of builds, layers and files that are no longer there."""
    for path, plain in store.records():
        place = plain if isinstance(plain, dict) else {}
        if path.parent.name == "builds":
            idle = not any(Path(str(place.get(name, ""))).is_file() for name in ("state", "lock"))
        elif path.parent.name == "layers":
            idle = not _has(store, place.get("digest"))
        elif path.parent.name == "files":
            idle = not Path(str(place.get("path", ""))).is_file()
        else:
            idle = plain is None
        if idle:
            path.unlink(missing_ok=True)


def _has(store: Store, digest: object) -> bool:
    return digest in _digests_in(digest) and store.has(str(digest))


def _digests_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {d for item in value.values() for d in _digests_in(item)}
    if isinstance(value, list):
        return {d for item in value for d in _digests_in(item)}
    return {value} if isinstance(value, str) and DIGEST.fullmatch(value) else set()


def _json(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}
