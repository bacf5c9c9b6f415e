"""Train on this machine's NVIDIA GPU, everything twice, and compare the bytes.

    python scripts/check_cuda.py [--cells lora,full] [--folder FOLDER]

Wants a GPU, and in this Python recipec with the test extra and the CUDA build of the stack's torch
(compiler/recipec/catalog/stack.toml). Each cell is emitted by the compiler for a tiny model and run
as the host engine runs it: trained twice in fresh processes, killed and resumed, evaluated, and,
where nothing is drawn at random, run on the CPU by the same script. On stdout: one JSON document of
digests that agree or not, losses, steps a second and peak memory. Exit code 0 if all bytes agree,
5 if some do not, 3 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / part) for part in (".", "compiler", "runtime", "templates")]

from recipec.plan.plan import Settings  # noqa: E402 - found by the line above
from recipec_runtime import cuda_driver  # noqa: E402
from recipec_runtime.contract import Accelerator  # noqa: E402
from recipec_runtime.errors import EnvironmentLacks  # noqa: E402
from tests.support.settings import (  # noqa: E402
    CAUSAL,
    PAIRS,
    SPANS,
    SUMMARY,
    TAGS,
    on_gpu,
    outputs,
    place_recipe,
    vary,
)
from tests.support.training import (  # noqa: E402
    environment,
    history,
    place,
    place_dry,
    read,
    start,
    wait_for,
)

LLAMA = vary(
    CAUSAL,
    model__type="llama",
    method__target_modules=(
        *("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"),
    ),
    method__dropout=0.0,
)
"""LoRA on a tiny llama; nothing of it is random but the start."""

KNOBS: dict[str, Any] = {
    "method__dropout": 0.1,
    "training__accumulation": 4,
    "training__micro_batch_size": 2,
    "training__ema_decay": 0.9,
    "training__neftune_alpha": 5.0,
    "model__gradient_checkpointing": True,
}
LARGE: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16}
"""A llama of about 200M weights, large enough for its speed to say something."""

QUANTIZED: dict[str, Any] = {"method__type": "qlora"}
CELLS: dict[str, Settings] = {
    "lora": LLAMA,
    "full": vary(LLAMA, method__type="full"),
    "qlora-nf4": vary(LLAMA, **QUANTIZED, method__quantization="nf4"),
    "qlora-int8": vary(LLAMA, **QUANTIZED, method__quantization="int8"),
    "lora-bf16": vary(LLAMA, training__mixed_precision="bf16"),
    "lora-fp16": vary(LLAMA, training__mixed_precision="fp16"),
    "lora-random": vary(LLAMA, **KNOBS),
    "lora-random-bf16": vary(LLAMA, **KNOBS, training__mixed_precision="bf16"),
    "full-8bit-adamw": vary(LLAMA, method__type="full", training__optimizer="adamw-8bit"),
    "lora-packed": vary(LLAMA, training__packing=True),
    "summarization": vary(SUMMARY, method__dropout=0.0),
    "weighted-pairs": vary(PAIRS, method__type="full"),
    "tags": TAGS,
    "spans": vary(SPANS, method__type="full"),
    "large-lora-bf16": vary(LLAMA, model__dtype="bfloat16", model__gradient_checkpointing=True),
    "large-full": vary(LLAMA, method__type="full", training__mixed_precision="bf16"),
}
"""What is trained, by name."""

COMPARED = ("full", "lora", "summarization")
"""Cells in 32-bit floats without random masks: the CPU's losses are nearly the same."""


def main() -> int:
    """Run the cells; the exit code."""
    parser = argparse.ArgumentParser(description="Train everything twice on this GPU.")
    parser.add_argument("--cells", default=",".join(CELLS), help=f"of {', '.join(CELLS)}")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one if left out")
    options = parser.parse_args()
    names = options.cells.split(",")
    if unknown := sorted(set(names) - set(CELLS)):
        parser.error(f"no cell is called {unknown[0]}")
    try:
        gpu = cuda_driver.find(Accelerator(device="cuda", name="any"), exact=False)
    except EnvironmentLacks as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory() as folder:
        cells = [_cell(name, gpu, (options.folder or Path(folder)) / name) for name in names]
    same = all(cell["same_bytes"] and cell["same_after_kill"] for cell in cells)
    about = {**gpu.identity, "driver": gpu.driver, "cuda": cuda_driver.cuda_of_torch()}
    print(json.dumps({"gpu": about, "same": same, "cells": cells}, indent=2))
    return 0 if same else 5


def _cell(name: str, gpu: cuda_driver.Gpu, folder: Path) -> dict[str, Any]:
    """One cell's numbers. Whatever fails is told in its place, and the next cell goes on."""
    began = time.monotonic()
    settings = vary(
        on_gpu(CELLS[name]),
        hardware__accelerator="-".join(gpu.name.lower().split()),
        hardware__capability=gpu.capability,
    )
    shutil.rmtree(folder, ignore_errors=True)
    root = _placed(folder / "root", settings, large=name.startswith("large"))
    found: dict[str, Any] = {"name": name, "same_bytes": False, "same_after_kill": False}
    try:
        first, second = (_train(root, folder / out) for out in ("a", "b"))
        found["same_bytes"] = first == second
        found["same_after_kill"] = _killed(root, folder / "c") == first
        found["weights"] = {n: d for n, d in first.items() if n.endswith(".safetensors")}
        losses = _losses(folder / "a")
        machine = read(folder / "a" / "machine.json")
        steps = machine["examples_per_second"] / settings.training.batch_size
        found |= {
            "losses": losses,
            "steps_per_second": round(steps, 2),
            "peak_gpu_bytes": machine["peak_gpu_bytes"],
            "evaluated": _stage("evaluate", root, folder / "e", RECIPEC_TRAINED=str(folder / "a")),
        }
        if name in COMPARED:
            dry = place_dry(folder / "dry", settings)
            _train(dry, folder / "d")
            pairs = zip(losses, _losses(folder / "d"), strict=True)
            found["farthest_from_cpu"] = max(abs(one - other) / other for one, other in pairs)
    except RuntimeError as error:
        found["failed"] = str(error)
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def _placed(root: Path, settings: Settings, *, large: bool) -> Path:
    place(root, settings)
    if large:
        _write_large(root / "model")
        place_recipe(root, settings)
    return root


def _write_large(folder: Path) -> None:
    """Put a larger random llama in the tiny one's place."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, **LARGE)
    config.num_attention_heads = config.num_key_value_heads = 16
    config.head_dim = LARGE["hidden_size"] // 16
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def _losses(output: Path) -> list[float]:
    return [row["loss"] for row in history(output) if "loss" in row]


def _variables() -> dict[str, str]:
    """Where this machine keeps the driver, and which GPU is to be taken."""
    names = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
    return {name: os.environ[name] for name in names if name in os.environ}


def _stage(stage: str, root: Path, output: Path, **more: str) -> dict[str, Any]:
    """Run a stage in a process of its own; its metrics. Raises RuntimeError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "recipec_runtime", stage],
        env=environment(root, output, **_variables(), **more),
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{stage} ended with {done.returncode}: {done.stderr[-1500:]}")
    metrics: dict[str, Any] = read(output / "metrics.json")
    return metrics


def _train(root: Path, output: Path) -> dict[str, str]:
    _stage("train", root, output)
    return dict(outputs(output))


def _killed(root: Path, output: Path) -> dict[str, str]:
    """Train, kill -9 in the middle, train on; the digests."""
    process = start(root, output, **_variables())
    try:
        wait_for(process, "step 10/")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return _train(root, output)


if __name__ == "__main__":
    raise SystemExit(main())
