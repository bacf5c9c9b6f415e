"""Several blobs at once over one registry's session.

In: items and what to do with each. Out: the results in the items' order. The first failure, Ctrl-C
among them, ends the others where they are: their sockets are closed, nothing waits for an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from recipec.image.image import Descriptor
from recipec.publish.session import Session

PARALLEL = 6
"""Blobs on their way at once."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each(
    items: Sequence[_Item], action: Callable[[_Item], _Result], *sessions: Session
) -> list[_Result]:
    """What `action` gives for each item. Raises what it raised first; the sessions are stopped."""
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        futures = [pool.submit(action, item) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in futures if future in done and future.exception()]
            return [future.result() for future in failed or futures]
        except BaseException:
            for future in futures:
                future.cancel()
            for session in sessions:
                session.stop()
            raise


def largest_first(blobs: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Each blob once, by size, so that no large one is left for the end."""
    unique = {blob.digest: blob for blob in blobs}
    return tuple(sorted(unique.values(), key=lambda blob: (-blob.size, blob.digest)))
