"""What the plan decides of `training`: optimizer, schedule, cadence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from recipec.plan.batches import plan_batches, plan_lengths
from recipec.plan.ledger import Ledger
from recipec.plan.plan import TrainingSettings
from recipec.recipe.schema import Recipe

_FULL_RATE, _LORA_RATE = 5.0e-5, 3.0e-4


def plan_training(
    recipe: Recipe, train_rows: int, config: Mapping[str, Any], ledger: Ledger
) -> TrainingSettings:
    """The training's settings; `config` is the model's config.json."""
    batches = plan_batches(recipe, train_rows, ledger)
    return TrainingSettings(
        **asdict(batches),
        **plan_lengths(recipe, config, ledger),
        **_optimizer(recipe, batches.total_steps, ledger),
        **_cadence(recipe, batches.total_steps, ledger),
    )


def _optimizer(recipe: Recipe, total_steps: int, ledger: Ledger) -> dict[str, Any]:
    training = recipe.training
    keep = partial(ledger.keep, "training", training)
    full = recipe.method.type == "full"
    rate = ledger.choose(
        "training.learning_rate",
        training.learning_rate,
        _FULL_RATE if full else _LORA_RATE,
        "the upper end of what BERT's authors tried for full fine-tuning (arXiv:1810.04805, A.3)"
        if full
        else "adapters are trained at several times the rate of full fine-tuning",
    )
    share = ledger.choose(
        "training.warmup_ratio", training.warmup_ratio, 0.06, "RoBERTa's share (arXiv:1907.11692)"
    )
    # Rounded first: in binary, 0.07 of 100 is a little above 7.
    warmup = min(math.ceil(round(share * total_steps, 6)), total_steps)
    return {
        "learning_rate": float(rate),
        "warmup_steps": ledger.note(
            "training.warmup_steps", warmup, f"{share:g} of {total_steps} steps", "steps"
        ),
        "schedule": keep("schedule", "after warmup, down to zero along half a cosine"),
        "weight_decay": float(keep("weight_decay", "AdamW's; biases and norms are exempt")),
        "max_grad_norm": float(keep("max_grad_norm", "the global norm; 0 never clips")),
        "label_smoothing": float(keep("label_smoothing", "plain cross-entropy")),
        "seed": keep("seed", "everything random follows from it"),
    }


def _cadence(recipe: Recipe, total_steps: int, ledger: Ledger) -> dict[str, Any]:
    return {
        "log_every": ledger.choose(
            "training.log_every",
            recipe.training.log_every,
            max(1, total_steps // 100),
            "about a hundred lines of history",
            "steps",
        ),
        "checkpoint_every": ledger.choose(
            "training.checkpoint_every",
            recipe.training.checkpoint_every,
            max(1, min(500, total_steps // 5)),
            "a kill loses at most a fifth of the run or 500 steps",
            "steps",
        ),
    }
