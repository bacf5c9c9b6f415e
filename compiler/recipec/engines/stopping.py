"""Ctrl-C and SIGTERM, passed on to a training process exactly once.

In: how to send a signal to the process and how to kill it. While the block runs, the first SIGINT
or SIGTERM is sent on and the process gets `grace` seconds to save a checkpoint and stop; a second
Ctrl-C, or the end of the grace, kills it. The old handlers come back afterwards.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

GRACE = 60.0
"""Seconds that a process has for its clean stop."""


class Stopping:
    """A context in which this process's stop signals belong to another process.

    Signal handlers only put a number into a queue (SimpleQueue.put is reentrant); a thread does
    the sending, since the main thread may sit in a read or inside the same client library.
    """

    def __init__(
        self, *, send: Callable[[int], None], kill: Callable[[], None], grace: float = GRACE
    ) -> None:
        self._send = send
        self._kill = kill
        self._grace = grace
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="recipec-stop", daemon=True)
        self._old: dict[int, Any] = {}
        self.stopped_by: int | None = None

    def __enter__(self) -> Stopping:
        self._thread.start()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._queue.put(number)

    def _watch(self) -> None:
        """Send the first signal on; kill after a second Ctrl-C or when the grace is over."""
        deadline: float | None = None
        interrupts = 0
        while True:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                number = self._queue.get(timeout=left)
            except queue.Empty:
                self._kill()
                deadline = None
                continue
            if number is None:
                return
            interrupts += number == signal.SIGINT
            if self.stopped_by is None:
                self.stopped_by = number
                deadline = time.monotonic() + self._grace
                self._send(number)
            elif interrupts > 1:
                self._kill()
