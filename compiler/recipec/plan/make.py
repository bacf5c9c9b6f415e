"""Pass: plan. A recipe, its lock and the model's facts in; every number with its reason out.

Pure: it reads no file and asks no machine, so the same inputs plan the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

from recipec.catalog import support
from recipec.pins.lockfile import Lock
from recipec.plan.determinism import environment_of, hardware_class_of
from recipec.plan.plan import Decision, Origin, Plan, Settings
from recipec.recipe.schema import Recipe

T = TypeVar("T")

_FULL_RATE, _LORA_RATE = 5.0e-5, 3.0e-4
_SOURCE_TOKENS, _TARGET_TOKENS, _TEXT_TOKENS = 512, 128, 512


@dataclass(kw_only=True)
class _Ledger:
    """Collects decisions while they are made."""

    decisions: list[Decision] = field(default_factory=list)

    def choose(self, key: str, given: Any, default: T, reason: str, unit: str = "") -> T:
        """The recipe's value, or the default with its reason."""
        if given is not None:
            value: T = given
            return self.note(key, value, "the recipe says so", unit, "recipe")
        return self.note(key, default, reason, unit, "default")

    def keep(self, section: str, values: Any, name: str, reason: str, unit: str = "") -> Any:
        """A value whose default stands in the schema itself."""
        value = getattr(values, name)
        known = next(f for f in fields(values) if f.name == name)
        usual = known.default_factory() if callable(known.default_factory) else known.default
        origin: Origin = "default" if value == usual else "recipe"
        said = reason if origin == "default" else "the recipe says so"
        return self.note(f"{section}.{name}", value, said, unit, origin)

    def note(
        self, key: str, value: T, reason: str, unit: str = "", origin: Origin = "derived"
    ) -> T:
        """A value that follows from others."""
        self.decisions.append(
            Decision(key=key, value=value, unit=unit, origin=origin, reason=reason)
        )
        return value


def make_plan(
    recipe: Recipe, lock: Lock, *, family: str, model_type: str, config: Mapping[str, Any]
) -> Plan:
    """Decide everything that the recipe left open; `config` is the model's config.json."""
    ledger = _Ledger()
    rows = {file.split: file.rows for file in lock.data}
    facts = support.tasks()[recipe.task.type]
    fields = _fields(recipe, facts.fields, ledger)
    method = _method(recipe, model_type, ledger)
    batch = _batches(recipe, rows["train"], ledger)
    lengths = _lengths(recipe, config, facts.fields, ledger)
    ledger.keep("image", recipe.image, "base", "small, and its CPython runs every wheel we pin")
    settings = Settings(
        name=recipe.name,
        domain=recipe.domain.name,
        task=recipe.task.type,
        family=family,
        model_type=model_type,
        model_source=recipe.architecture.model,
        model_commit=lock.model.commit,
        model_license=lock.model.license,
        attention=ledger.keep(
            "architecture", recipe.architecture, "attention", "exact, and fast on CPUs"
        ),
        dropout=ledger.keep("architecture", recipe.architecture, "dropout", "the model's own"),
        labels=lock.labels,
        prefix=recipe.task.prefix,
        train_rows=rows["train"],
        validation_rows=rows.get("validation", 0),
        test_rows=rows.get("test", 0),
        **fields,
        **method,
        **batch,
        **lengths,
        **_optimizer(recipe, batch["total_steps"], ledger),
        **_cadence(recipe, batch["total_steps"], ledger),
        **_evaluation(recipe, facts.metrics, batch["micro_batch_size"], ledger),
        **_hardware(recipe, ledger),
    )
    return Plan(settings=settings, decisions=tuple(ledger.decisions))


def _optimizer(recipe: Recipe, total_steps: int, ledger: _Ledger) -> dict[str, Any]:
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


def _cadence(recipe: Recipe, total_steps: int, ledger: _Ledger) -> dict[str, Any]:
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


def _evaluation(
    recipe: Recipe, usual: tuple[str, ...], micro_batch: int, ledger: _Ledger
) -> dict[str, Any]:
    evaluation = recipe.evaluation
    return {
        "metrics": tuple(
            ledger.choose(
                "evaluation.metrics",
                evaluation.metrics,
                [str(metric) for metric in usual],
                f"the usual ones for {recipe.task.type}; the loss is always measured",
            )
        ),
        "evaluation_batch_size": ledger.choose(
            "evaluation.batch_size",
            evaluation.batch_size,
            min(2 * micro_batch, 64),
            "no gradients: twice the rows of training fit",
            "rows",
        ),
        "num_beams": ledger.keep("evaluation", evaluation, "num_beams", "greedy, the fastest")
        if "rouge1" in usual
        else evaluation.num_beams,
        "gates_at_least": tuple(sorted(evaluation.at_least.items())),
        "gates_at_most": tuple(sorted(evaluation.at_most.items())),
    }


def _hardware(recipe: Recipe, ledger: _Ledger) -> dict[str, Any]:
    threads = recipe.hardware.threads
    mode = ledger.choose(
        "reproducibility",
        recipe.reproducibility,
        "portable",
        "on CPUs the same bytes everywhere are possible; `bitwise` is about twice as fast",
    )
    return {
        "reproducibility": mode,
        "threads": ledger.keep(
            "hardware", recipe.hardware, "threads", "it changes the bytes, so it is pinned"
        ),
        "world_size": 1,
        "hardware_class": ledger.note(
            "hardware.class", hardware_class_of(mode), "the same class gives the same bytes"
        ),
        "environment": environment_of(mode, threads),
    }


def _fields(recipe: Recipe, wanted: tuple[str, ...], ledger: _Ledger) -> dict[str, Any]:
    given = recipe.task.fields
    chosen = {
        f"{name}_field": ledger.choose(
            f"task.fields.{name}",
            getattr(given, name),
            name,
            "the column of that name",
        )
        for name in wanted
    }
    return {
        f"{name}_field": chosen.get(f"{name}_field", "")
        for name in ("source", "target", "text", "label")
    }


def _method(recipe: Recipe, model_type: str, ledger: _Ledger) -> dict[str, Any]:
    method = recipe.method
    trains = support.methods()[method.type].trains
    ledger.keep("method", method, "type", f"trains {trains}")
    if method.type != "lora":
        return {
            "method": method.type,
            "rank": 0,
            "alpha": 0,
            "adapter_dropout": 0.0,
            "target_modules": (),
        }
    rank = ledger.choose("method.rank", method.rank, 16, "enough for most single tasks")
    names = support.models().get(model_type)
    return {
        "method": method.type,
        "rank": rank,
        "alpha": ledger.choose("method.alpha", method.alpha, 2 * rank, "twice the rank"),
        "adapter_dropout": ledger.choose("method.dropout", method.dropout, 0.0, "peft's default"),
        "target_modules": tuple(
            sorted(
                ledger.choose(
                    "method.target_modules",
                    method.target_modules,
                    list(names.linear) if names else [],
                    "every linear layer of the blocks (arXiv:2305.14314, section 4)",
                )
            )
        ),
    }


def _batches(recipe: Recipe, train_rows: int, ledger: _Ledger) -> dict[str, Any]:
    training = recipe.training
    size = ledger.choose(
        "training.batch_size",
        training.batch_size,
        training.micro_batch_size or 16,
        "a common size; small enough for a laptop",
        "rows",
    )
    micro = ledger.choose(
        "training.micro_batch_size",
        training.micro_batch_size,
        size,
        "one forward pass a step",
        "rows",
    )
    per_epoch = ledger.note(
        "training.steps_per_epoch",
        math.ceil(train_rows / size),
        f"{train_rows:,} rows in batches of {size}; the last may be smaller",
        "steps",
    )
    if training.steps is not None:
        total = ledger.note(
            "training.steps", training.steps, "the recipe says so", "steps", "recipe"
        )
        epochs = math.ceil(total / per_epoch)
        ledger.note("training.epochs", epochs, f"{total} steps begin the last of them", "epochs")
    else:
        epochs = ledger.choose(
            "training.epochs", training.epochs, 3, "what fine-tuning usually takes", "epochs"
        )
        total = ledger.note(
            "training.steps", epochs * per_epoch, f"{epochs} epochs of {per_epoch}", "steps"
        )
    return {
        "epochs": epochs,
        "batch_size": size,
        "micro_batch_size": micro,
        "accumulation": ledger.note(
            "training.accumulation", size // micro, "batch_size / micro_batch_size"
        ),
        "steps_per_epoch": per_epoch,
        "total_steps": total,
    }


def _lengths(
    recipe: Recipe, config: Mapping[str, Any], fields: tuple[str, ...], ledger: _Ledger
) -> dict[str, Any]:
    training = recipe.training
    longest = positions(config)
    lengths = {"max_source_length": 0, "max_target_length": 0, "max_length": 0}
    if "text" in fields:
        lengths["max_length"] = ledger.choose(
            "training.max_length",
            training.max_length,
            min(_TEXT_TOKENS, longest),
            _length_reason(_TEXT_TOKENS, longest),
            "tokens",
        )
    else:
        lengths["max_source_length"] = ledger.choose(
            "training.max_source_length",
            training.max_source_length,
            min(_SOURCE_TOKENS, longest),
            _length_reason(_SOURCE_TOKENS, longest),
            "tokens",
        )
        lengths["max_target_length"] = ledger.choose(
            "training.max_target_length",
            training.max_target_length,
            min(_TARGET_TOKENS, longest),
            _length_reason(_TARGET_TOKENS, longest),
            "tokens",
        )
    new = 0
    if "target" in fields:
        new = ledger.choose(
            "evaluation.max_new_tokens",
            recipe.evaluation.max_new_tokens,
            lengths["max_target_length"],
            "as long as the longest target",
            "tokens",
        )
    return {**lengths, "max_new_tokens": new}


def positions(config: Mapping[str, Any]) -> int:
    """The longest input the model has positions for; T5's are relative, so it has no limit."""
    if config.get("model_type") == "roberta":
        return int(config.get("max_position_embeddings", 514)) - 2
    for key in ("max_position_embeddings", "n_positions"):
        if isinstance(config.get(key), int) and config.get("model_type") != "t5":
            return int(config[key])
    return 1 << 20


def _length_reason(usual: int, longest: int) -> str:
    if longest < usual:
        return f"the model has {longest} positions"
    return "longer ones are cut; batches are padded only to their longest row"
