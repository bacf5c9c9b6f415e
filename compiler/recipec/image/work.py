"""Doing what a build lacks, in this process or in several.

In: tasks. Out: records in the store; nothing else tells that work was shared, and the bytes are the
same for any number of workers. The largest task starts first. An error or Ctrl-C stops the other
workers at their next chunk; a worker whose parent is gone ends by itself. Only temporary files of
the store can be left behind, and only by a kill.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from recipec.errors import EnvironmentLacks, RecipecError
from recipec.image.spec import Spec
from recipec.store import DiskFull, Store, canonical, disk_error, sha256

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
    promised: Mapping[str, str] = field(default_factory=dict)
    """diff_ids by blob digest, from the lock."""

    @property
    def size(self) -> int:
        """A measure of the work, in bytes that are read."""
        return sum(spec.size for spec in self.specs) // (1 if self.kind == "layer" else 50)


Failure = tuple[type[RecipecError], dict[str, Any]]
"""The class of a worker's error, and its fields."""


class Stopped(Exception):
    """The rest of the build is being abandoned."""


def known_layer(store: Store, key: str, promised: Mapping[str, str]) -> dict[str, Any] | None:
    """The record of a layer whose blob is still there, whole; else None.

    A diff_id that is another lock's word counts where this build's lock gives the same.
    """
    record = store.record("layers", key)
    try:
        if isinstance(record, dict) and str(record["diff_id"]).startswith("sha256:"):
            blob = store.path(str(record["digest"]))
            own = "promised" not in record or promised.get(record["digest"]) == record["diff_id"]
            if own and blob.stat().st_size == record["size"]:
                return record
    except (KeyError, OSError):
        pass
    return None


def checked_key(specs: Sequence[Spec]) -> str:
    """The key under which it is filed that these layers' wheels do not collide."""
    return sha256(canonical(sorted(spec.key for spec in specs)))


def run_task(task: Task, store: Store, watch: Any) -> None:
    """Do one task here."""
    try:
        if task.kind == "layer":
            from recipec.image.make import make_layer

            make_layer(task.specs[0], store, watch, task.promised)
        else:
            from recipec.image.collisions import check_collisions

            check_collisions(task.specs, store)
            store.put_record("checked", checked_key(task.specs), {"wheels": len(task.specs)})
    except OSError as error:
        # A file that is named was to be read; what is written has no name, or the store speaks.
        if error.filename is None:
            raise disk_error(error, store.root) from error
        raise EnvironmentLacks(
            f"cannot read {error.filename}: {error.strerror}",
            hint="recipec lock fetches what is pinned",
        ) from error


def run_tasks(tasks: Sequence[Task], store: Store, *, jobs: int, progress: Progress) -> None:
    """Do all tasks; raises what the first one that fails raises."""
    ordered = sorted(tasks, key=lambda task: (-task.size, task.specs[0].key if task.specs else ""))
    total = sum(task.size for task in tasks)
    bar = progress.begin("image layers", total)
    try:
        alone = jobs <= 1 or len(tasks) == 1 or total < _ALONE
        shared = None if alone else _shared()
        if shared is None:
            for task in ordered:
                run_task(task, store, lambda amount: progress.advance(bar, amount))
        else:
            _run_parallel(ordered, store, min(jobs, len(tasks)), shared, progress, bar)
    except DiskFull as error:
        raise error.needing(*_left(tasks, store), store.root) from error
    finally:
        progress.end(bar)


def _left(tasks: Sequence[Task], store: Store) -> tuple[int, str]:
    """How many bytes the layers still to be made take, about, and a name for them.

    A layer is about as large as what it is made from, since its wheels' bytes are copied.
    """
    left = [
        spec
        for task in tasks
        if task.kind == "layer"
        for spec in task.specs
        if known_layer(store, spec.key, task.promised) is None
    ]
    return sum(spec.size for spec in left), f"{len(left)} layers that are still to be made"


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """What parent and workers share: whether to stop, and the bytes done so far."""

    context: BaseContext
    stop: Any
    done: Any


def _shared() -> _Shared | None:
    """None where the system has no shared semaphores, as in some containers.

    Workers are forked where that is safe, which is on Linux and while this process has no other
    thread: they begin at once, with everything imported. Elsewhere they are started anew.
    """
    import multiprocessing
    import sys
    import threading

    forked = sys.platform == "linux" and threading.active_count() == 1
    context: BaseContext = multiprocessing.get_context("fork" if forked else "spawn")
    try:
        return _Shared(context=context, stop=context.Event(), done=context.Value("Q", 0))
    except (OSError, ImportError):
        return None


def _run_parallel(
    tasks: Sequence[Task], store: Store, jobs: int, shared: _Shared, progress: Progress, bar: int
) -> None:
    from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    shown = 0
    with ProcessPoolExecutor(
        jobs,
        mp_context=shared.context,
        initializer=_start_worker,
        initargs=(store.root, shared.stop, shared.done),
    ) as pool:
        try:
            with _deaf():
                futures = [pool.submit(_work, task) for task in tasks]
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
                now = int(shared.done.value)
                progress.advance(bar, now - shown)
                shown = now
                for future in finished:
                    _raise(future.result())
        except BrokenProcessPool as error:
            raise EnvironmentLacks(
                "a worker process was killed while it made a layer",
                hint="out of memory, perhaps: try --jobs 1",
            ) from error
        except BaseException:
            shared.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _deaf() -> Iterator[None]:
    """Hold Ctrl-C back while workers start: a forked one must not hear it before it ignores it."""
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_here: dict[str, Any] = {}
"""What a worker was started with: store, stop, done; and the bytes that it has not told yet."""
_TOLD = 1 << 20
"""Bytes of progress that are told at a time."""


def _start_worker(root: Any, stop: Any, done: Any) -> None:
    """Ctrl-C is the parent's to handle; a parent that dies takes its workers along."""
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    _here.update(store=Store(root), stop=stop, done=done, untold=0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _watch(amount: int) -> None:
    _here["untold"] += amount
    if _here["untold"] >= _TOLD:
        _tell()


def _tell() -> None:
    if _here["stop"].is_set():
        raise Stopped
    with _here["done"].get_lock():
        _here["done"].value += _here["untold"]
    _here["untold"] = 0


def _work(task: Task) -> Failure | None:
    """Do a task; its error, in parts, because an exception's own pickle may lose its fields."""
    try:
        _tell()
        run_task(task, _here["store"], _watch)
        _tell()
    except RecipecError as error:
        return type(error), dict(vars(error))
    return None


def _raise(failure: Failure | None) -> None:
    """Raise in the parent what a worker's task raised."""
    if failure is not None:
        kind, about = failure
        error = kind.__new__(kind, about["message"])
        vars(error).update(about)
        raise error
