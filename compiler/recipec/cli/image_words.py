"""The difference of two images in words, and as JSON.

In: what `recipec.image.compare` found. Out: lines for people, of many files only the first; plain
values with every file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from recipec.image.compare import NONE, FileChange, ImageDifference, LayerChange, PackageChange
from recipec.image.contents import Entry
from recipec.image.opened import OpenedLayer

SHOWN = 20
"""Files that a person is shown of one package, or of one layer's other files."""


def lines(found: ImageDifference) -> list[str]:
    """The difference for people: a line each, of many files only the first."""
    said = [
        f"config {key}: {_value(before)} -> {_value(after)}"
        for key, (before, after) in found.config.items()
    ]
    for change in found.layers:
        said += _layer_lines(change)
    if found.reordered:
        said.append("the layers are the same, in another order")
    if found.recompressed:
        said.append("layers hold the same files, compressed otherwise")
    if found.layers and not found.files_compared:
        said.append("files are not compared: the layers are in a registry")
    return said


def _layer_lines(change: LayerChange) -> Iterator[str]:
    old, new = change.before, change.after
    shown = new or old
    assert shown is not None
    name = shown.origin.kind or shown.origin.name
    if shown.origin.kind and len(shown.origin.packages) <= 1:
        name = shown.origin.shown
    if old is None:
        yield f"layer {name}: added {_named(new)}"
    elif new is None:
        yield f"layer {name}: removed {_named(old)}"
    else:
        yield f"layer {name}: {_named(old)} -> {_named(new)}"
    for package in change.packages:
        yield from _package_lines(package)


def _named(layer: OpenedLayer | None) -> str:
    return f"{layer.diff_id[:19]} ({layer.size:,} bytes)" if layer is not None else ""


def _package_lines(package: PackageChange) -> Iterator[str]:
    lead = "  "
    if package.name != NONE:
        yield f"  package {package.name}: {_versions(package)}{_counted(package.files)}"
        lead = "    "
    # All files of a package that came or went came or went with it.
    if package.name != NONE and not (package.before and package.after):
        return
    for change in package.files[:SHOWN]:
        yield f"{lead}{change.path}: {_file_said(change)}"
    if len(package.files) > SHOWN:
        yield f"{lead}... and {len(package.files) - SHOWN:,} more files; --json lists them all"


def _versions(package: PackageChange) -> str:
    if not package.before:
        return f"added {package.after}".strip()
    if not package.after:
        return f"removed {package.before}".strip()
    if package.before == package.after:
        return f"{package.after}, the same version"
    return f"{package.before} -> {package.after}"


def _counted(files: Sequence[FileChange]) -> str:
    added = sum(1 for change in files if change.before is None)
    removed = sum(1 for change in files if change.after is None)
    counts = {"added": added, "removed": removed, "changed": len(files) - added - removed}
    said = [f"{count:,} {verb}" for verb, count in counts.items() if count]
    return f" (files: {', '.join(said)})" if said else ""


def _value(value: object) -> str:
    return "left open" if value is None else str(value)


def to_plain(found: ImageDifference) -> dict[str, Any]:
    """The difference as JSON, with every file."""
    return {
        "config": {key: {"before": b, "after": a} for key, (b, a) in found.config.items()},
        "layers": [_layer_plain(change) for change in found.layers],
        "reordered": found.reordered,
        "recompressed": found.recompressed,
        "files_compared": found.files_compared,
    }


def _layer_plain(change: LayerChange) -> dict[str, Any]:
    return {
        "before": _one_plain(change.before),
        "after": _one_plain(change.after),
        "packages": [
            {
                "name": package.name or None,
                "before": package.before or None,
                "after": package.after or None,
                "files": [
                    {
                        "path": file.path,
                        "said": _file_said(file),
                        "before": _entry_plain(file.before),
                        "after": _entry_plain(file.after),
                    }
                    for file in package.files
                ],
            }
            for package in change.packages
        ],
    }


def _one_plain(layer: OpenedLayer | None) -> dict[str, Any] | None:
    if layer is None:
        return None
    return {
        "kind": layer.origin.kind,
        "name": layer.origin.name,
        "digest": layer.digest,
        "diff_id": layer.diff_id,
        "size": layer.size,
    }


def _entry_plain(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "kind": entry.kind,
        "mode": f"{entry.mode:o}",
        "size": entry.size,
        "target": entry.target or None,
        "sha256": entry.digest or None,
    }


def _file_said(change: FileChange) -> str:
    if change.before is None:
        return "added"
    if change.after is None:
        return "removed"
    return ", ".join(_said(change.before, change.after))


def _said(before: Entry, after: Entry) -> Iterator[str]:
    if before.kind != after.kind:
        yield f"{before.kind} -> {after.kind}"
    if before.mode != after.mode:
        yield f"mode {before.mode:o} -> {after.mode:o}"
    if before.size != after.size:
        yield f"{before.size:,} -> {after.size:,} bytes"
    elif before.digest != after.digest and before.kind == after.kind:
        yield f"other content in {after.size:,} bytes"
    if before.target != after.target:
        yield f"link {before.target or 'none'} -> {after.target or 'none'}"
