"""Reader of registries.toml: what well-known registries want that others do not.

In: the data file beside this module, a registry's host. Out: its `Quirks`; a host that no pattern
names gets the defaults, which are those of the OCI distribution specification. It asks nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from recipec.catalog.support import read_table


@dataclass(frozen=True, kw_only=True)
class Quirks:
    """What one registry, or family of registries, wants. Sizes are in bytes, 0 for no limit."""

    title: str = ""
    hosts: tuple[str, ...] = ()
    """Patterns of the host in a reference."""
    name: str = ""
    """The one host that all of `hosts` are names for."""
    api: str = ""
    """The host that answers requests, if it is another."""
    namespace: str = ""
    """What a repository name of one part stands in."""
    credentials: tuple[str, ...] = ()
    """Keys under which configuration files keep its credentials, beside the host."""
    helper: str = ""
    """Its credential helper is docker-credential-HELPER."""
    login: str = "`docker login {host}`"
    whole_max: int = 0
    """The largest blob that it takes in one request."""
    chunk: int = 0
    """The size of a chunk: the most that it takes."""
    chunks: bool = True
    """Whether a blob may come in chunks."""
    mount: str = "yes"
    """Whether a repository can take over a blob from another: yes, no, or when."""
    missing: str = ""
    """What to do when the repository does not exist; empty where a push makes it."""
    allowed: str = ""
    """What one must be allowed to do."""
    notes: str = ""
    source: str = ""
    """A page that says so."""

    def login_at(self, host: str) -> str:
        """How to log in."""
        return self.login.replace("{host}", host)


@cache
def table() -> tuple[Quirks, ...]:
    """Every row of the table, in its order."""
    known = {field.name for field in fields(Quirks)}
    rows: list[Quirks] = []
    for name, row in read_table("registries.toml").items():
        assert set(row) <= known, f"registries.toml: {name} has {sorted(set(row) - known)}"
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        rows.append(Quirks(**values))
    return tuple(rows)


@cache
def quirks_of(registry: str) -> Quirks:
    """The quirks of the registry with this host, its port left aside."""
    host = re.sub(r":\d+$", "", registry).lower()
    for row in table():
        if any(fnmatchcase(host, pattern) for pattern in row.hosts):
            return row
    return Quirks()
