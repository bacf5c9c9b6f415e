"""One stage of a built recipe on one engine: folders, mounts, and what its exit code means."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recipec.cli.compile import read_lock
from recipec.cli.project import Project
from recipec.cli.state import Built
from recipec.engines.engine import Engine
from recipec.engines.job import Job, Mount
from recipec.errors import (
    ENVIRONMENT,
    MISMATCH,
    EnvironmentLacks,
    HashMismatch,
    Interrupted,
    TrainingFailed,
)
from recipec.filelocks import Taken, hold
from recipec.image.image import ADAPTED, OUTPUT, TRAINED
from recipec.store import Store, make_folder, sha256

KEPT = "checkpoint"


def execute(
    built: Built,
    *,
    stage: str,
    engine: Engine,
    store: Store,
    folder: Path,
    trained: Path | None = None,
) -> None:
    """Run a stage so that its files end up in `folder`.

    `trained` is where evaluation finds the train stage's files (build/NAME/train if left out).
    Raises TrainingFailed, HashMismatch, Interrupted or EnvironmentLacks by the exit code.
    """
    mounts = [Mount(host=folder, container=OUTPUT, read_only=False), *_adapted(built)]
    if stage == "evaluate":
        trained = trained or built.folder / "train"
        if not (trained / "model").is_dir():
            raise EnvironmentLacks(
                f"there is no trained model in {built.project.shown(trained)}",
                hint="train first: `dvc repro`, or `recipec run --stage train`",
            )
        mounts.append(Mount(host=trained, container=TRAINED, read_only=True))
    with _alone(folder, store, f"{built.name}: {stage}"):
        _clear(folder)
        code = engine.run(_job(built, stage, engine, store, tuple(mounts)))
    _explain(code, stage, built.project.shown(folder))


def _adapted(built: Built) -> Iterator[Mount]:
    """The model that the recipe's corpus has made, if it has one."""
    adapted = json.loads((built.folder / "run.json").read_bytes()).get("adapted")
    if adapted is None:
        return
    name, project = adapted["name"], built.project
    folder = project.folder(name) / "train"
    if not (folder / "model").is_dir() or not (folder / "receipt.json").is_file():
        recipe = project.shown(project.recipe.with_name(f"{name}.yaml"))
        raise EnvironmentLacks(
            f"the corpus of {built.name} has not been read: there is no model in"
            f" {project.shown(folder)}",
            hint=f"`dvc repro`, or `recipec run {recipe}`",
        )
    yield Mount(host=folder, container=ADAPTED, read_only=True)


@contextmanager
def _alone(folder: Path, store: Store, what: str) -> Iterator[None]:
    """Hold the output folder: a second run would empty it under the first one's hands.

    Raises EnvironmentLacks when another process has it.
    """
    name = sha256(str(folder.absolute()).encode())[7:31]
    try:
        with hold(store.root / "locks" / f"{name}.lock", wait=False):
            yield
    except Taken:
        raise EnvironmentLacks(
            f"{what} is running already, in another process",
            hint="wait for it, or stop it with Ctrl-C: it leaves a checkpoint",
        ) from None


def gpus_of(built: Built) -> int:
    """GPUs that the build's stages need: one for each process of a recipe that names a GPU."""
    contract = json.loads((built.folder / "run.json").read_bytes())
    return int(contract["world_size"]) if "accelerator" in contract else 0


def gpus_wanted(project: Project, store: Store) -> int:
    """The same of a recipe, before anything of it is fetched or built."""
    from recipec.cli.frontend import load
    from recipec.recipe.promise import on_cpus

    recipe = load(project, store).recipe
    return 0 if on_cpus(recipe) else recipe.hardware.count * recipe.hardware.nodes


def _job(built: Built, stage: str, engine: Engine, store: Store, mounts: tuple[Mount, ...]) -> Job:
    return Job(
        image=built.image,
        reference=f"recipec.local/{built.name}:latest",
        command=(stage,),
        environment=(("RECIPEC_RUN_ID", built.run_id), *_all_here(built)),
        mounts=mounts,
        gpus=gpus_of(built),
        host_root=_host_root(built, store) if engine.name == "host" else None,
    )


def _all_here(built: Built) -> Iterator[tuple[str, str]]:
    """Every process of a run with several machines, on this one: the bytes are the same."""
    contract = json.loads((built.folder / "run.json").read_bytes())
    if contract.get("parallelism", {}).get("nodes", 1) > 1:
        yield "RECIPEC_NODES", "1"
        yield "RECIPEC_PROCESSES", str(contract["world_size"])


def _clear(folder: Path) -> None:
    """Remove what an earlier run wrote, but keep its checkpoint."""
    make_folder(folder)
    for entry in folder.iterdir():
        if entry.name == KEPT:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _explain(code: int, stage: str, folder: str) -> None:
    """Turn the runtime's exit code into our own error; it has said its message already."""
    if code == 0:
        return
    if code in {130, 143}:
        raise Interrupted(
            f"{stage} was stopped; its checkpoint is in {folder}",
            hint="run the same command again to go on from there, to the same bytes",
        )
    if code == MISMATCH:
        raise HashMismatch(
            f"an input of {stage}", expected="the bytes of the lock", found="others (see above)"
        )
    if code == ENVIRONMENT:
        raise EnvironmentLacks(f"{stage} could not run here (see above)", hint="`recipec doctor`")
    hint = ""
    if code in {137, 9, -9}:
        hint = "killed from outside, usually for memory: try a smaller training.micro_batch_size"
    raise TrainingFailed(f"{stage} ended with exit code {code} (see above)", hint=hint)


def _host_root(built: Built, store: Store) -> Path:
    """A folder that looks like the image's /opt/recipec: links to recipe, model and data."""
    lock = read_lock(built.project)
    assert lock is not None, "a locked compile has a lock"
    from recipec.emit.run_json import data_path
    from recipec.pins.lock import fetch
    from recipec.progress import Silent

    sources = fetch(lock, store=store, project=built.project.root, progress=Silent(), jobs=1)
    root = built.folder / "host"
    if root.exists():
        shutil.rmtree(root)
    links = {f"model/{file.path}": sources[file.sha256] for file in lock.model.files}
    for data in lock.data:
        links[data_path(data.split)] = sources[data.sha256]
    inputs = json.loads((built.folder / "run.json").read_bytes())["inputs"]
    for path in ["recipe/run.json", *(row["path"] for row in inputs)]:
        if path.startswith("recipe/"):
            links[path] = built.folder / path.removeprefix("recipe/")
    for name, target in links.items():
        make_folder((root / name).parent)
        os.symlink(target, root / name)  # noqa: PTH211 - reads as the command of that name
    return root
