"""Starts a stage: checks inputs, pins the environment, runs the script, turns errors into words.

In: the stage's name and the environment (RECIPEC_ROOT, RECIPEC_OUTPUT, RECIPEC_TRAINED,
RECIPEC_ADAPTED, RECIPEC_RUN_ID, RECIPEC_ENGINE). Out: an exit code. torch is imported only after
the environment is pinned and every input has the right hash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipec_runtime import contract, gguf, inputs, outputs, pin, ranks, stop
from recipec_runtime.errors import EnvironmentLacks, RunError, Stopped, TrainingFailed
from recipec_runtime.run import Run

STAGES = ("train", "evaluate")
GPUS = "recipec_runtime.cuda"
"""The module that only images for GPUs have."""
DEBUG = "RECIPEC_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; its exit code. Errors are one message and a hint on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1 or words[0] not in STAGES:
        print(f"usage: python -m recipec_runtime {'|'.join(STAGES)}", file=sys.stderr)
        return 2
    try:
        run_stage(words[0])
    except (Exception, Stopped, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        wrong = explain(error)
        print(f"\n{wrong.render()}" if sys.stderr.isatty() else wrong.render(), file=sys.stderr)
        return wrong.exit_code
    return 0


def run_stage(stage: str) -> None:
    """Run one stage to its end, or raise."""
    started = time.monotonic()
    stop.install()
    root = Path(os.environ.get("RECIPEC_ROOT", "/opt/recipec")).absolute()
    data = _contract_bytes(root)
    spec = contract.parse(data)
    pin.check_cpu(spec)
    pin.pin_environment(spec, ["-m", "recipec_runtime", stage])
    gpus = _gpus() if spec.accelerator is not None else None
    device = gpus.find(spec) if gpus is not None else None
    place = ranks.read(os.environ, world_size=spec.world_size)
    inputs.verify(root, spec.inputs)
    run = Run(
        stage=stage,
        spec=spec,
        root=root,
        output=Path(os.environ.get("RECIPEC_OUTPUT", "/out")).absolute(),
        trained=Path(os.environ.get("RECIPEC_TRAINED", "/trained")).absolute(),
        run_id=os.environ.get("RECIPEC_RUN_ID") or None,
        engine=os.environ.get("RECIPEC_ENGINE") or None,
        ranks=place,
        fingerprint=_fingerprint(data),
        started=started,
        device=device,
    )
    if stage == "evaluate":
        outputs.verify_trained(run.trained)
    adapted = None
    if spec.adapted is not None:
        folder = Path(os.environ.get("RECIPEC_ADAPTED", "/adapted")).absolute()
        adapted = outputs.verify_adapted(folder, spec.adapted)
    with _lock(run.output):
        outputs.prepare(run.output)
        pin.pin_torch(spec)
        if gpus is not None:
            gpus.pin(spec)
        _quiet()
        with gguf.usable(root / "model", run.output) as base:
            _load(root / spec.scripts[stage]).main(replace(run, base=adapted or base))


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


def _fingerprint(run_json: bytes) -> str:
    """What a checkpoint belongs to: every input, the run id, the libraries and this runtime."""
    digest = hashlib.sha256(run_json)
    digest.update(os.environ.get("RECIPEC_RUN_ID", "").encode())
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
