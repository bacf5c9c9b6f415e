"""Which Debian packages an image starts from.

In: a release's name. Out: package names, from `debian.toml` beside this file. It knows no
versions: those are the lock's.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from recipec.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Release:
    """One Debian release: the Python that it ships, such as `3.11`, and the base packages."""

    name: str
    python: str
    base: tuple[str, ...]


@cache
def releases() -> tuple[Release, ...]:
    """Every release that the catalog knows, by name."""
    text = files("recipec.catalog").joinpath("debian.toml").read_text(encoding="utf-8")
    return tuple(
        Release(name=name, python=table["python"], base=tuple(sorted(table["base"])))
        for name, table in sorted(tomllib.loads(text).items())
    )


def release(name: str) -> Release:
    """The release of that name. Raises UsageError if the catalog has none such."""
    for known in releases():
        if known.name == name:
            return known
    names = ", ".join(known.name for known in releases())
    raise UsageError(f"no Debian release called {name!r} is known", hint=f"known: {names}")


def base_packages(debian: str) -> tuple[str, ...]:
    """The packages of the base layer of that release, sorted by name."""
    return release(debian).base
