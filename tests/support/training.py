"""Stages of an emitted recipe, each in a process of its own, as the host engine runs them.

Models are tiny and random, made once per test session; nothing is downloaded.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipec.emit.run_json import run_json
from recipec.emit.script import emit_bundle
from recipec.plan.plan import Settings
from recipec.store import write_atomically
from recipec_runtime import contract, pin
from recipec_runtime.errors import RunError
from tests.support import models
from tests.support.settings import SUMMARY, lock_of, outputs, place_recipe
from tests.support.warm import run_warm

PROJECT = Path(__file__).parents[2]
INPUTS = {"RECIPEC_TRAINED", "RECIPEC_ADAPTED", "RECIPEC_CHECKPOINTS", "RECIPEC_COLLECT"}
"""Variables that say where something lies, and have no part in how Python starts."""


def base(model_type: str) -> Path:
    """The folder with model/ and data/ of a model type, made once for all test processes."""
    source = Path(models.__file__)
    stamp = f"{source.stat().st_mtime_ns:x}"
    folder = Path(tempfile.gettempdir()) / f"recipec-tests-{os.getuid()}-{stamp}" / model_type
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    with (folder.parent / f"{model_type}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "data").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            program = [sys.executable, str(source), model_type, str(folder / "model")]
            subprocess.run(program, check=True, capture_output=True)
    return folder


def place(root: Path, settings: Settings) -> Path:
    """`root` with the recipe beside a copy of its model type's model and data."""
    shutil.copytree(base(settings.model.type), root, dirs_exist_ok=True)
    return place_recipe(root, settings)


def environment(root: Path, output: Path, **more: str) -> dict[str, str]:
    """The variables of a run on the host."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "PYTHONPATH": str(PROJECT / "runtime"),
        "RECIPEC_ROOT": str(root),
        "RECIPEC_OUTPUT": str(output),
        "RECIPEC_RUN_ID": "sha256:" + "1" * 64,
        "RECIPEC_ENGINE": "host",
        **more,
    }


def run(
    stage: str, root: Path, output: Path, *, cwd: Path | None = None, umask: int = -1, **more: str
) -> subprocess.CompletedProcess[str]:
    """One stage in a process of its own, forked from one that has imported the libraries.

    With any variable in `more` it is a fresh Python instead.
    """
    pinned = _pinned(root)
    if pinned is not None and not more.keys() - INPUTS:
        variables = environment(root, output, **more) | pinned
        return run_warm(stage, variables, pinned, cwd=cwd or root, umask=umask)
    return subprocess.run(
        [sys.executable, "-m", "recipec_runtime", stage],
        env=environment(root, output, **more),
        cwd=cwd or root,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )


def _pinned(root: Path) -> dict[str, str] | None:
    """The variables that the recipe pins; None where run.json is missing or wrong."""
    try:
        return pin.required(contract.parse((root / "recipe" / "run.json").read_bytes()))
    except (OSError, RunError):
        return None


def trained(root: Path, output: Path, **more: Any) -> Mapping[str, str]:
    """Train to the end; the digest of every file that must be reproducible."""
    done = run("train", root, output, **more)
    assert done.returncode == 0, done.stderr
    assert not (output / "checkpoint").exists()
    return outputs(output)


def start(root: Path, output: Path, *program: str, **more: str) -> subprocess.Popen[str]:
    """Training (or another program) in a process of its own, to be signalled or killed."""
    return subprocess.Popen(
        [sys.executable, *(program or ("-m", "recipec_runtime", "train"))],
        env=environment(root, output, **more),
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read stderr up to a line that holds `text`."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"never said {text!r}: {seen}")


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())


def history(output: Path) -> list[dict[str, Any]]:
    """The rows of history.jsonl."""
    return [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]


def place_dry(root: Path, settings: Settings) -> Path:
    """As `place`, for a recipe for a GPU whose DEVICE is then the CPU; run.json asks for no GPU.

    The scripts are otherwise, byte for byte, what would run on the GPU; but for 4 bits, where
    bitsandbytes' own kernel for CPUs does not work on every CPU: then ours is taken.
    """
    shutil.copytree(base(settings.model.type), root, dirs_exist_ok=True)
    lock = lock_of(root, settings)
    files = dict(emit_bundle(settings, lock))
    changes = {b'DEVICE = "cuda"': b'DEVICE = "cpu"'}
    if settings.method.quantization == "nf4":
        call = b"    return BitsAndBytesConfig("
        changes[call] = (
            b"    __import__('recipec_runtime.quantized').quantized.plain_kernels()\n" + call
        )
    for old, new in changes.items():
        assert files["train.py"].count(old) == 1
        files["train.py"] = files["train.py"].replace(old, new)
    assert b'"cuda"' not in files["train.py"] + files["evaluate.py"]
    del files["run.json"]
    files["run.json"] = run_json(replace(settings, hardware=SUMMARY.hardware), lock, files)
    for name, content in files.items():
        write_atomically(root / "recipe" / name, content)
    return root
