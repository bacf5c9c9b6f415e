"""`recipec run RECIPE`: train or evaluate in the image. What the DVC stages call."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import as_locked, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.lock import read_receipt
from recipec.cli.project import find_project
from recipec.cli.state import Built
from recipec.errors import OK
from recipec.store import Store

STAGES = ("train", "evaluate")
ENGINES = ("auto", "docker", "podman", "sandbox", "host")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    add_build_options(parser)
    parser.add_argument("--stage", choices=STAGES, default="train")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="auto takes the first that works of docker, podman and sandbox;"
        " host is this Python, for debugging: its bytes are not promised",
    )


def run(options: argparse.Namespace) -> int:
    """Run one stage. Raises TrainingFailed, HashMismatch, Interrupted or EnvironmentLacks."""
    from recipec.cli.bases import bring_for
    from recipec.cli.execute import execute, gpus_wanted
    from recipec.engines.select import pick

    project, store = find_project(options.recipe, options.output), Store()
    engine = pick(options.engine, store, gpus=gpus_wanted(project, store))
    with quiet_or_bars(options.json) as bars:
        built = as_locked(project, store=store, progress=bars, jobs=options.jobs)
        bring_for(engine, built, store, bars)
    folder = built.folder / options.stage
    say(f"{built.name}: {options.stage} with {engine.name}, run id {built.run_id[:19]}")
    started = time.perf_counter()
    execute(built, stage=options.stage, engine=engine, store=store, folder=folder)
    seconds = time.perf_counter() - started
    same = compare_with_lock(built) if options.stage == "train" else None
    if options.json:
        receipt = read_receipt(built, options.stage) or {}
        print_json(
            {
                "run_id": built.run_id,
                "stage": options.stage,
                "engine": engine.name,
                "seconds": round(seconds, 3),
                "folder": project.shown(folder),
                "outputs": receipt.get("outputs", {}),
                "metrics": read_metrics(folder),
                "same_as_lock": same,
            }
        )
    else:
        _tell(built, folder, options.stage, seconds, same)
    return OK


def compare_with_lock(built: Built) -> bool | None:
    """Whether training gave the digests that the lock promises; None where it promises none."""
    lock, receipt = read_lock(built.project), read_receipt(built, "train")
    if lock is None or lock.outputs is None or receipt is None:
        return None
    if lock.outputs.run_id != built.run_id:
        return None
    return bool(receipt["outputs"] == lock.outputs.files)


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json of a stage, empty where there is none."""
    import json

    try:
        plain: dict[str, Any] = json.loads((folder / "metrics.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return plain


def _tell(built: Built, folder: Path, stage: str, seconds: float, same: bool | None) -> None:
    say(f"{built.name}: {stage} done in {seconds:.0f} s, see {built.project.shown(folder)}")
    if same is True:
        say("  these are the very bytes that the lock promises")
    elif same is False:
        say(
            "  warning: these are not the bytes that the lock promises;"
            " `recipec verify` names the first file and tensor that differ"
        )
