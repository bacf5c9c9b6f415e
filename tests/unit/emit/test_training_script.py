"""What the training knobs put into train.py: only what is used, in the shape ruff leaves alone."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipec.emit.training import OPTIMIZERS, SCHEDULES
from recipec.plan.plan import Settings, TaskSettings
from tests.support.settings import CAUSAL, EVERY, SUMMARY, vary
from tests.unit.emit.test_script import bundle

UNION: dict[str, Any] = {
    "training__accumulation": 4,
    "training__micro_batch_size": 2,
    "training__label_smoothing": 0.1,
    "training__schedule": "polynomial",
    "training__power": 2.0,
    "training__optimizer": "adamw",
    "training__beta2": 0.95,
    "training__epsilon": 1e-6,
    "training__neftune_alpha": 5.0,
    "training__ema_decay": 0.999,
    "training__mixed_precision": "fp16",
    "training__overlong": "drop",
    "training__open_steps": True,
    "training__evaluate_every": 5,
    "training__patience": 3,
    "training__min_delta": 0.01,
    "training__keep": "best",
    "training__trackers": ("tensorboard", "wandb", "mlflow"),
    "model__dropout": 0.1,
    "model__gradient_checkpointing": True,
}
"""Every training knob that goes with every other one, at once."""

CHATS = vary(
    CAUSAL,
    task=TaskSettings(
        type="instruction", columns=(("messages", "messages"),), chat_template="model"
    ),
    evaluation__max_new_tokens=16,
)
EXPERTS = vary(
    CAUSAL,
    model__type="mixtral",
    model__experts=4,
    model__router_loss=0.01,
    method__also_train=("gates",),
)
BASES = (*EVERY, CHATS, EXPERTS, vary(CAUSAL, training__packing=True))


def script(settings: Settings) -> str:
    return bundle(settings)["train.py"].decode("ascii")


def variants() -> list[Settings]:
    """Each knob alone and all together, for each kind of task."""
    found = []
    for base, method in itertools.product(BASES, ("full", "lora")):
        plus = 16.0 if method == "lora" else None
        plain = vary(base, method__type=method, method__lora_plus_ratio=plus)
        union = vary(plain, **UNION)
        found += [union, vary(union, training__open_steps=False), vary(union, validation_rows=0)]
        found += [vary(union, training__patience=0), vary(union, training__keep="last")]
        found += [vary(union, training__ema_decay=None), vary(union, training__accumulation=1)]
        found += [vary(plain, **{name: value}) for name, value in UNION.items()]
        found += [vary(union, training__optimizer=name) for name in OPTIMIZERS]
        found += [vary(plain, training__optimizer=name) for name in OPTIMIZERS]
        for name, warmup in itertools.product(SCHEDULES, (0, 2)):
            schedule = {"training__schedule": name, "training__warmup_steps": warmup}
            found += [vary(plain, **schedule), vary(union, **schedule)]
    return found


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for number, settings in enumerate(variants()):
        (tmp_path / f"train_{number}.py").write_text(script(settings))
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length=100", "--no-cache", str(tmp_path)]
    rules = "--select=E,F,W,I,B,UP,SIM,RUF,C4,PTH,RET"
    for words in (("format", "--diff"), ("check", rules)):
        done = subprocess.run(
            [*ruff, *words, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_longest_script_is_short() -> None:
    longest = max(len(script(settings).splitlines()) for settings in variants())
    assert longest < 350


@pytest.mark.parametrize("base", EVERY, ids=lambda s: s.task.type)
def test_a_plain_recipe_shows_no_knob(base: Settings) -> None:
    text = script(base)
    for word in (
        *("BETAS", "EPSILON", "MOMENTUM", "POWER", "DECAY_STEPS", "NEFTUNE", "EMA", "averages"),
        *("autocast", "scaler", "Watch", "PATIENCE", "break", "drop=", "EPOCHS", "trackers"),
        *("EVALUATE_EVERY", "restore_best"),
    ):
        assert word not in text, word


def _rates(settings: Settings, steps: int = 20) -> list[float]:
    """What the emitted learning_rate gives for each step."""
    tree = ast.parse(script(settings))
    kept: list[ast.stmt] = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name == "learning_rate")
        or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Import) and node.names[0].name == "math")
    ]
    names: dict[str, Any] = {}
    exec(compile(ast.Module(body=kept, type_ignores=[]), "train.py", "exec"), names)
    return [names["learning_rate"](step) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, warmup: int) -> None:
    rates = _rates(
        vary(
            CAUSAL,
            training__schedule=name,
            training__warmup_steps=warmup,
            training__decay_steps=5,
            training__power=2.0,
        )
    )
    peak = 1e-3
    assert max(rates) == peak
    assert min(rates) > 0, "the last step moves the weights, too"
    assert rates[:warmup] == [peak * (step + 1) / warmup for step in range(warmup)]
    after = rates[warmup:]
    assert after == sorted(after, reverse=True)
    if name == "constant":
        assert set(after) == {peak}
    elif name == "warmup-stable-decay":
        assert after[:-4] == [peak] * (len(after) - 4)
        assert after[-5:] == pytest.approx([peak * left / 5 for left in (5, 4, 3, 2, 1)])
    elif name == "inverse-sqrt":
        first = warmup or 1
        wanted = [peak * (first / (step + 1)) ** 0.5 for step in range(warmup, 20)]
        assert after == pytest.approx(wanted)
    elif name == "polynomial":
        share = [1 - step / len(after) for step in range(len(after))]
        assert after == pytest.approx([peak * left**2 for left in share])
    else:
        assert after[-1] < peak / 10


def test_the_loss_alone_is_measured_between_unless_a_generated_metric_is_watched() -> None:
    watched = {"training__patience": 2, "training__best_metric": "rougeL"}
    assert "generate=step == 0" in script(SUMMARY)
    assert "generate=step == 0" in script(vary(SUMMARY, training__patience=2))
    assert "generate=step == 0" not in script(vary(SUMMARY, **watched))
