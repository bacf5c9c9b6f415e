"""One stage of one run: checks inputs, pins the environment, runs the script.

In: the stage's name, the environment (docs/platforms.md has its variables) and what the platform
has put into the file system. Out: files where the platform collects them; of several processes the
first writes them. torch is imported only after the environment is pinned and every input has the
right hash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipec_runtime import (
    collect,
    contract,
    gguf,
    inputs,
    outputs,
    pin,
    platforms,
    ranks,
    sagemaker,
    stop,
)
from recipec_runtime.contract import RunFile
from recipec_runtime.errors import EnvironmentLacks, GateFailed
from recipec_runtime.platforms import Place
from recipec_runtime.ranks import Ranks
from recipec_runtime.run import Run

MACHINE = Path("/")
"""The file system's root, below which a platform puts its files."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a run finds itself: the platform's folders, its run id, its place among processes."""

    place: Place
    run_id: str | None
    ranks: Ranks


def run_stage(stage: str) -> int:
    """Run one stage to its end, or raise; its exit code."""
    started = time.monotonic()
    stop.install()
    root = Path(os.environ.get("RECIPEC_ROOT", "/opt/recipec")).absolute()
    data = _contract_bytes(root)
    spec = contract.parse(data)
    pin.check_cpu(spec)
    with stop.held():
        pin.pin_environment(spec, ["-m", "recipec_runtime", stage])
    around = _surroundings(spec)
    if around.ranks.world_size > 1 and ranks.starts_others(os.environ):
        return int(_module("processes", "several processes").run(stage, around.ranks))
    device = _device(spec, around.ranks)
    trained = Path(os.environ.get("RECIPEC_TRAINED", platforms.TRAINED)).absolute()
    adapted = _check_inputs(stage, spec, around, root=root, trained=trained)
    with _outputs(spec, around) as (output, saved):
        run = Run(
            stage=stage,
            spec=spec,
            root=root,
            output=output,
            saved=saved,
            tensorboard=around.place.tensorboard,
            trained=trained,
            run_id=around.run_id,
            engine=os.environ.get("RECIPEC_ENGINE") or None,
            ranks=around.ranks,
            fingerprint=_fingerprint(data, around.run_id),
            started=started,
            device=device,
        )
        _run_script(run, adapted, around.place.collect if run.first else None)
    return 0


def _run_script(run: Run, adapted: Path | None, collects: Path | None) -> None:
    """Pin torch, find the other processes if there are any, and call the script's main.

    What it leaves is copied to `collects`, if that is somewhere, before the processes part: none of
    them ends well if that fails.
    """
    outputs.prepare(run.output)
    pin.pin_torch(run.spec)
    if run.device is not None:
        _module("cuda", "a GPU").pin(run.spec)
    _quiet()
    with contextlib.ExitStack() as stack:
        if run.spec.parallelism is not None:
            together = _module("together", "several processes")
            run = replace(run, group=stack.enter_context(together.joined(run.spec, run.ranks)))
        stack.enter_context(_collected(run.output, collects))
        base = stack.enter_context(gguf.usable(run.root / "model", run.output))
        script = _load(run.root / run.spec.scripts[run.stage])
        script.main(replace(run, base=adapted or base))


def _surroundings(spec: RunFile) -> Surroundings:
    """Where this platform wants things; nothing that it passes may change the run."""
    platform = platforms.recognise(os.environ, MACHINE)
    place = platforms.place(platform, os.environ, name=spec.name, root=MACHINE)
    run_id = os.environ.get("RECIPEC_RUN_ID") or None
    if platform.name == "sagemaker":
        run_id = sagemaker.check_hyperparameters(MACHINE, spec, run_id)
        sagemaker.check_channels(MACHINE, spec)
    found = ranks.read(
        os.environ,
        world_size=spec.world_size,
        processes=spec.parallelism.processes if spec.parallelism is not None else 1,
        platform=platform.name,
        root=MACHINE,
    )
    if found.local_rank == 0:
        _check_folders(place, found)
    return Surroundings(place=place, run_id=run_id, ranks=found)


def _check_folders(place: Place, found: Ranks) -> None:
    """Raise EnvironmentLacks if something cannot be written where the platform wants it."""
    platform = place.platform
    folders = [place.checkpoints, place.collect, place.tensorboard]
    if platform.name != "docker":
        folders.append(place.output)
    for folder in folders:
        if folder is not None:
            collect.check(folder, platform.denied, machine=found.node_rank)
    if platform.name != "docker" and found.rank == 0:
        where = f"outputs in {place.collect or place.output}"
        kept = f"checkpoint in {_checkpoints(place)}"
        print(f"{platform.title}: {where}, {kept}", file=sys.stderr, flush=True)


def _checkpoints(place: Place) -> Path:
    return place.checkpoints or place.output / "checkpoint"


def _device(spec: RunFile, found: Ranks) -> Any:
    """The GPU of this process; None for CPUs."""
    if spec.accelerator is None:
        return None
    gpus = _module("cuda", "a GPU")
    if found.world_size > 1:
        _module("processes", "several processes").see_one_gpu(os.environ, found)
    return gpus.find(spec)


def _check_inputs(
    stage: str, spec: RunFile, around: Surroundings, *, root: Path, trained: Path
) -> Path | None:
    """Raise HashMismatch for an input that is another; the model that has read the corpus, if any.

    Of a machine's processes the first one looks; the others wait where all meet.
    """
    adapted = _adapted(around.place) if spec.adapted is not None else None
    if around.ranks.local_rank > 0:
        return adapted / "model" if adapted is not None else None
    inputs.verify(root, spec.inputs)
    if stage == "evaluate":
        outputs.verify_trained(trained)
    if adapted is None or spec.adapted is None:
        return None
    return outputs.verify_adapted(adapted, spec.adapted)


def _adapted(place: Place) -> Path:
    """Where the model that has read the recipe's corpus lies."""
    given = os.environ.get("RECIPEC_ADAPTED")
    channel = sagemaker.adapted(MACHINE) if place.platform.name == "sagemaker" else None
    return Path(given or channel or platforms.ADAPTED).absolute()


@contextlib.contextmanager
def _outputs(spec: RunFile, around: Surroundings) -> Iterator[tuple[Path, Path | None]]:
    """The folder that this process writes to, and that of its checkpoint if not beside it.

    The first process has the run's own; the others have one that goes away with them, so that a
    script need not ask which process it is at every line.
    """
    place = around.place
    if around.ranks.rank > 0:
        with tempfile.TemporaryDirectory(prefix=f"{spec.name}-{around.ranks.rank}-") as folder:
            yield Path(folder), _checkpoints(place)
        return
    with _lock(place.output):
        yield place.output, place.checkpoints


@contextlib.contextmanager
def _collected(output: Path, target: Path | None) -> Iterator[None]:
    """Copy what a finished run has left to `target`; a gate that does not hold ends one, too."""
    try:
        yield
    except GateFailed:
        if target is not None:
            collect.collect(output, target)
        raise
    if target is not None:
        collect.collect(output, target)


def _module(name: str, purpose: str) -> Any:
    """A module that only images which need it have."""
    try:
        return importlib.import_module(f"recipec_runtime.{name}")
    except ImportError as error:
        raise EnvironmentLacks(
            f"the recipe is for {purpose}, and this runtime is not", hint="build the recipe again"
        ) from error


def _contract_bytes(root: Path) -> bytes:
    try:
        return (root / "recipe" / "run.json").read_bytes()
    except OSError as error:
        raise EnvironmentLacks(
            f"cannot read {root / 'recipe' / 'run.json'}: {error.strerror}",
            hint="RECIPEC_ROOT must name the folder that holds recipe/, model/ and data/",
        ) from error


def _fingerprint(run_json: bytes, run_id: str | None) -> str:
    """What a checkpoint belongs to: every input, the run id, the libraries and this runtime."""
    digest = hashlib.sha256(run_json)
    digest.update((run_id or "").encode())
    for package in outputs.PACKAGES:
        digest.update(f"\n{package} {outputs.version_of(package)}".encode())
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _lock(output: Path) -> Iterator[None]:
    """Hold the output folder for this process alone, so that two runs never mix their files."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise EnvironmentLacks(
            f"cannot use the output folder {output}: {error.strerror}",
            hint="RECIPEC_OUTPUT must name a folder that this user can write to",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EnvironmentLacks(
            f"another run is writing to {output}", hint="wait for it, or choose another folder"
        ) from error
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(handle)


def _quiet() -> None:
    """Progress bars and hints of the libraries would drown the run's own lines."""
    import logging
    import warnings

    from transformers.utils import logging as library

    library.set_verbosity_error()
    library.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(peft|transformers|torch)\b")


def _load(script: Path) -> Any:
    """The script as a module. Its folder joins the path: evaluate.py imports train.py."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(script.parent))
    specification = importlib.util.spec_from_file_location(script.stem, script)
    if specification is None or specification.loader is None:
        raise EnvironmentLacks(f"cannot load {script}", hint="build the recipe again")
    module = importlib.util.module_from_spec(specification)
    sys.modules[script.stem] = module
    specification.loader.exec_module(module)
    return module
