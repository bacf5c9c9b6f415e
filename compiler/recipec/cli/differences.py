"""Differences in words: of two recipes, two locks.

In: paths. Out: sentences, sorted. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipec.errors import Diagnostic, RecipeError
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
    bases = [lock.get("base") or {} for lock in (left, right)]
    for key in ("repository", "digest", "manifest", "interpreter", "python", "glibc"):
        if bases[0].get(key) != bases[1].get(key):
            found.append(f"base {key}: {_said(bases[0].get(key))} -> {_said(bases[1].get(key))}")
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
