"""A job is looked for, and started only where it is not there.

In: how to look, and how to start. Out: the job, and whether it was started. An error after which
the job may be there all the same (no answer, a fault of the service, a name that is taken by now)
is followed by another look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recipec.clients.send.call import Refused
from recipec.errors import EnvironmentLacks

CONFLICT = 409


def once(look: Callable[[], Any], start: Callable[[], Any]) -> tuple[Any, bool]:
    """What `look` finds, or else what `start` gives. `look` gives None where there is nothing."""
    there = look()
    if there is not None:
        return there, False
    try:
        return start(), True
    except EnvironmentLacks as error:
        if _definite(error):
            raise
        there = _looked(look)
        if there is None:
            raise
        # Of two processes at once, the service has told the other one that it was first.
        return there, getattr(error, "status", 0) != CONFLICT


def _definite(error: EnvironmentLacks) -> bool:
    """Whether the service has said no."""
    return isinstance(error, Refused) and error.status < 500 and error.status != CONFLICT


def _looked(look: Callable[[], Any]) -> Any:
    """What is there; None, too, where nobody answers."""
    try:
        return look()
    except EnvironmentLacks:
        return None
