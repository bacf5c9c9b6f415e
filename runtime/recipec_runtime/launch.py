"""Starts a stage: checks inputs, pins the environment, runs the script, turns errors into words.

In: the stage's name, the environment (docs/platforms.md has its variables) and what the platform
has put into the file system. Out: an exit code, and files where the platform collects them. torch
is imported only after the environment is pinned and every input has the right hash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import importlib.util
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from recipec_runtime.errors import (
    EnvironmentLacks,
    GateFailed,
    RunError,
    Stopped,
    TrainingFailed,
)
from recipec_runtime.platforms import Place
from recipec_runtime.run import Run

STAGES = ("train", "evaluate")
GPUS = "recipec_runtime.cuda"
"""The module that only images for GPUs have."""
DEBUG = "RECIPEC_TRACEBACK"
MACHINE = Path("/")
"""The file system's root, below which a platform puts its files."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; its exit code. Errors are one message and a hint on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1 or words[0] not in STAGES:
        print(
            f"usage: python -m recipec_runtime {'|'.join(STAGES)}\n"
            "  hint: the recipe's settings are in the image; arguments do not change them",
            file=sys.stderr,
        )
        return 2
    try:
        run_stage(words[0])
    except (Exception, Stopped, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        wrong = explain(error)
        print(f"\n{wrong.render()}" if sys.stderr.isatty() else wrong.render(), file=sys.stderr)
        return _leave(error, wrong)
    return 0


def run_stage(stage: str) -> None:
    """Run one stage to its end, or raise."""
    started = time.monotonic()
    stop.install()
    root = Path(os.environ.get("RECIPEC_ROOT", "/opt/recipec")).absolute()
    data = _contract_bytes(root)
    spec = contract.parse(data)
    pin.check_cpu(spec)
    with stop.held():
        pin.pin_environment(spec, ["-m", "recipec_runtime", stage])
    gpus = _gpus() if spec.accelerator is not None else None
    device = gpus.find(spec) if gpus is not None else None
    place, run_id = _platform(spec)
    found = ranks.read(
        os.environ, world_size=spec.world_size, platform=place.platform.name, root=MACHINE
    )
    ranks.refuse_many(found)
    inputs.verify(root, spec.inputs)
    run = Run(
        stage=stage,
        spec=spec,
        root=root,
        output=place.output,
        saved=place.checkpoints,
        tensorboard=place.tensorboard,
        trained=Path(os.environ.get("RECIPEC_TRAINED", platforms.TRAINED)).absolute(),
        run_id=run_id,
        engine=os.environ.get("RECIPEC_ENGINE") or None,
        ranks=found,
        fingerprint=_fingerprint(data, run_id),
        started=started,
        device=device,
    )
    if stage == "evaluate":
        outputs.verify_trained(run.trained)
    adapted = None
    if spec.adapted is not None:
        adapted = outputs.verify_adapted(_adapted(place), spec.adapted)
    with _lock(run.output), _collected(run.output, place.collect):
        outputs.prepare(run.output)
        pin.pin_torch(spec)
        if gpus is not None:
            gpus.pin(spec)
        _quiet()
        with gguf.usable(root / "model", run.output) as base:
            _load(root / spec.scripts[stage]).main(replace(run, base=adapted or base))


def _platform(spec: RunFile) -> tuple[Place, str | None]:
    """Where this platform wants things, and the run id; nothing it passes may change the run."""
    platform = platforms.recognise(os.environ, MACHINE)
    place = platforms.place(platform, os.environ, name=spec.name, root=MACHINE)
    run_id = os.environ.get("RECIPEC_RUN_ID") or None
    if platform.name == "sagemaker":
        run_id = sagemaker.check_hyperparameters(MACHINE, spec, run_id)
        sagemaker.check_channels(MACHINE, spec)
    for folder in (place.checkpoints, place.collect, place.tensorboard):
        if folder is not None:
            collect.check(folder, platform.denied)
    if platform.name != "docker":
        collect.check(place.output, platform.denied)
        where = f"outputs in {place.collect or place.output}"
        kept = f"checkpoint in {place.checkpoints or place.output / 'checkpoint'}"
        print(f"{platform.title}: {where}, {kept}", file=sys.stderr, flush=True)
    return place, run_id


def _adapted(place: Place) -> Path:
    """Where the model that has read the recipe's corpus lies."""
    given = os.environ.get("RECIPEC_ADAPTED")
    channel = sagemaker.adapted(MACHINE) if place.platform.name == "sagemaker" else None
    return Path(given or channel or platforms.ADAPTED).absolute()


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


def _leave(error: BaseException, wrong: RunError) -> int:
    """The exit code; a failure's message is left where the platform looks for it."""
    try:
        platform = platforms.recognise(os.environ, MACHINE)
    except RunError:
        return wrong.exit_code
    if isinstance(error, Stopped):
        return platform.stop_code if error.number == signal.SIGTERM else wrong.exit_code
    if platform.failure:
        sagemaker.write_failure(MACHINE, wrong.render())
    return wrong.exit_code


def explain(error: BaseException) -> RunError:
    """Any exception as an error with an exit code and a hint."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, Stopped):
        # 128 plus the signal's number is what a shell says of a process that a signal ended
        return RunError(error.message, hint=error.hint, exit_code=128 + error.number)
    if isinstance(error, KeyboardInterrupt):
        return RunError("stopped by SIGINT", exit_code=130)
    if GPUS in sys.modules and (found := sys.modules[GPUS].explain(error)) is not None:
        return found  # type: ignore[no-any-return]
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return EnvironmentLacks(
            "there is not enough memory",
            hint="lower training.micro_batch_size or the lengths, or give the run more memory",
        )
    if isinstance(error, ImportError):
        return EnvironmentLacks(
            f"a package is missing: {error}", hint="run in the recipe's image, which has them all"
        )
    text = " ".join(str(error).split()) or "no message"
    return TrainingFailed(
        f"the script stopped with {type(error).__name__}: {text}",
        hint=f"set {DEBUG}=1 to see where",
    )


def _gpus() -> Any:
    try:
        return importlib.import_module(GPUS)
    except ImportError as error:
        raise EnvironmentLacks(
            "the recipe is for a GPU, and this runtime is for CPUs", hint="build the recipe again"
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
def _lock(output: Path) -> Any:
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
