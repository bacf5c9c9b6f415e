"""Scripts for a GPU on a machine without one: refused as they are, and run with DEVICE the CPU.

What a GPU computes is for scripts/check_cuda.py. Here the very same scripts, with that one knob
turned, must train to the bytes of the scripts for CPUs: moving batches, reading losses once a step
and clipping as torch does change nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from recipec.plan.plan import Settings
from tests.support.settings import CAUSAL, CLASSES, PAIRS, SPANS, SUMMARY, TAGS, on_gpu, vary
from tests.support.training import PROJECT, environment, place, place_dry, read, run, trained

SMALL: dict[str, Any] = {"training__total_steps": 4, "training__epochs": 1}
KNOBS: dict[str, Any] = {
    "training__accumulation": 4,
    "training__micro_batch_size": 2,
    "training__ema_decay": 0.9,
    "training__neftune_alpha": 5.0,
    "training__evaluate_every": 2,
    "training__keep": "best",
    "training__label_smoothing": 0.1,
    "model__dropout": 0.1,
}
SLOW = pytest.mark.slow
LLAMA = vary(
    CAUSAL,
    model__type="llama",
    method__type="qlora",
    method__target_modules=(
        *("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"),
    ),
)
CASES = [
    pytest.param(vary(CAUSAL, training__packing=True, **KNOBS), id="packed-with-knobs"),
    pytest.param(vary(PAIRS, method__type="full"), id="weighted-classes", marks=SLOW),
    pytest.param(vary(CAUSAL, training__mixed_precision="bf16", **KNOBS), id="bf16", marks=SLOW),
    pytest.param(vary(SUMMARY, training__mixed_precision="fp16"), id="fp16", marks=SLOW),
    pytest.param(vary(SUMMARY, training__optimizer="lion"), id="t5-lion", marks=SLOW),
    pytest.param(vary(SPANS, method__type="full"), id="spans", marks=SLOW),
    pytest.param(
        vary(TAGS, task__class_weights=(0.5, *(1.5,) * 6)), id="weighted-tags", marks=SLOW
    ),
    pytest.param(vary(LLAMA, method__quantization="nf4"), id="nf4", marks=SLOW),
    pytest.param(vary(LLAMA, method__quantization="int8"), id="int8", marks=SLOW),
    pytest.param(
        vary(CLASSES, method__type="prefix", method__virtual_tokens=4), id="prefix", marks=SLOW
    ),
    pytest.param(
        vary(CAUSAL, method__type="prompt", method__virtual_tokens=4), id="prompt", marks=SLOW
    ),
    pytest.param(
        vary(
            CLASSES,
            method__type="bottleneck",
            method__reduction_factor=4,
            method__adapted_layers=(r"layer\.\d+\.output\.dense$",),
        ),
        id="bottleneck",
        marks=SLOW,
    ),
]


def numbers(folder: Path, skip: set[str]) -> dict[str, str]:
    """Digests of what was computed: not of the receipt and card, which name the hardware."""
    receipt = read(folder / "receipt.json")["outputs"]
    return {name: digest for name, digest in receipt.items() if name not in skip}


@pytest.mark.parametrize("settings", CASES)
def test_the_same_script_on_a_cpu_gives_the_bytes_of_the_one_for_cpus(
    settings: Settings, tmp_path: Path
) -> None:
    settings = vary(settings, **SMALL)
    plain, dry = place(tmp_path / "plain", settings), place_dry(tmp_path / "dry", on_gpu(settings))
    found = []
    for root in (plain, dry):
        trained(root, root / "out")
        done = run("evaluate", root, root / "evaluated", RECIPEC_TRAINED=str(root / "out"))
        assert done.returncode == 0, done.stderr
        card = {"model/README.md"}
        found.append((numbers(root / "out", card), numbers(root / "evaluated", set())))
    assert found[0] == found[1]
    assert any(name.endswith(".safetensors") for name in found[0][0])
    assert "predictions.jsonl" in found[0][1]


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_without_a_gpu_nothing_is_begun(stage: str, tmp_path: Path) -> None:
    if import_module("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    root = place(tmp_path / "root", on_gpu(SUMMARY))
    (root / "model" / "model.safetensors").write_bytes(b"not even read")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "recipec_runtime", stage],
        env={**environment(root, tmp_path / "out"), "TMPDIR": os.fspath(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "error: the recipe trains on a GPU (nvidia-h100-80gb), and there is no NVIDIA driver here:"
        " libcuda.so.1 cannot be loaded\n"
        "  hint: start the container with a GPU: `docker run --gpus 1`, `podman run --device"
        " nvidia.com/gpu=all`, a job's GPU request; `recipec doctor` tells what this machine has\n"
    )
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.skipif(not import_module("torch").cuda.is_available(), reason="no CUDA device")
@pytest.mark.cuda
def test_a_gpu_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "check_cuda.py", "--folder", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert {cell["name"] for cell in cells} >= {"lora", "qlora-nf4", "full"}
    assert all(cell["same_bytes"] for cell in cells)
