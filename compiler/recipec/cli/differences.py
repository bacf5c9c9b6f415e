"""Differences in words: of two recipes, two locks, two images.

In: paths. Out: sentences, sorted. Nothing is written and nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipec.errors import Diagnostic, EnvironmentLacks, RecipecError, RecipeError
from recipec.store import Store


def of_recipes(one: Path, other: Path, store: Store) -> list[str]:
    """Every value that differs; comments, order and layout do not count."""
    from recipec.cli.frontend import load
    from recipec.cli.project import find_project

    left, right = (_flat(asdict(load(find_project(path), store).recipe)) for path in (one, other))
    return [
        f"{key}: {_said(left.get(key))} -> {_said(right.get(key))}"
        for key in sorted({*left, *right})
        if left.get(key) != right.get(key)
    ]


def of_locks(one: Path, other: Path) -> list[str]:
    """Which wheel, package, file or expectation moved."""
    left, right = _lock(one), _lock(other)
    found: list[str] = []
    for key in ("recipe", "recipe_digest", "uv", "exclude_newer", "layer_format"):
        if left.get(key) != right.get(key):
            found.append(f"{key}: {_said(left.get(key))} -> {_said(right.get(key))}")
    for key, value in _changes(left["platform"], right["platform"]):
        found.append(f"platform {key}: {value}")
    found += _rows("wheel", left["wheels"], right["wheels"], "name", _versioned)
    found += _rows("package", left["debs"], right["debs"], "package", _versioned)
    found += _rows("model file", left["model"]["files"], right["model"]["files"], "path", _bytes)
    found += _rows("data", left["data"], right["data"], "split", _counted)
    for key in ("source", "commit", "license"):
        if left["model"].get(key) != right["model"].get(key):
            found.append(
                f"model {key}: {_said(left['model'].get(key))} -> {_said(right['model'].get(key))}"
            )
    for section in ("image", "outputs"):
        before, after = _flat(left.get(section) or {}), _flat(right.get(section) or {})
        found += [f"{section} {key}: {value}" for key, value in _changes(before, after)]
    return found


def of_images(one: Path, other: Path) -> list[str]:
    """Which layers differ, and in them which files."""
    left, right = _Image(one), _Image(other)
    found = [f"config {key}: {value}" for key, value in _changes(left.settings, right.settings)]
    gone = [layer for layer in left.layers if layer not in right.layers]
    come = [layer for layer in right.layers if layer not in left.layers]
    for image, layers, mark in ((left, gone, "-"), (right, come, "+")):
        for layer in layers:
            found.append(f"{mark} layer {image.names[layer]} {layer[:19]}")
    before, after = left.files(gone), right.files(come)
    for path in sorted({*before, *after}):
        if path not in after:
            found.append(f"  {path}: removed")
        elif path not in before:
            found.append(f"  {path}: added")
        elif before[path] != after[path]:
            found.append(f"  {path}: {_file_change(before[path], after[path])}")
    return found


class _Image:
    """The newest image of an OCI layout on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._read()
        except (LookupError, OSError, TypeError, ValueError) as error:
            raise _unreadable(folder, error) from error

    def _read(self) -> None:
        index = json.loads((self._folder / "index.json").read_bytes())
        manifest = json.loads(self._blob(index["manifests"][0]["digest"]).read_bytes())
        config = json.loads(self._blob(manifest["config"]["digest"]).read_bytes())
        self.settings = _flat({"architecture": config["architecture"], **config["config"]})
        self.layers: list[str] = config["rootfs"]["diff_ids"]
        history = [row for row in config.get("history", ()) if not row.get("empty_layer")]
        said = [str(row.get("comment") or row.get("created_by") or "") for row in history]
        self.names = dict(zip(self.layers, [*said, *[""] * len(self.layers)], strict=False))
        blobs = [layer["digest"] for layer in manifest["layers"]]
        self._blobs = dict(zip(self.layers, blobs, strict=True))

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / digest.replace(":", "/", 1)

    def files(self, layers: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """Path to (kind, mode, size, link, sha256) of everything in these layers."""
        found: dict[str, tuple[Any, ...]] = {}
        try:
            for layer in layers:
                found |= _files_of(self._blob(self._blobs[layer]))
        except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
            raise _unreadable(self._folder, error) from error
        return found


def _files_of(blob: Path) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(blob, "r|gz") as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            digest = hashlib.sha256(stream.read()).hexdigest() if stream else ""
            about = (member.type, member.mode, member.size, member.linkname, digest)
            found[member.name] = about
    return found


def _unreadable(folder: Path, error: Exception) -> RecipecError:
    reason = f"{type(error).__name__}: {error}"
    hint = "build or fetch the image again"
    return EnvironmentLacks(f"{folder} is not an image that can be read ({reason})", hint=hint)


def _file_change(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    said = []
    if before[0] != after[0]:
        said.append("another kind of file")
    if before[1] != after[1]:
        said.append(f"mode {before[1]:o} -> {after[1]:o}")
    if before[2] != after[2]:
        said.append(f"{before[2]:,} -> {after[2]:,} bytes")
    elif before[4] != after[4]:
        said.append(f"other content in {after[2]:,} bytes")
    if before[3] != after[3]:
        said.append(f"link {before[3]} -> {after[3]}")
    return ", ".join(said)


def _lock(path: Path) -> dict[str, Any]:
    from recipec.pins.lockfile import from_json

    try:
        data = path.read_bytes()
        from_json(data)
        plain: dict[str, Any] = json.loads(data)
    except (OSError, ValueError) as error:
        message = f"not a lock that this version can read: {error}"
        raise RecipeError(
            [Diagnostic(file=str(path), line=0, column=0, message=message)]
        ) from error
    return plain


def _rows(
    noun: str,
    left: list[dict[str, Any]],
    right: list[dict[str, Any]],
    key: str,
    say: Callable[[Mapping[str, Any], Mapping[str, Any]], str],
) -> list[str]:
    before, after = ({row[key]: row for row in rows} for rows in (left, right))
    found = []
    for name in sorted({*before, *after}):
        if name not in after:
            found.append(f"{noun} {name}: removed")
        elif name not in before:
            found.append(f"{noun} {name}: added {after[name].get('version', '')}".rstrip())
        elif before[name] != after[name]:
            found.append(f"{noun} {name}: {say(before[name], after[name])}")
    return found


def _versioned(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before["version"] != after["version"]:
        return f"{before['version']} -> {after['version']}"
    if before["file"] == after["file"]:
        return f"{after['version']}, but other content in a file of the same name"
    return f"{after['version']}, but another file ({before['file']} -> {after['file']})"


def _bytes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before["size"] != after["size"]:
        return f"{before['size']:,} -> {after['size']:,} bytes"
    return f"other content in {after['size']:,} bytes"


def _counted(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before["sha256"] == after["sha256"]:
        return "the same rows, from files with another name or other columns"
    if before["rows"] != after["rows"]:
        return f"{before['rows']:,} -> {after['rows']:,} rows"
    return "the rows changed, their number did not"


def _changes(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            yield key, f"{_said(left.get(key))} -> {_said(right.get(key))}"


def _flat(value: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat |= _flat(item, f"{lead}{key}.")
        else:
            flat[f"{lead}{key}"] = item
    return flat


def _said(value: object) -> str:
    if value is None:
        return "left open"
    text = str(value)
    return f"{text[:19]}..." if text.startswith("sha256:") else text
