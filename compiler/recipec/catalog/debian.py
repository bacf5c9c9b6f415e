"""Which Debian packages an image is made of, and what their scripts would have done.

In: a release's name, the sets that a recipe asks for. Out: package names, links, public keys, from
`debian.toml` and `debian-keys.asc` beside this file. It knows no versions: those are the lock's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from recipec.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Release:
    """One Debian release: its Python, such as `3.11`, its base packages and its package sets."""

    name: str
    image: str
    """What a recipe calls it, such as `debian-12`."""
    python: str
    base: tuple[str, ...]
    jit: tuple[str, ...]


@cache
def _table() -> Mapping[str, Any]:
    text = files("recipec.catalog").joinpath("debian.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def releases() -> tuple[Release, ...]:
    """Every release that the catalog knows, by name."""
    return tuple(
        Release(
            name=name,
            image=table["image"],
            python=table["python"],
            base=tuple(sorted(table["base"])),
            jit=tuple(sorted(table["jit"])),
        )
        for name, table in sorted(_table()["releases"].items())
    )


def release(name: str) -> Release:
    """The release of that name. Raises UsageError if the catalog has none such."""
    for known in releases():
        if known.name == name:
            return known
    names = ", ".join(known.name for known in releases())
    raise UsageError(f"no Debian release called {name!r} is known", hint=f"known: {names}")


def release_of(image: str) -> Release:
    """The release behind a recipe's `image.base`. Raises UsageError if there is none such."""
    for known in releases():
        if known.image == image:
            return known
    names = ", ".join(known.image for known in releases())
    raise UsageError(f"there is no base {image!r}", hint=f"known: {names}")


def base_packages(debian: str) -> tuple[str, ...]:
    """The packages of the base layer of that release, sorted by name."""
    return release(debian).base


def set_packages(debian: str, package_set: str, *, jit: bool) -> tuple[str, ...]:
    """What the set and the compiler add to the base of that release, sorted by name."""
    chosen: set[str] = set(_table()["sets"].get(package_set, ()))
    if jit:
        chosen |= set(release(debian).jit)
    return tuple(sorted(chosen))


@cache
def scripts_only() -> frozenset[str]:
    """Dependencies that only maintainer scripts need, which are never run."""
    return frozenset(_table()["scripts_only"])


@cache
def alternatives() -> Mapping[str, tuple[str, ...]]:
    """Links by path: programs relative to the link's folder, the first that is there wins."""
    return {link: tuple(targets) for link, targets in sorted(_table()["alternatives"].items())}


def archive_keys() -> bytes:
    """The public keys of Debian's archives, armoured (OpenPGP)."""
    return files("recipec.catalog").joinpath("debian-keys.asc").read_bytes()
