"""Does everything that a GPU's script computes with lie on the GPU? Asked of a GPU in name only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipec.plan.plan import Settings
from tests.support import named_gpu
from tests.support.settings import (
    CAUSAL,
    CLASSES,
    MULTI_LABEL,
    PAIRS,
    SPANS,
    SUMMARY,
    TAGS,
    on_gpu,
    vary,
)
from tests.support.training import PROJECT, place

pytestmark = [pytest.mark.slow]

MIXTRAL = vary(
    CAUSAL,
    model__type="mixtral",
    model__experts=4,
    model__router_loss=0.01,
    model__dtype="bfloat16",  # as far as torch knows without a GPU, its grouped products take that
    method__target_modules=("k_proj", "o_proj", "q_proj", "v_proj"),
)
CASES: dict[str, Settings] = {
    "packed": vary(CAUSAL, training__packing=True),
    "noise": vary(CAUSAL, training__neftune_alpha=5.0),
    "experts": MIXTRAL,
    "classes": vary(CLASSES, method__type="full"),
    "weighted-classes": PAIRS,
    "labels": vary(MULTI_LABEL, task__class_weights=(1.0, 2.0, 3.0)),
    "weighted-tags": vary(TAGS, task__class_weights=(1.0,) * 7),
    "spans": SPANS,
    "summary": SUMMARY,
    "prefix": vary(CLASSES, method__type="prefix", method__virtual_tokens=4),
    "prompt": vary(CAUSAL, method__type="prompt", method__virtual_tokens=4),
    "ia3": vary(
        CLASSES,
        method__type="ia3",
        method__target_modules=("key", "value"),
        method__feedforward_modules=(),
    ),
    "bottleneck": vary(
        CLASSES,
        method__type="bottleneck",
        method__reduction_factor=4,
        method__adapted_layers=(r"layer\.\d+\.output\.dense$",),
    ),
}


def looked_at(roots: list[Path]) -> list[str]:
    """What named_gpu.py says of these recipes; a process of its own, since a device is for good."""
    done = subprocess.run(
        [sys.executable, named_gpu.__file__, *map(str, roots)],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "runtime")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_no_operation_meets_two_devices(tmp_path: Path) -> None:
    roots = [place(tmp_path / name, on_gpu(settings)) for name, settings in CASES.items()]
    assert looked_at(roots) == [f"{root} fine" for root in roots]


FORGOTTEN = {
    ", device=logits.device": "",
    "to_device(batch, DEVICE)": "batch",
    "class_logits(model, to_device(batch, DEVICE)).cpu()": (
        "class_logits(model, to_device(batch, DEVICE))"
    ),
}


def test_what_is_forgotten_is_found(tmp_path: Path) -> None:
    roots = []
    for number, (old, new) in enumerate(FORGOTTEN.items()):
        root = place(tmp_path / str(number), on_gpu(PAIRS))
        path = root / "recipe" / "train.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        roots.append(root)
    said = looked_at(roots)
    assert len(said) == len(roots)
    for line in said:
        assert "Expected all tensors to be on the same device" in line, line
