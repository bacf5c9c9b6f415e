"""The knobs of the architecture, trained: routers, rotary scaling, gradient checkpointing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.cells import place_cell
from tests.support.training import history, trained


def weights(root: Path, output: Path, **knobs: Any) -> str:
    """The digest of the weights that a causal-lm recipe on a tiny llama trains."""
    place_cell(root, "causal-lm", "full", "llama", **knobs)
    return trained(root, output)["model/model.safetensors"]


def test_gradient_checkpointing_changes_no_byte(tmp_path: Path) -> None:
    """Dropout too is drawn alike when activations are computed a second time."""
    plain = {"dropout": 0.1}
    first = weights(tmp_path / "a", tmp_path / "x", architecture=plain)
    second = weights(
        tmp_path / "b", tmp_path / "y", architecture={**plain, "gradient_checkpointing": True}
    )
    assert first == second


@pytest.mark.parametrize(
    "kind", ["yarn", *(pytest.param(k, marks=pytest.mark.slow) for k in ("linear", "dynamic"))]
)
def test_rotary_positions_reach_further(kind: str, tmp_path: Path) -> None:
    """The tiny llama has 64 positions; scaled by 2 it takes rows of 100 tokens."""
    knobs = {"architecture": {"rope": {"type": kind, "factor": 2.0}}}
    training = {"max_length": 100}
    first = weights(tmp_path / "a", tmp_path / "x", training=training, **knobs)
    second = weights(tmp_path / "a", tmp_path / "y", training=training, **knobs)
    assert first == second
    config = (tmp_path / "x/model/config.json").read_text()
    assert f'"rope_type": "{kind}"' in config
    assert '"factor": 2.0' in config


@pytest.mark.parametrize(
    ("model_type", "method"),
    [
        ("mixtral", "full"),
        ("qwen3_moe", "lora"),
        pytest.param("qwen2_moe", "full", marks=pytest.mark.slow),
    ],
)
def test_the_history_tells_how_much_each_expert_was_used(
    model_type: str, method: str, tmp_path: Path
) -> None:
    moe = {"moe": {"router_loss": 0.05}}
    root = place_cell(tmp_path / "root", "causal-lm", method, model_type, architecture=moe)
    first, second = trained(root, tmp_path / "a"), trained(root, tmp_path / "b")
    assert first == second
    rows = [row["experts"] for row in history(tmp_path / "a") if "experts" in row]
    assert len(rows) == 4, "a row every five steps"
    for shares in rows:
        assert sorted(shares) == ["0", "1", "2", "3"]
        assert math.isclose(sum(shares.values()), 1.0, abs_tol=1e-4)


@pytest.mark.slow
def test_the_router_loss_spreads_tokens(tmp_path: Path) -> None:
    """A heavy router loss ends with experts used more alike than none."""

    def spread(name: str, weight: float) -> float:
        root = place_cell(
            tmp_path / name,
            "causal-lm",
            "full",
            "mixtral",
            architecture={"moe": {"router_loss": weight}},
            training={"steps": 60, "learning_rate": 5e-3},
        )
        trained(root, tmp_path / f"{name}-out")
        last = [row["experts"] for row in history(tmp_path / f"{name}-out") if "experts" in row][-1]
        return float(max(last.values()) - min(last.values()))

    assert spread("heavy", 2.0) < spread("none", 0.0)
