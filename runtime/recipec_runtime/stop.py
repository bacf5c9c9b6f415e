"""SIGINT and SIGTERM: stop at the next safe point, with a checkpoint.

In: signals. Out: `Stopped`, raised where the loop says it is safe, or at once while there is
nothing to lose. A second signal does not wait. A signal that comes while this process replaces
itself by another is kept for that one: a container's first process would not get it otherwise.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from recipec_runtime.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_state: dict[str, int] = {"deferred": 0, "signal": 0}


def install() -> None:
    """Take over SIGINT and SIGTERM; until `defer`, they stop the run at once."""
    for number in SIGNALS:
        signal.signal(number, _on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals wait: for the end of this, or for the program that replaces this one to install."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def defer() -> None:
    """From now on the first signal waits for `raise_if_asked` or `release`."""
    _state["deferred"] = 1


def release() -> None:
    """From now on a signal stops the run at once; one that has come already, right here."""
    _state["deferred"] = 0
    raise_if_asked()


def asked() -> bool:
    """Whether a signal has come."""
    return _state["signal"] != 0


def number() -> int:
    """The signal that has come; 0 for none."""
    return _state["signal"]


def ask(number: int) -> None:
    """As if this signal had come while it is deferred: another process of the run has got it."""
    _state["signal"] = number


def raise_if_asked(hint: str = "run the same command again to go on from the checkpoint") -> None:
    """Raise Stopped if a signal has come."""
    if asked():
        number = _state["signal"]
        raise Stopped(number, f"stopped by {signal.Signals(number).name}", hint=hint)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    again = asked()
    _state["signal"] = number
    if again or not _state["deferred"]:
        raise_if_asked(hint="")
    # Not print: the signal may have come in the middle of one, and Python's streams refuse that
    with contextlib.suppress(OSError):
        os.write(2, b"\nstopping at the end of this step; once more stops now\n")
