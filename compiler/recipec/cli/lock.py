"""`recipec lock RECIPE`: pin every input by hash; with `--record`, the trained bytes too."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from recipec.cli.common import add_recipe
from recipec.cli.compile import as_locked, lock_to_start_from, of_member, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.frontend import load
from recipec.cli.members import members
from recipec.cli.project import Project, find_project
from recipec.cli.state import Built
from recipec.errors import OK, EnvironmentLacks, HashMismatch, StaleLock
from recipec.filelocks import hold, use_of
from recipec.pins.lockfile import ExpectedOutputs, Lock, to_json
from recipec.progress import Progress
from recipec.store import Store, write_atomically


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    parser.add_argument("--locked", action="store_true", help="refuse to change the lock")
    parser.add_argument(
        "--record",
        action="store_true",
        help="put the digests of the trained files into the lock, as what others should get",
    )


def run(options: argparse.Namespace) -> int:
    """Write recipes/NAME.lock.json, of a matrix each member's, or record what training gave."""
    project, store = find_project(options.recipe), Store()
    several = members(project, store)
    rows = []
    locks: list[tuple[Lock | None, Lock]] = []
    # What is fetched here is in no lock yet: nobody removes it meanwhile.
    with quiet_or_bars(options.json) as bars, hold(use_of(store), shared=True):
        for one in several:
            own = read_lock(one)
            if options.record:
                lock = record(as_locked(one, store=store, progress=bars))
                notices: tuple[str, ...] = ()
            else:
                old = own if options.locked else lock_to_start_from(own, locks)
                lock, notices = pin(one, old, store, bars, locked=options.locked)
            locks.append((own, lock))
            rows.append((one, lock, notices))
    for one, lock, notices in rows:
        _write(one, lock)
        if not options.json:
            _tell(one, lock, notices)
    if options.json:
        plain = [
            {"lock": one.shown(one.lock), "notices": list(notices), **_count(lock)}
            for one, lock, notices in rows
        ]
        print_json(plain[0] if several == (project,) else {"members": plain})
    return OK


def pin(
    project: Project, old: Lock | None, store: Store, progress: Progress, *, locked: bool
) -> tuple[Lock, tuple[str, ...]]:
    """A recipe's lock made from its old one, and what there is to say of it."""
    from recipec.cli.passes import lock_and_plan

    try:
        pinned, _ = lock_and_plan(
            load(project, store), old=old, store=store, progress=progress, locked=locked
        )
    except StaleLock as error:
        raise of_member(error, project) from error
    own = old is not None and old.recipe == pinned.lock.recipe
    return pinned.lock, (*pinned.notices, *(pinned.changes if own else ()))


def record(built: Built) -> Lock:
    """The lock with the digests of build/NAME/train in it.

    Raises EnvironmentLacks when nothing has been trained, HashMismatch when another run's files lie
    there.
    """
    lock = read_lock(built.project)
    assert lock is not None, "a locked compile has a lock"
    receipt = read_receipt(built, "train")
    if receipt is None:
        raise EnvironmentLacks(
            f"there is no receipt in {built.project.shown(built.folder / 'train')}",
            hint="train first: `dvc repro`, or `recipec run`",
        )
    if receipt["run_id"] != built.run_id:
        raise HashMismatch(
            "the receipt's run id",
            expected=built.run_id,
            found=str(receipt["run_id"]),
            hint="what lies in the build folder was trained by another build; train again",
        )
    outputs = ExpectedOutputs(
        run_id=built.run_id,
        hardware_class=str(built.facts["hardware_class"]),
        files=dict(sorted(receipt["outputs"].items())),
    )
    return replace(lock, outputs=outputs)


def read_receipt(built: Built, stage: str) -> dict[str, Any] | None:
    """What a stage's receipt says, or None where there is none."""
    try:
        plain: dict[str, Any] = json.loads((built.folder / stage / "receipt.json").read_bytes())
    except (OSError, ValueError):
        return None
    return plain


def _write(project: Project, lock: Lock) -> None:
    data = to_json(lock)
    if not project.lock.is_file() or project.lock.read_bytes() != data:
        write_atomically(project.lock, data)


def _tell(project: Project, lock: Lock, notices: tuple[str, ...]) -> None:
    for notice in notices:
        say(notice)
    count = ", ".join(f"{number} {what}" for what, number in _count(lock).items())
    say(f"{project.shown(project.lock)}: {count}")


def _count(lock: Lock) -> dict[str, int]:
    return {
        "wheels": len(lock.wheels),
        "packages": len(lock.debs),
        "model files": len(lock.model.files),
        "data files": len(lock.data),
    }
