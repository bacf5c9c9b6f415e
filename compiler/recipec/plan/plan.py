"""The plan: every number that training will use, each with its reason.

Values only; `recipec.plan.make` computes them. Emitting reads `Settings` and adds nothing to it,
so what `recipec plan` prints is what the script does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["recipe", "default", "derived"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decided value: who decided it and why. `key` is its path in the recipe."""

    key: str
    value: object
    unit: str
    origin: Origin
    reason: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the emitted scripts are filled with. Lengths are in tokens, intervals in steps."""

    name: str
    domain: str | None
    # what is learnt, by what
    task: str
    family: str
    model_type: str
    """`model_type` of the model's config.json, such as `t5`."""
    model_source: str
    """As the recipe names it, such as `path:models/tiny-t5`."""
    model_commit: str | None
    model_license: str | None
    attention: str
    dropout: float | None
    """None leaves the model's own."""
    # fields of a data row
    source_field: str
    target_field: str
    text_field: str
    label_field: str
    labels: tuple[str, ...]
    prefix: str
    # method
    method: str
    rank: int
    alpha: int
    adapter_dropout: float
    target_modules: tuple[str, ...]
    """Names of linear layers as peft matches them, sorted; empty for methods without adapters."""
    # training
    epochs: int
    batch_size: int
    micro_batch_size: int
    accumulation: int
    """batch_size / micro_batch_size."""
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    learning_rate: float
    schedule: str
    weight_decay: float
    max_grad_norm: float
    label_smoothing: float
    max_source_length: int
    max_target_length: int
    max_length: int
    seed: int
    log_every: int
    checkpoint_every: int
    # evaluation
    evaluation_batch_size: int
    num_beams: int
    max_new_tokens: int
    metrics: tuple[str, ...]
    """Beside the loss, which is always there: rouge1, rouge2, rougeL, accuracy, f1, perplexity."""
    gates_at_least: tuple[tuple[str, float], ...]
    gates_at_most: tuple[tuple[str, float], ...]
    # splits: rows, 0 where the recipe has none
    train_rows: int
    validation_rows: int
    test_rows: int
    # where
    threads: int
    world_size: int
    reproducibility: str
    hardware_class: str
    environment: tuple[tuple[str, str], ...]
    """Sorted variables that must be set before torch is imported."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe with nothing left open."""

    settings: Settings
    decisions: tuple[Decision, ...]
