"""What the plan decides of optimizer, schedule, cadence and of what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.plan.plan import TrainingSettings
from tests.unit.plan.test_make_plan import decision, plan, recipe

VALIDATED = {"data": {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}}


def planned(rows: int = 160, method: str = "lora", **training: Any) -> TrainingSettings:
    wanted = recipe(training=training, method={"type": method}, domain=VALIDATED)
    return plan(wanted, rows=rows).settings.training


@pytest.mark.parametrize(
    ("given", "warmup"),
    [
        ({}, 2),  # 6% of 30 is 1.8
        ({"warmup_ratio": 0.07, "steps": 100}, 7),
        ({"warmup_ratio": 0.0}, 0),
        ({"warmup_ratio": 1.0}, 30),
        ({"warmup_steps": 12}, 12),
        ({"warmup_steps": 0}, 0),
        ({"warmup_steps": 500}, 30),
    ],
)
def test_warmup(given: dict[str, Any], warmup: int) -> None:
    assert planned(**given).warmup_steps == warmup


@pytest.mark.parametrize(
    ("given", "decay"),
    [
        ({}, 3),
        ({"decay_ratio": 0.5}, 15),
        ({"decay_ratio": 0.0}, 1),
        ({"decay_ratio": 1.0}, 28),
        ({"decay_ratio": 1.0, "warmup_steps": 30}, 1),
    ],
)
def test_the_end_of_a_level_schedule(given: dict[str, Any], decay: int) -> None:
    """It has a step at least, and none of the warmup's."""
    settings = planned(schedule="warmup-stable-decay", **given)
    assert settings.decay_steps == decay


def test_the_power_is_a_line_unless_it_is_given() -> None:
    assert planned(schedule="polynomial").power == 1.0
    assert planned(schedule="polynomial", power=3).power == 3.0


@pytest.mark.parametrize(
    ("optimizer", "betas", "full", "lora"),
    [
        ("adamw", (0.9, 0.999, 1e-8), 5e-5, 3e-4),
        ("adamw-8bit", (0.9, 0.999, 1e-8), 5e-5, 3e-4),
        ("lion", (0.9, 0.99, 1e-8), 1e-5, 6e-5),
        ("sgd", (0.9, 0.999, 1e-8), 5e-5, 3e-4),
        ("adafactor", (0.9, 0.999, 1e-8), 1e-2, 1e-2),
    ],
)
def test_an_optimizer_has_its_own_usual_numbers(
    optimizer: str, betas: tuple[float, ...], full: float, lora: float
) -> None:
    settings = planned(optimizer=optimizer)
    assert (settings.beta1, settings.beta2, settings.epsilon) == betas
    assert settings.learning_rate == lora
    assert planned(method="full", optimizer=optimizer).learning_rate == full


@pytest.mark.parametrize(
    ("method", "rate", "beside_a_head"),
    [
        ({"type": "full"}, 5e-5, 5e-5),
        ({"type": "layernorm"}, 5e-3, 5e-3),
        ({"type": "lora"}, 3e-4, 1e-3),
        ({"type": "qlora"}, 2e-4, 1e-3),
        ({"type": "bottleneck"}, 1e-3, 3e-3),
        ({"type": "prefix"}, 5e-2, 5e-2),
        ({"type": "prefix", "projection": True}, 1e-2, 1e-2),
        ({"type": "prompt"}, 3e-1, 1e-1),
        ({"type": "ia3"}, 1e-2, 1e-2),
    ],
)
def test_the_usual_rates(method: dict[str, Any], rate: float, beside_a_head: float) -> None:
    """The ones that tests/end_to_end/test_learning.py shows to learn."""
    assert plan(recipe(method=method)).settings.training.learning_rate == rate
    headed = recipe("sequence-classification", method=method)
    bert = {"model_type": "bert", "max_position_embeddings": 512}
    made = plan(headed, family="encoder-only", config=bert)
    assert made.settings.training.learning_rate == beside_a_head


def test_only_the_numbers_that_the_optimizer_has_are_decided() -> None:
    wanted = {"adamw": 3, "adamw-8bit": 3, "lion": 2, "sgd": 1, "adafactor": 0}
    for optimizer, count in wanted.items():
        made = plan(recipe(training={"optimizer": optimizer}))
        names = {"training.beta1", "training.beta2", "training.epsilon"}
        assert len([one for one in made.decisions if one.key in names]) == count, optimizer


def test_evaluation_is_planned_where_there_are_rows_for_it() -> None:
    stopping = {"patience": 3, "metric": "rougeL", "min_delta": 0.5}
    made = plan(
        recipe(
            training={"evaluate_every": 7, "early_stopping": stopping, "keep": "best"},
            domain=VALIDATED,
        )
    )
    settings = made.settings.training
    assert (settings.evaluate_every, settings.keep) == (7, "best")
    assert (settings.patience, settings.best_metric, settings.min_delta) == (3, "rougeL", 0.5)
    assert decision(made, "training.early_stopping.patience").unit == "evaluations"
    assert (planned().evaluate_every, planned().patience, planned().keep) == (0, 0, "last")
    epoch = decision(plan(recipe(domain=VALIDATED)), "training.evaluate_every")
    assert (epoch.value, epoch.reason) == ("epoch", "at the begin of each epoch and at the end")


def test_the_loss_is_watched_unless_another_metric_is_named() -> None:
    made = plan(recipe(training={"early_stopping": {"patience": 2}}, domain=VALIDATED))
    assert made.settings.training.best_metric == "loss"
    watched = decision(made, "training.early_stopping.metric")
    assert (watched.value, watched.origin) == ("loss", "default")


def test_dropped_rows_leave_the_steps_open_unless_they_are_given() -> None:
    made = plan(recipe(training={"overlong": "drop"}))
    assert made.settings.training.open_steps
    for key in ("training.steps", "training.steps_per_epoch"):
        assert decision(made, key).reason.endswith("; fewer if rows are dropped")
    assert not planned(overlong="drop", steps=5).open_steps
    assert not planned().open_steps


def test_what_is_off_says_so() -> None:
    made = plan()
    for key in ("neftune_alpha", "ema_decay", "mixed_precision", "trackers", "label_smoothing"):
        found = decision(made, f"training.{key}")
        assert found.origin == "default"
        assert found.reason
    settings = planned(neftune_alpha=5, ema_decay=0.99, trackers=["mlflow", "tensorboard"])
    assert (settings.neftune_alpha, settings.ema_decay) == (5.0, 0.99)
    assert settings.trackers == ("mlflow", "tensorboard")
