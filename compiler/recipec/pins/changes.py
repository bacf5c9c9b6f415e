"""What differs between two locks, in words.

In: two locks. Out: one line for each difference, in the order of the lock's fields. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from recipec.pins.lockfile import BaseImage, Deb, Lock, Platform, Wheel


def describe(old: Lock, new: Lock) -> tuple[str, ...]:
    """Every difference between the inputs of two locks; what they gave is not compared."""
    lines: list[str] = []
    if old.recipe != new.recipe:
        lines.append(f"name: {old.recipe} -> {new.recipe}")
    if old.recipe_digest != new.recipe_digest:
        lines.append("recipe: changed")
    lines += _base(old.base, new.base)
    lines += _platform(old.platform, new.platform)
    if old.exclude_newer != new.exclude_newer:
        lines.append(f"exclude_newer: {old.exclude_newer} -> {new.exclude_newer}")
    if old.layer_format != new.layer_format:
        lines.append(f"layer format: {old.layer_format} -> {new.layer_format}")
    lines += [
        f"requirement removed: {r}" for r in sorted({*old.requirements} - {*new.requirements})
    ]
    lines += [f"requirement added: {r}" for r in sorted({*new.requirements} - {*old.requirements})]
    lines += _packages("wheel", _wheels(old.wheels), _wheels(new.wheels))
    lines += [
        f"package no longer asked for: {p}" for p in sorted({*old.packages} - {*new.packages})
    ]
    lines += [f"package asked for: {p}" for p in sorted({*new.packages} - {*old.packages})]
    lines += _packages("deb", _debs(old.debs), _debs(new.debs))
    if old.model.source != new.model.source:
        lines.append(f"model: {old.model.source} -> {new.model.source}")
    elif old.model.commit != new.model.commit:
        lines.append(f"model commit: {old.model.commit} -> {new.model.commit}")
    if old.model.license != new.model.license:
        lines.append(f"model licence: {old.model.license} -> {new.model.license}")
    lines += _files(
        "model file",
        {file.path: file.sha256 for file in old.model.files},
        {file.path: file.sha256 for file in new.model.files},
    )
    lines += _files(
        "data",
        {f"{file.split} {file.path}": file.sha256 for file in old.data},
        {f"{file.split} {file.path}": file.sha256 for file in new.data},
    )
    lines += _files("data", _data_sources(old), _data_sources(new))
    if old.labels != new.labels:
        lines.append("labels: changed")
    return tuple(lines)


def _platform(old: Platform, new: Platform) -> Iterator[str]:
    for field in fields(Platform):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            yield f"platform, {field.name}: {before or 'none'} -> {after or 'none'}"


def _base(old: BaseImage | None, new: BaseImage | None) -> Iterator[str]:
    before, after = _shown(old), _shown(new)
    if before != after:
        yield f"base: {before} -> {after}"
    elif old != new:
        yield f"base {after}: other facts"


def _shown(base: BaseImage | None) -> str:
    return f"{base.repository}@{base.digest[:19]}" if base else "Debian packages"


def _asked(old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    yield from (f"package no longer asked for: {name}" for name in sorted({*old} - {*new}))
    yield from (f"package asked for: {name}" for name in sorted({*new} - {*old}))


def _data_sources(lock: Lock) -> dict[str, str]:
    return {source.path: source.sha256 for file in lock.data for source in file.sources}


def _wheels(wheels: tuple[Wheel, ...]) -> dict[str, tuple[str, str]]:
    return {wheel.name: (wheel.version, wheel.sha256) for wheel in wheels}


def _debs(debs: tuple[Deb, ...]) -> dict[str, tuple[str, str]]:
    return {deb.package: (deb.version, deb.sha256) for deb in debs}


def _packages(
    kind: str, old: Mapping[str, tuple[str, str]], new: Mapping[str, tuple[str, str]]
) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"{kind} removed: {name} {old[name][0]}"
        elif name not in old:
            yield f"{kind} added: {name} {new[name][0]}"
        elif old[name][0] != new[name][0]:
            yield f"{kind} {name}: {old[name][0]} -> {new[name][0]}"
        elif old[name] != new[name]:
            yield f"{kind} {name} {new[name][0]}: other bytes"


def _files(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"{kind} removed: {name}"
        elif name not in old:
            yield f"{kind} added: {name}"
        elif old[name] != new[name]:
            yield f"{kind} changed: {name}"
