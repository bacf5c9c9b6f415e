"""The rules of `training`, each by its text and its place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.recipe.test_rules import broken, only

VALIDATED = {"data": {"train": "a.jsonl", "validation": "v.jsonl", "test": "t.jsonl"}}


@pytest.mark.parametrize(
    "training",
    [
        {"warmup_steps": 3},
        {"warmup_ratio": 0.5, "schedule": "warmup-stable-decay", "decay_ratio": 0.5},
        {"schedule": "polynomial", "power": 2},
        {"schedule": "inverse-sqrt"},
        {"optimizer": "lion", "beta1": 0.9, "beta2": 0.95},
        {"optimizer": "adafactor"},
        {"optimizer": "sgd", "beta1": 0.0, "learning_rate": 0.1},
        {"epsilon": 1e-6, "neftune_alpha": 5, "ema_decay": 0.99, "mixed_precision": "fp16"},
        {"overlong": "drop", "max_lost": 0.5, "trackers": ["tensorboard", "wandb", "mlflow"]},
        {"early_stopping": {"patience": 2, "metric": "rougeL"}, "keep": "best"},
        {"evaluate_every": 10, "early_stopping": {"patience": 2}},
    ],
)
def test_what_goes_together(training: dict[str, Any]) -> None:
    assert broken(training=training, domain=VALIDATED) == []


def test_two_ways_to_say_one_thing() -> None:
    assert only(training={"warmup_steps": 0, "warmup_ratio": 0.1}) == (
        "training.warmup_steps",
        "`training.warmup_steps` and `training.warmup_ratio` are both given",
        "keep one of them",
    )


@pytest.mark.parametrize(
    ("name", "value", "owner"),
    [("decay_ratio", 0.1, "warmup-stable-decay"), ("power", 2, "polynomial")],
)
def test_a_knob_of_another_schedule(name: str, value: float, owner: str) -> None:
    assert only(training={name: value}) == (
        f"training.{name}",
        f"`training.{name}` does nothing with schedule cosine",
        f"remove it, or set `schedule: {owner}`",
    )


def test_a_schedule_longer_than_training() -> None:
    schedule = {"schedule": "warmup-stable-decay", "warmup_ratio": 0.3, "decay_ratio": 0.8}
    assert only(training=schedule) == (
        "training.decay_ratio",
        "warmup_ratio 0.3 and decay_ratio 0.8 are more than all steps",
        "together they may be 1 at most",
    )


@pytest.mark.parametrize(
    ("optimizer", "name", "owners"),
    [
        ("adafactor", "beta1", "adamw, adamw-8bit, sgd, lion"),
        ("sgd", "beta2", "adamw, adamw-8bit, lion"),
        ("lion", "epsilon", "adamw, adamw-8bit"),
    ],
)
def test_a_knob_of_another_optimizer(optimizer: str, name: str, owners: str) -> None:
    assert only(training={"optimizer": optimizer, name: 0.5, "learning_rate": 0.1}) == (
        f"training.{name}",
        f"`training.{name}` does nothing with optimizer {optimizer}",
        f"remove it, or choose one of: {owners}",
    )


def test_sgd_needs_a_rate() -> None:
    assert only(training={"optimizer": "sgd"}) == (
        "training.optimizer",
        "sgd has no usual learning rate: its steps are as large as the gradients",
        "set `training.learning_rate`; it is often a hundred times AdamW's",
    )


@pytest.mark.parametrize("asked", [{}, {"reproducibility": "portable"}])
def test_8_bit_adamw_is_not_portable(asked: dict[str, Any]) -> None:
    assert only(training={"optimizer": "adamw-8bit"}, **asked) == (
        "training.optimizer",
        "adamw-8bit gives other bytes on other CPUs, so the run cannot be portable",
        "set `reproducibility: bitwise`, or use adafactor or lion, which also need less memory"
        " than adamw",
    )
    for mode in ("bitwise", "seeded"):
        assert broken(training={"optimizer": "adamw-8bit"}, reproducibility=mode) == []


def test_mixed_precision_of_16_bit_weights() -> None:
    assert only(
        training={"mixed_precision": "bf16"},
        architecture={"model": "path:m", "dtype": "bfloat16"},
        reproducibility="bitwise",
    ) == (
        "training.mixed_precision",
        "mixed precision keeps the weights in 32 bits, and dtype bfloat16 does not",
        "keep one of them; mixed precision learns better, a 16-bit dtype needs less",
    )


@pytest.mark.parametrize(
    ("training", "key", "shown"),
    [
        ({"evaluate_every": 5}, "evaluate_every", "evaluate_every"),
        ({"early_stopping": {"patience": 1}}, "early_stopping", "early_stopping"),
        ({"keep": "best"}, "keep", "keep: best"),
    ],
)
def test_nothing_to_measure_on(training: dict[str, Any], key: str, shown: str) -> None:
    assert only(training=training) == (
        f"training.{key}",
        f"`{shown}` has no data to be measured on",
        "name `domain.data.validation`: a file, or a share of the training rows",
    )


def test_a_metric_that_is_not_measured() -> None:
    stopping = {"early_stopping": {"patience": 1, "metric": "rouge1"}}
    assert only(training=stopping, evaluation={"metrics": ["rougeL"]}, domain=VALIDATED) == (
        "training.early_stopping.metric",
        "`rouge1` cannot be watched: it is not measured",
        "measured: loss, rougeL",
    )


def test_no_row_of_question_answering_is_too_long() -> None:
    assert only(
        task={"type": "question-answering"},
        training={"overlong": "drop"},
    ) == (
        "training.overlong",
        "question-answering reads long contexts in windows: no row is too long",
        "remove it; `task.doc_stride` says how far the windows overlap",
    )


def test_a_tracker_named_twice() -> None:
    assert only(training={"trackers": ["wandb", "mlflow", "wandb"]}) == (
        "training.trackers",
        "wandb is named 2 times",
        "name it once",
    )


@pytest.mark.parametrize(
    ("batch", "many", "message", "near"),
    [
        (16, 3, "cannot be shared equally by 3 processes", "15 or 18"),
        (7, 2, "cannot be shared equally by 2 processes", "6 or 8"),
        (4, 8, "has not a row for each of 8 processes", "8"),
    ],
)
def test_a_batch_that_processes_cannot_share(
    batch: int, many: int, message: str, near: str
) -> None:
    found = only(training={"batch_size": batch, "micro_batch_size": 1}, hardware={"count": many})
    assert found == (
        "training.batch_size",
        f"batch_size {batch} {message}",
        f"the nearest that can be shared: {near}",
    )


def test_a_corpus_batch_that_processes_cannot_share() -> None:
    domain = {**VALIDATED, "corpus": {"train": "c.txt", "batch_size": 9}}
    assert only(domain=domain, hardware={"nodes": 2}) == (
        "domain.corpus.batch_size",
        "batch_size 9 cannot be shared equally by 2 processes",
        "the nearest that can be shared: 8 or 10",
    )


def test_a_micro_batch_beside_the_share_of_a_process() -> None:
    many = {"count": 2, "nodes": 2}
    training = {"batch_size": 48, "micro_batch_size": 8}
    assert only(training=training, hardware=many) == (
        "training.micro_batch_size",
        "micro_batch_size 8 does not divide the 12 rows of each process",
        "the nearest smaller one that does is 6",
    )
    assert broken(training={**training, "micro_batch_size": 6}, hardware=many) == []
    assert broken(training={"micro_batch_size": 5}, hardware=many) == []
