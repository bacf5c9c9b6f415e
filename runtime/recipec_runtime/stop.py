"""SIGINT and SIGTERM: stop at the next safe point, with a checkpoint.

In: signals. Out: `Stopped`, raised where the loop says it is safe, or at once while nothing is
under way yet. A second signal does not wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from recipec_runtime.errors import Stopped

_state: dict[str, int] = {"deferred": 0, "signal": 0}


def install() -> None:
    """Take over SIGINT and SIGTERM; until `defer`, they stop the run at once."""
    signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)


def defer() -> None:
    """From now on the first signal waits for `raise_if_asked`."""
    _state["deferred"] = 1


def asked() -> bool:
    """Whether a signal has come."""
    return _state["signal"] != 0


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
