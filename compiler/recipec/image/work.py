"""Doing what a build lacks, in this process or in several.

In: tasks. Out: records in the store; nothing else tells that work was shared, and the bytes are the
same for any number of workers. The largest task starts first. An error or Ctrl-C stops the other
workers at their next chunk; a worker whose parent is gone ends by itself. Only temporary files of
the store can be left behind, and only by a kill.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from recipec.errors import EnvironmentLacks
from recipec.image.spec import Spec
from recipec.store import Store, canonical, sha256

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from recipec.progress import Progress

_ALONE = 4 << 20
"""Bytes of work below which starting workers costs more than it saves."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A layer to make, or the wheels of some layers to hold against each other."""

    kind: Literal["layer", "check"]
    specs: tuple[Spec, ...]

    @property
    def size(self) -> int:
        """A measure of the work, in bytes that are read."""
        return sum(spec.size for spec in self.specs) // (1 if self.kind == "layer" else 50)


class Stopped(Exception):
    """The rest of the build is being abandoned."""


def known_layer(store: Store, key: str) -> dict[str, Any] | None:
    """The record of a layer whose blob is still there, whole; else None."""
    record = store.record("layers", key)
    try:
        if isinstance(record, dict) and str(record["diff_id"]).startswith("sha256:"):
            blob = store.path(str(record["digest"]))
            if blob.stat().st_size == record["size"]:
                return record
    except (KeyError, OSError):
        pass
    return None


def checked_key(specs: Sequence[Spec]) -> str:
    """The key under which it is filed that these layers' wheels do not collide."""
    return sha256(canonical(sorted(spec.key for spec in specs)))


def run_task(task: Task, store: Store, watch: Any) -> None:
    """Do one task here."""
    if task.kind == "layer":
        from recipec.image.make import make_layer

        make_layer(task.specs[0], store, watch)
    else:
        from recipec.image.collisions import check_collisions

        check_collisions(task.specs, store)
        store.put_record("checked", checked_key(task.specs), {"wheels": len(task.specs)})


def run_tasks(tasks: Sequence[Task], store: Store, *, jobs: int, progress: Progress) -> None:
    """Do all tasks; raises what the first one that fails raises."""
    ordered = sorted(tasks, key=lambda task: (-task.size, task.specs[0].key if task.specs else ""))
    total = sum(task.size for task in tasks)
    bar = progress.begin("image layers", total)
    try:
        if jobs <= 1 or len(tasks) == 1 or total < _ALONE:
            for task in ordered:
                run_task(task, store, lambda amount: progress.advance(bar, amount))
        else:
            _run_parallel(ordered, store, min(jobs, len(tasks)), progress, bar)
    finally:
        progress.end(bar)


def _run_parallel(
    tasks: Sequence[Task], store: Store, jobs: int, progress: Progress, bar: int
) -> None:
    import multiprocessing
    from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    context: BaseContext = multiprocessing.get_context("spawn")
    stop = context.Event()
    done = context.Value("Q", 0)
    shown = 0
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(store.root, stop, done)
    ) as pool:
        futures = [pool.submit(_work, task) for task in tasks]
        try:
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
                now = int(done.value)
                progress.advance(bar, now - shown)
                shown = now
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise EnvironmentLacks(
                "a worker process was killed while it made a layer",
                hint="out of memory, perhaps: try --jobs 1",
            ) from error
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_here: dict[str, Any] = {}
"""What a worker was started with: store, stop, done."""


def _start_worker(root: Any, stop: Any, done: Any) -> None:
    """Ctrl-C is the parent's to handle; a parent that dies takes its workers along."""
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _here.update(store=Store(root), stop=stop, done=done)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _watch(amount: int) -> None:
    if _here["stop"].is_set():
        raise Stopped
    with _here["done"].get_lock():
        _here["done"].value += amount


def _work(task: Task) -> None:
    _watch(0)
    run_task(task, _here["store"], _watch)
