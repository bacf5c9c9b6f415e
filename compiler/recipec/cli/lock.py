"""`recipec lock RECIPE`: pin every input by hash; with `--record`, the trained bytes too."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from recipec.cli.common import add_recipe
from recipec.cli.compile import as_locked, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.frontend import load
from recipec.cli.project import Project, find_project
from recipec.cli.state import Built
from recipec.errors import OK, EnvironmentLacks, HashMismatch
from recipec.pins.lockfile import ExpectedOutputs, Lock, to_json
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
    """Write recipes/NAME.lock.json, or record what training gave."""
    project, store = find_project(options.recipe), Store()
    with quiet_or_bars(options.json) as bars:
        if options.record:
            lock = record(as_locked(project, store=store, progress=bars))
            notices: tuple[str, ...] = ()
        else:
            from recipec.cli.passes import lock_and_plan

            pinned, _ = lock_and_plan(
                load(project, store),
                old=read_lock(project),
                store=store,
                progress=bars,
                locked=options.locked,
            )
            lock, notices = pinned.lock, (*pinned.notices, *pinned.changes)
    _write(project, lock)
    if options.json:
        print_json({"lock": project.shown(project.lock), "notices": list(notices), **_count(lock)})
        return OK
    for notice in notices:
        say(notice)
    count = ", ".join(f"{number} {what}" for what, number in _count(lock).items())
    say(f"{project.shown(project.lock)}: {count}")
    return OK


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


def _count(lock: Lock) -> dict[str, int]:
    return {
        "wheels": len(lock.wheels),
        "packages": len(lock.debs),
        "model files": len(lock.model.files),
        "data files": len(lock.data),
    }
