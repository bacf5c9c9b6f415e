"""What is sent, where to, and what came of it.

Inert values. A `Sender` says for one service what a document becomes, without its client and
without a network, and then sends it with both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recipec.errors import EnvironmentLacks, UsageError
from recipec.recipe.schema import TargetName

PLACES = ("region", "project", "subscription", "workspace")
"""What the command line may say of where a job goes; each is a flag."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A document that is to be sent."""

    target: TargetName
    documents: tuple[Any, ...]
    """Plain values; where the service takes several objects, in the order in which it gets them."""
    path: str
    """The document's file, for clients that read one."""
    run_id: str
    places: Mapping[str, str] = field(default_factory=dict)
    """Of PLACES what is known from the command line or the recipe."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The recipe's settings of the target, but for the defaults."""

    @property
    def document(self) -> Any:
        """The job itself, which comes last."""
        return self.documents[-1]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request: `parameters` are what the client's operation takes."""

    service: str
    operation: str
    endpoint: str
    """The server's address as far as it is known without credentials; empty where it is not."""
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a user does next, in the service's own commands."""

    follow: str
    results: str
    """Where they will be."""
    stop: str
    anew: str
    """What takes the job away, so that another submit starts it again."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A job that the service has."""

    name: str
    identifier: str
    """What the service's commands take."""
    state: str
    """In the service's own word; empty if it has said none."""
    started: bool
    """Whether this very call has started it; if not, it was there before."""
    failed: bool = False
    """Whether it was there before and has ended without its results."""
    words: Words


@dataclass(frozen=True, kw_only=True)
class Sender:
    """How one service gets a document."""

    places: frozenset[str] = frozenset()
    """Those of PLACES that it can be told."""
    calls: Callable[[Work], tuple[Call, ...]]
    """The requests. Raises UsageError where it must be told a place that nobody has said."""
    send: Callable[[Work], Outcome]
    """Look for the job, and start it if it is not there. Raises Refused or EnvironmentLacks."""


class Refused(EnvironmentLacks):
    """The service does not take the job.

    `key` is the setting at fault, if it is one; `status` is of HTTP, 0 where none was seen.
    """

    def __init__(self, message: str, *, hint: str = "", key: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.status = status


def place(work: Work, name: str, *variables: str, known: str = "") -> str:
    """Region, project and the like: as given, or from these environment variables, or `known`.

    Raises UsageError if nobody says.
    """
    import os

    found = work.places.get(name) or next(filter(None, map(os.environ.get, variables)), "") or known
    if not found:
        others = f", or set {' or '.join(variables)}" if variables else ""
        raise UsageError(
            f"{work.target} must be told the {name}, and neither the recipe nor anything else does",
            hint=f"--{name} {name.upper()}{others}",
        )
    return found
