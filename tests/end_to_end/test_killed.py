"""kill -9 at random steps, for every way of keeping state: the resumed bytes are the uninterrupted.

The fast tier kills once for each method; `make test-all` five times, with evaluation and packing.
"""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from recipec.errors import RecipeError
from tests.support.cells import place_cell
from tests.support.settings import outputs
from tests.support.training import run, start, trained, wait_for

FAST = ("qlora", "prefix")
"""Full fine-tuning and LoRA are killed in test_training.py, too."""
METHODS = ("full", "lora", "qlora", "prefix")
WITH: dict[str, dict[str, Any]] = {
    "evaluation": {"evaluate_every": 4},
    "packing": {"packing": True},
}
CASES = [
    pytest.param(
        *(method, kind, kills),
        marks=[] if kills == 1 and method in FAST else [pytest.mark.slow],
    )
    for method in METHODS
    for kind, kills in (("evaluation", 1), ("evaluation", 5), ("packing", 5))
    if (method, kind) != ("prefix", "packing")
]


@pytest.mark.parametrize(("method", "kind", "kills"), CASES)
def test_killed_at_random_steps(method: str, kind: str, kills: int, tmp_path: Path) -> None:
    training = {"log_every": 1, "checkpoint_every": 3, **WITH[kind]}
    root = place_cell(tmp_path / "root", "causal-lm", method, "llama", training=training)
    wanted = trained(root, tmp_path / "a")
    for step in random.Random(f"{method} {kind}").sample(range(4, 20), kills):
        process = start(root, tmp_path / "b")
        wait_for(process, f"step {step:>2}/20")
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "b" / "receipt.json").exists()
        done = run("train", root, tmp_path / "b")
        assert done.returncode == 0, done.stderr
        assert "resumed at step" in done.stderr
        assert outputs(tmp_path / "b") == wanted, f"killed at step {step}"
        shutil.rmtree(tmp_path / "b")


def test_a_prefix_is_not_packed(tmp_path: Path) -> None:
    """Its positions would stand before the first of the packed texts only."""
    with pytest.raises(RecipeError, match=r"training\.packing|packing"):
        place_cell(tmp_path, "causal-lm", "prefix", "llama", training={"packing": True})
