"""Several unpacked layers as one root, without copying a file.

In: trees, bottom first, and the places where other things will be mounted. Out: `Step`s that a
runner carries out on an empty root: make a folder, bind a file or folder, make a symlink. A folder
that only one layer has is bound whole; one that several have is made anew and filled entry by
entry, the upper layer's entry winning. So an edited recipe costs a few mounts, not a new tree, and
no overlay file system is needed. It reads folder listings and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from recipec.engines.unpack import Tree


@dataclass(frozen=True, kw_only=True)
class Step:
    """One move: `path` is where, `source` the host's path to bind or the symlink's target."""

    kind: Literal["folder", "bind", "symlink"]
    path: str
    source: str = ""


def union(trees: Sequence[Tree], *, places: Iterable[str]) -> tuple[Step, ...]:
    """The steps, parents before children, siblings sorted.

    `places` are absolute paths that must exist as real folders for later mounts.
    """
    wanted = {place.strip("/") for place in places}
    parents = {
        "/".join(parts[:count])
        for parts in (place.split("/") for place in wanted)
        for count in range(len(parts))
    }
    top_first = list(reversed(trees))
    steps = [*_merge("", top_first, wanted, parents | wanted)]
    made = {step.path for step in steps}
    for place in sorted(parents | wanted):
        if place and f"/{place}" not in made:
            steps.append(Step(kind="folder", path=f"/{place}"))
    return tuple(steps)


def _merge(path: str, trees: list[Tree], wanted: set[str], explode: set[str]) -> Iterator[Step]:
    """The entries of one folder that is made anew; `trees` have it, top first."""
    entries = _entries(path, trees)
    for name in sorted(entries):
        inner = f"{path}/{name}" if path else name
        owners, entry = entries[name]
        if not owners:
            if inner in explode:
                continue  # a mount goes here: the folder is made instead
            if entry.is_symlink():
                target = os.readlink(entry.path)  # noqa: PTH115 - an os.DirEntry
                yield Step(kind="symlink", path=f"/{inner}", source=target)
            else:
                yield Step(kind="bind", path=f"/{inner}", source=entry.path)
        elif inner in wanted:
            yield Step(kind="folder", path=f"/{inner}")
        elif len(owners) == 1 and inner not in explode:
            yield Step(kind="bind", path=f"/{inner}", source=entry.path)
        else:
            yield Step(kind="folder", path=f"/{inner}")
            yield from _merge(inner, owners, wanted, explode)


def _entries(path: str, trees: list[Tree]) -> dict[str, tuple[list[Tree], os.DirEntry[str]]]:
    """Name to the trees that have it as a folder (none: a file or link) and its topmost entry."""
    found: dict[str, tuple[list[Tree], os.DirEntry[str]]] = {}
    closed: set[str] = set()
    for tree in trees:
        with os.scandir(f"{tree.folder}/{path}") as listing:
            for entry in listing:
                name = entry.name
                if name in closed:
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    if name not in found:
                        found[name] = ([], entry)
                    closed.add(name)
                elif name in found:
                    found[name][0].append(tree)
                else:
                    found[name] = ([tree], entry)
        prefix = f"{path}/" if path else ""
        closed.update(
            gone.removeprefix(prefix)
            for gone in tree.removed
            if gone.startswith(prefix) and "/" not in gone.removeprefix(prefix)
        )
        if path in tree.opaque:
            break
        closed.update(name for name in found if f"{prefix}{name}" in tree.opaque)
    return found
