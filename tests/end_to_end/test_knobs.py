"""Training knobs in real runs: the same bytes twice and after kills, and what each promises.

Every run is a process of its own, as the host engine starts it; models are tiny and random.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from recipec_runtime import contract, pin
from tests.support.settings import CAUSAL, SUMMARY, vary
from tests.support.training import history, place, read, run, start, trained, wait_for

PLAIN = vary(CAUSAL, method__type="full", method__target_modules=(), training__log_every=1)
TOGETHER = {
    "training__optimizer": "lion",
    "training__beta2": 0.95,
    "training__neftune_alpha": 5.0,
    "training__ema_decay": 0.9,
    "training__mixed_precision": "fp16",
    "training__evaluate_every": 3,
    "training__patience": 5,
    "training__keep": "best",
    "training__overlong": "drop",
    "training__max_lost": 0.5,
    "training__open_steps": True,
    "training__accumulation": 2,
    "training__micro_batch_size": 4,
}
MIXED: dict[str, dict[str, Any]] = {
    "adafactor": {
        "training__optimizer": "adafactor",
        "training__learning_rate": 0.01,
        "training__mixed_precision": "bf16",
        "training__ema_decay": 0.9,
    },
    "adamw-8bit": {
        "training__optimizer": "adamw-8bit",
        "training__beta1": 0.8,
        "training__neftune_alpha": 5.0,
        "training__schedule": "warmup-stable-decay",
        "training__decay_steps": 5,
    },
    "sgd": {
        "training__optimizer": "sgd",
        "training__learning_rate": 0.1,
        "training__mixed_precision": "fp16",
        "training__schedule": "inverse-sqrt",
        "training__keep": "best",
    },
    "stopping": {
        "training__patience": 3,
        "training__min_delta": 0.05,
        "training__keep": "best",
        "training__evaluate_every": 2,
        "training__learning_rate": 0.1,
    },
}
"""Recipes that have each knob that TOGETHER has not."""


def killed(root: Path, output: Path, steps: list[int]) -> None:
    """Kill a run after each of these steps, in turn, going on from its checkpoint each time."""
    for step in steps:
        process = start(root, output)
        wait_for(process, f"step {step:>2}/")
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_everything_together_is_killed_and_goes_on(tmp_path: Path) -> None:
    root = place(tmp_path / "root", vary(PLAIN, training__max_length=16, **TOGETHER))
    wanted = trained(root, tmp_path / "a")
    killed(root, tmp_path / "b", sorted(random.Random(1).sample(range(4, 12), 2)))
    assert trained(root, tmp_path / "b") == wanted

    metrics = read(tmp_path / "a" / "metrics.json")
    dropped = metrics["train"]["rows"]["dropped"]
    assert 0 < dropped < 16
    assert metrics["train"]["steps"] == 5 * -(-(32 - dropped) // 8), "epochs of the rows kept"
    assert metrics["validation"]["after"]["loss"] < metrics["validation"]["before"]["loss"]
    last = history(tmp_path / "a")[-1]
    assert (last["best_step"], last["saved"]) == (
        metrics["train"]["best_step"],
        metrics["validation"]["after"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXED)
def test_the_same_bytes_twice_and_after_kills(name: str, tmp_path: Path) -> None:
    root = place(tmp_path / "root", vary(PLAIN, **MIXED[name]))
    wanted = trained(root, tmp_path / "a")
    again = trained(root, tmp_path / "b", PYTHONHASHSEED="7", OMP_NUM_THREADS="4")
    assert again == wanted
    metrics = read(tmp_path / "a" / "metrics.json")
    if name != "stopping":
        assert metrics["validation"]["after"]["loss"] < metrics["validation"]["before"]["loss"]
    last = metrics["train"].get("steps", 20)
    killed(root, tmp_path / "c", sorted(random.Random(name).sample(range(2, last), 2)))
    assert trained(root, tmp_path / "c") == wanted


def test_training_stops_and_saves_the_best(tmp_path: Path) -> None:
    """The saved weights are those of a run that ends at the best step."""
    level = vary(
        PLAIN,
        training__schedule="constant",
        training__warmup_steps=0,
        training__learning_rate=0.05,
        training__evaluate_every=2,
    )
    stopping = vary(level, training__patience=2, training__keep="best")
    root = place(tmp_path / "root", stopping)
    done = run("train", root, tmp_path / "a")
    assert done.returncode == 0, done.stderr

    rows = history(tmp_path / "a")
    measured = {row["step"]: row["validation"] for row in rows if "validation" in row}
    metrics = read(tmp_path / "a" / "metrics.json")
    best, last = metrics["train"]["best_step"], metrics["train"]["steps"]
    assert measured[best]["loss"] == min(found["loss"] for found in measured.values())
    assert (best + 2 * 2, max(measured)) == (last, last)
    assert last < 20, "the loss must get worse for the test to mean something"
    assert rows[-1] == {"step": last, "best_step": best, "saved": measured[best]}
    assert metrics["validation"] == {"before": measured[0], "after": measured[best]}
    assert f"loss has not improved in 2 evaluations: training ends at step {last}" in done.stderr
    assert f"the weights of step {best} are the best and are saved" in done.stderr

    until = vary(level, training__total_steps=best)
    place(tmp_path / "root", until)
    wanted = trained(root, tmp_path / "b")
    assert best > 0
    for name in ("model/model.safetensors", "model/config.json"):
        assert read_bytes(tmp_path / "a" / name) == read_bytes(tmp_path / "b" / name)
    assert "model/model.safetensors" in wanted


def read_bytes(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.slow
def test_a_generated_metric_is_watched(tmp_path: Path) -> None:
    watched = {"training__patience": 9, "training__best_metric": "rougeL", "training__keep": "best"}
    root = place(tmp_path / "root", vary(SUMMARY, **watched))
    trained(root, tmp_path / "a")
    measured = [row["validation"] for row in history(tmp_path / "a") if "validation" in row]
    assert len(measured) == 6
    best = max(found["rougeL"] for found in measured)
    assert read(tmp_path / "a" / "metrics.json")["validation"]["after"]["rougeL"] == best


@pytest.mark.slow
def test_when_it_is_measured_changes_no_weight(tmp_path: Path) -> None:
    base = vary(PLAIN, training__neftune_alpha=5.0, model__dropout=0.2)
    changes: list[dict[str, Any]] = [
        {},
        {"training__evaluate_every": 3, "training__log_every": 7},
        {"training__patience": 20, "training__checkpoint_every": 5},
        {"validation_rows": 0},
        {"training__trackers": ("tensorboard",)},
    ]
    found = set()
    for number, change in enumerate(changes):
        root = place(tmp_path / "root", vary(base, **change))
        output = tmp_path / str(number)
        done = run("train", root, output)
        assert done.returncode == 0, done.stderr
        found.add(read_bytes(output / "model" / "model.safetensors"))
    assert len(found) == 1
    assert (tmp_path / "4" / "trackers" / "tensorboard").is_dir()
    receipt = read(tmp_path / "4" / "receipt.json")
    assert not [name for name in receipt["outputs"] if "trackers" in name]


@pytest.mark.slow
def test_averages_are_measured_and_saved(tmp_path: Path) -> None:
    """What the history says of the last step is true of the saved files, in a fresh process."""
    settings = vary(PLAIN, training__ema_decay=0.95, method__type="lora", test_rows=0)
    settings = vary(settings, method__target_modules=("c_attn",))
    root = place(tmp_path / "root", settings)
    trained(root, tmp_path / "a")
    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    after = read(tmp_path / "a" / "metrics.json")["validation"]["after"]
    assert read(tmp_path / "e" / "metrics.json")["validation"]["tuned"] == after


def test_too_many_rows_are_too_long(tmp_path: Path) -> None:
    dropping = {"training__overlong": "drop", "training__open_steps": True}
    root = place(tmp_path / "root", vary(PLAIN, training__max_length=3, **dropping))
    done = run("train", root, tmp_path / "a")
    assert done.returncode == 5
    assert "error: 32 of 32 training rows are empty or too long, and training.max_lost" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


KILLER = """
import os, signal, sys
from recipec_runtime import launch

left = int(sys.argv[1])
real = os.fsync

def strike(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)

os.fsync = strike
raise SystemExit(launch.main(["train"]))
"""


@pytest.mark.slow
def test_killed_around_the_best_weights(tmp_path: Path) -> None:
    """Killed before, between and after the writes of checkpoint and best weights, again and again.

    Each start gets a little further before it is killed at its next sync.
    """
    root = place(tmp_path / "root", vary(PLAIN, **MIXED["stopping"]))
    wanted = trained(root, tmp_path / "a")
    spec = contract.parse((root / "recipe" / "run.json").read_bytes())
    kills = 0
    for moment in random.Random(5).choices(range(1, 9), k=6):
        process = start(root, tmp_path / "b", "-c", KILLER, str(moment), **pin.required(spec))
        _, errors = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
    assert kills > 2
    assert trained(root, tmp_path / "b") == wanted
