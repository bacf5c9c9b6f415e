"""`training` of a recipe: the knobs of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from recipec.recipe.schema.values import (
    Count,
    Optimizer,
    Positive,
    Probability,
    Schedule,
    Share,
    Text,
)


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Training ends when a validation metric has stopped getting better."""

    patience: Annotated[
        Count, Meta(description="Evaluations without progress after which training ends.")
    ]
    metric: Annotated[
        Text | None,
        Meta(description="The metric to watch; the validation loss if left out."),
    ] = None
    min_delta: Annotated[float, Meta(description="Least change that counts as progress.", ge=0)] = (
        0.0
    )


@dataclass(frozen=True, kw_only=True)
class Training:
    """The knobs of training."""

    epochs: Annotated[Count | None, Meta(description="Passes over the training rows.")] = None
    steps: Annotated[
        Count | None,
        Meta(description="Optimizer steps in all, instead of epochs."),
    ] = None
    optimizer: Annotated[Optimizer, Meta(description="The optimizer.")] = "adamw"
    beta1: Annotated[
        Probability | None,
        Meta(description="Decay of the mean gradient (AdamW, Lion), or SGD's momentum."),
    ] = None
    beta2: Annotated[
        Probability | None,
        Meta(description="Decay of the mean squared gradient (AdamW) or of Lion's memory."),
    ] = None
    epsilon: Annotated[
        Positive | None, Meta(description="Added to the denominator of AdamW's update.")
    ] = None
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0, le=100)] | None, Meta(description="Peak learning rate.")
    ] = None
    batch_size: Annotated[
        Count | None, Meta(description="Rows per optimizer step, over all devices.")
    ] = None
    micro_batch_size: Annotated[
        Count | None,
        Meta(
            description=(
                "Rows per forward pass of one process; must divide its share of batch_size."
            )
        ),
    ] = None
    schedule: Annotated[Schedule, Meta(description="How the learning rate moves after warmup.")] = (
        "cosine"
    )
    warmup_ratio: Annotated[
        Share | None,
        Meta(description="Share of the steps in which the learning rate rises."),
    ] = None
    warmup_steps: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000_000)] | None,
        Meta(description="Steps in which the learning rate rises, instead of warmup_ratio."),
    ] = None
    decay_ratio: Annotated[
        Share | None,
        Meta(description="Share of the steps in which it falls at the end (warmup-stable-decay)."),
    ] = None
    power: Annotated[Positive | None, Meta(description="Exponent of the decay (polynomial).")] = (
        None
    )
    weight_decay: Annotated[
        float,
        Meta(description="The optimizer's weight decay; biases and norms are exempt.", ge=0, le=1),
    ] = 0.01
    max_grad_norm: Annotated[
        float, Meta(description="Gradients are clipped to this global norm; 0 never clips.", ge=0)
    ] = 1.0
    label_smoothing: Annotated[
        float, Meta(description="Label smoothing of the cross-entropy.", ge=0, lt=1)
    ] = 0.0
    class_weights: Annotated[
        Literal["balanced"] | dict[str, Positive] | None,
        Meta(
            description=(
                "Weight of each class in the loss (classification): `balanced` (rows / (classes *"
                " rows of the class)), or a number by label, 1 for those left out. With"
                " task.multi_label, how much a row weighs that has the label beside one that has"
                " not; `balanced` is then rows without it / rows with it."
            )
        ),
    ] = None
    neftune_alpha: Annotated[
        Positive | None,
        Meta(description="Noise on the input embeddings, arXiv:2310.05914; 5 is usual."),
    ] = None
    ema_decay: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="Keep a moving average of the trained weights, and save that."),
    ] = None
    mixed_precision: Annotated[
        Literal["none", "bf16", "fp16"],
        Meta(description="Forward and backward passes in 16 bits; the weights stay as they are."),
    ] = "none"
    packing: Annotated[
        bool | None,
        Meta(
            description=(
                "Put several texts into one row without their seeing each other (causal-lm,"
                " instruction)."
            )
        ),
    ] = None
    max_source_length: Annotated[
        Count | None, Meta(description="Longest source, in tokens; longer ones are cut.")
    ] = None
    max_target_length: Annotated[
        Count | None, Meta(description="Longest target, in tokens; longer ones are cut.")
    ] = None
    max_length: Annotated[
        Count | None,
        Meta(description="Longest text, in tokens, for tasks with one text."),
    ] = None
    overlong: Annotated[
        Literal["cut", "drop", "split"],
        Meta(
            description=(
                "What happens to training rows longer than the limits; `split` joins all texts and"
                " cuts the whole into blocks of max_length (causal-lm; masked-lm and"
                " span-corruption always do)."
            )
        ),
    ] = "cut"
    max_lost: Annotated[
        Share,
        Meta(description="Training stops if more than this share of the rows is empty or dropped."),
    ] = 0.1
    seed: Annotated[int, Meta(description="Seed of everything random.", ge=0, lt=4_294_967_296)] = 0
    log_every: Annotated[
        Count | None, Meta(description="Steps between two lines of the history.")
    ] = None
    checkpoint_every: Annotated[
        Count | None, Meta(description="Steps between two checkpoints.")
    ] = None
    evaluate_every: Annotated[
        Count | None,
        Meta(description="Steps between two evaluations on the validation rows; an epoch if open."),
    ] = None
    early_stopping: Annotated[
        EarlyStopping | None,
        Meta(description="Training ends when a validation metric has stopped getting better."),
    ] = None
    keep: Annotated[
        Literal["last", "best"],
        Meta(
            description=(
                "Which weights are saved: the last, or those of the best evaluation (of"
                " early_stopping's metric, else of the loss)."
            )
        ),
    ] = "last"
    trackers: Annotated[
        list[Literal["tensorboard", "wandb", "mlflow"]],
        Meta(
            description=(
                "Where the history is also sent, off the deterministic path. The image needs no"
                " network unless a tracker's server does."
            )
        ),
    ] = field(default_factory=list)
