"""What the plan decides of `training`: optimizer, schedule, cadence, what is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from recipec.catalog import support
from recipec.plan.batches import plan_batches, plan_lengths, reads_blocks
from recipec.plan.ledger import Ledger
from recipec.plan.plan import TrainingSettings
from recipec.recipe.schema import Recipe, Training

RATES = {
    "full": (5.0e-5, "the upper end of what BERT's authors tried (arXiv:1810.04805, A.3)"),
    "layernorm": (5.0e-3, "few weights, each near one: they take larger steps"),
    "lora": (3.0e-4, "adapters are trained at several times the rate of full fine-tuning"),
    "qlora": (2.0e-4, "its authors' for models up to 13B (arXiv:2305.14314, B.2)"),
    "bottleneck": (1.0e-3, "within what its authors tried (arXiv:1902.00751, section 3.1)"),
    "prefix": (5.0e-2, "few weights, far from the loss: ten times less hardly moves them"),
    "prompt": (3.0e-1, "its authors' (arXiv:2104.08691, section 2)"),
    "ia3": (1.0e-2, "three times its authors' (arXiv:2205.05638), for fewer steps"),
}
"""Peak learning rate by method where the recipe has none, and why."""
NEW_HEADS = ("sequence-classification", "token-classification", "question-answering")
"""Tasks that put a new head on the model."""
_BESIDE_A_HEAD = {
    "lora": (1.0e-3, "a new head starts from nothing and is trained at the same rate"),
    "qlora": (1.0e-3, "a new head starts from nothing and is trained at the same rate"),
    "bottleneck": (3.0e-3, "the most that its authors tried (arXiv:1902.00751, section 3.1)"),
    "prompt": (1.0e-1, "a new head is trained at the same rate: less than for the prompt alone"),
}
"""The same where the model has a new head."""
_PROJECTED = (1.0e-2, "a network makes the prefix: each step of its weights goes further")
_COSINE = "after warmup, down to zero along half a cosine"
_DECAY = "the share that MiniCPM's authors found enough (arXiv:2404.06395)"
_BETAS = {
    "adamw": ((0.9, 0.999), "Adam's authors' (arXiv:1412.6980)"),
    "adamw-8bit": ((0.9, 0.999), "Adam's authors' (arXiv:1412.6980)"),
    "lion": ((0.9, 0.99), "Lion's authors' (arXiv:2302.06675)"),
    "sgd": ((0.9, 0.0), "the usual momentum"),
}
"""Defaults of beta1 and beta2 by optimizer; beta1 is SGD's momentum. Adafactor has neither."""


def plan_training(
    recipe: Recipe, train_rows: int, config: Mapping[str, Any], ledger: Ledger
) -> TrainingSettings:
    """The training's settings; `config` is the model's config.json."""
    batches = plan_batches(recipe, train_rows, ledger)
    total = batches.total_steps
    return TrainingSettings(
        **asdict(batches),
        **plan_lengths(recipe, config, ledger),
        **_optimizer(recipe, ledger),
        **_schedule(recipe.training, total, ledger),
        **_extras(recipe, ledger),
        packing=_packing(recipe, ledger),
        **_cadence(recipe.training, total, ledger),
        **_kept(recipe, ledger),
    )


def _optimizer(recipe: Recipe, ledger: Ledger) -> dict[str, Any]:
    training = recipe.training
    rate, reason = _usual_rate(recipe)
    rate = ledger.choose("training.learning_rate", training.learning_rate, rate, reason)
    fused = "the same bytes on every CPU, and fused: the fastest"
    decay = "its own; biases and norms are exempt"
    return {
        "learning_rate": float(rate),
        "optimizer": ledger.keep("training", training, "optimizer", fused),
        **_betas(training, ledger),
        "weight_decay": float(ledger.keep("training", training, "weight_decay", decay)),
    }


def _usual_rate(recipe: Recipe) -> tuple[float, str]:
    """The method's rate, as far as the optimizer's steps are of AdamW's size."""
    rate, reason = RATES[recipe.method.type]
    if recipe.method.type == "prefix" and recipe.method.projection:
        rate, reason = _PROJECTED
    if recipe.task.type in NEW_HEADS:
        rate, reason = _BESIDE_A_HEAD.get(recipe.method.type, (rate, reason))
    if recipe.training.optimizer == "adafactor":
        return 1.0e-2, "relative to each weight's size (arXiv:1804.04235, algorithm 5)"
    if recipe.training.optimizer == "lion":
        said = "a fifth of AdamW's: its authors take a third to a tenth (arXiv:2302.06675)"
        return float(f"{rate / 5:.2g}"), said
    return rate, reason


def _betas(training: Training, ledger: Ledger) -> dict[str, float]:
    """beta1, beta2 and epsilon of the optimizers that have them."""
    if training.optimizer == "adafactor":
        return {}
    (first, second), reason = _BETAS[training.optimizer]
    chosen = {"beta1": ledger.choose("training.beta1", training.beta1, first, reason)}
    if training.optimizer != "sgd":
        chosen["beta2"] = ledger.choose("training.beta2", training.beta2, second, reason)
    if training.optimizer.startswith("adamw"):
        chosen["epsilon"] = ledger.choose("training.epsilon", training.epsilon, 1e-8, reason)
    return {name: float(value) for name, value in chosen.items()}


def _schedule(training: Training, total: int, ledger: Ledger) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "schedule": ledger.keep("training", training, "schedule", _COSINE),
        "warmup_steps": _warmup(training, total, ledger),
    }
    if training.schedule == "warmup-stable-decay":
        share = ledger.choose("training.decay_ratio", training.decay_ratio, 0.1, _DECAY)
        steps = max(1, min(_steps(share, total), total - chosen["warmup_steps"]))
        chosen["decay_steps"] = ledger.note(
            "training.decay_steps", steps, f"{share:g} of {total} steps", "steps"
        )
    if training.schedule == "polynomial":
        chosen["power"] = float(
            ledger.choose("training.power", training.power, 1.0, "a line; 2 falls faster at first")
        )
    return chosen


def _warmup(training: Training, total: int, ledger: Ledger) -> int:
    if training.warmup_steps is not None:
        steps = min(training.warmup_steps, total)
        said = "the recipe says so" if steps == training.warmup_steps else f"all {total} steps"
        return ledger.note("training.warmup_steps", steps, said, "steps", "recipe")
    share = ledger.choose(
        "training.warmup_ratio", training.warmup_ratio, 0.06, "RoBERTa's share (arXiv:1907.11692)"
    )
    return ledger.note(
        "training.warmup_steps", _steps(share, total), f"{share:g} of {total} steps", "steps"
    )


def _steps(share: float, total: int) -> int:
    # Rounded first: in binary, 0.07 of 100 is a little above 7.
    return min(math.ceil(round(share * total, 6)), total)


def _extras(recipe: Recipe, ledger: Ledger) -> dict[str, Any]:
    """Knobs that are off unless the recipe turns them on."""
    training = recipe.training

    def keep(name: str, reason: str) -> Any:
        return ledger.keep("training", training, name, reason)

    return {
        "max_grad_norm": float(keep("max_grad_norm", "the global norm; 0 never clips")),
        "label_smoothing": float(keep("label_smoothing", "plain cross-entropy")),
        "neftune_alpha": _float(keep("neftune_alpha", "no noise on the embeddings")),
        "ema_decay": _float(keep("ema_decay", "the weights of the last step, not an average")),
        "mixed_precision": keep("mixed_precision", "all computation in the weights' own precision"),
        "overlong": ledger.note("training.overlong", "split", "all texts are joined into blocks")
        if reads_blocks(recipe)
        else keep("overlong", "the beginning of a long row is better than nothing"),
        "max_lost": float(keep("max_lost", "more empty or dropped rows are a mistake in the data")),
        "seed": keep("seed", "everything random follows from it"),
        "trackers": tuple(keep("trackers", "the history is in history.jsonl and history.csv")),
    }


def _packing(recipe: Recipe, ledger: Ledger) -> bool:
    if "training.packing" not in support.tasks()[recipe.task.type].knobs:
        return False
    return ledger.choose(
        "training.packing",
        recipe.training.packing,
        False,
        "rows are padded to the longest of their batch; packing is faster where they differ much",
    )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _cadence(training: Training, total: int, ledger: Ledger) -> dict[str, Any]:
    return {
        "log_every": ledger.choose(
            "training.log_every",
            training.log_every,
            max(1, total // 100),
            "about a hundred lines of history",
            "steps",
        ),
        "checkpoint_every": ledger.choose(
            "training.checkpoint_every",
            training.checkpoint_every,
            max(1, min(500, total // 5)),
            "a kill loses at most a fifth of the run or 500 steps",
            "steps",
        ),
    }


def _kept(recipe: Recipe, ledger: Ledger) -> dict[str, Any]:
    """Evaluation on the validation rows, and what follows from it."""
    training = recipe.training
    if recipe.domain.data.validation is None:
        return {}
    every = training.evaluate_every
    ledger.choose(
        "training.evaluate_every",
        every,
        "epoch",
        "at the begin of each epoch and at the end",
        "steps" if every else "",
    )
    chosen: dict[str, Any] = {
        "evaluate_every": every or 0,
        "keep": ledger.keep("training", training, "keep", "the weights after the last step"),
    }
    stopping = training.early_stopping
    if stopping is None:
        return chosen
    for name, value in asdict(stopping).items():
        if value is not None:
            reason = "the recipe says so" if value else "any progress counts"
            ledger.note(
                f"training.early_stopping.{name}",
                value,
                reason,
                "evaluations" if name == "patience" else "",
                "recipe" if value else "default",
            )
    if stopping.metric is None:
        ledger.note("training.early_stopping.metric", "loss", "what is trained on", "", "default")
    return {
        **chosen,
        "patience": stopping.patience,
        "min_delta": float(stopping.min_delta),
        "best_metric": stopping.metric or "loss",
    }
