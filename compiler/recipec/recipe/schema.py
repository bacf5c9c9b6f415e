"""The recipe's types: the one source of the JSON Schema, the reference page and the defaults.

Values only. A field that is None was left open: `recipec.plan` decides it and says why. The
docstring of a section and the `description` of a field are what users read in their editor, in
docs/recipe.md and in error messages, so they are written for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

TaskType = Literal[
    "causal-lm",
    "instruction",
    "sequence-classification",
    "token-classification",
    "question-answering",
    "summarization",
    "translation",
    "text-to-text",
]
MethodType = Literal["full", "layernorm", "lora", "qlora", "bottleneck", "prefix", "prompt", "ia3"]
Schedule = Literal["linear", "cosine", "constant"]
Reproducibility = Literal["portable", "bitwise", "seeded"]
Metric = Literal["rouge1", "rouge2", "rougeL", "accuracy", "f1", "perplexity"]

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Probability = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which column of a data row plays which part."""

    source: Annotated[
        Text | None, Meta(description="Column with the input text (text-to-text tasks).")
    ] = None
    target: Annotated[
        Text | None, Meta(description="Column with the text to produce (text-to-text tasks).")
    ] = None
    text: Annotated[
        Text | None, Meta(description="Column with the text (causal-lm, classification).")
    ] = None
    label: Annotated[
        Text | None, Meta(description="Column with the class name (classification).")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the model must learn to do."""

    type: Annotated[TaskType, Meta(description="The kind of task.")]
    fields: Annotated[Fields, Meta(description="Which column of a data row plays which part.")] = (
        field(default_factory=Fields)
    )
    prefix: Annotated[
        str,
        Meta(
            description="Text put before every source, such as `summarize: ` for the original T5."
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data files: JSON Lines, UTF-8, one object a line."""

    train: Annotated[Text, Meta(description="Rows to train on; a path in the project.")]
    validation: Annotated[
        Text | None, Meta(description="Rows to measure on while training; never trained on.")
    ] = None
    test: Annotated[Text | None, Meta(description="Rows that only `evaluate` reads.")] = None


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What the data is about, and where it lies."""

    data: Annotated[Data, Meta(description="The data files.")]
    name: Annotated[Text | None, Meta(description="The domain in a word, for the model card.")] = (
        None
    )
    license: Annotated[
        Text | None,
        Meta(description="The data's licence as an SPDX identifier, such as CC0-1.0."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The model to tune."""

    model: Annotated[
        str,
        Meta(
            description=(
                "Where the model comes from: `path:DIR` in the project, `hub:ORG/NAME@COMMIT`, or"
                " `wheel:PACKAGE==VERSION/INNER/PATH`."
            ),
            pattern=r"^(path:.+|hub:[^/@\s]+/[^/@\s]+(@[0-9A-Za-z._-]+)?|wheel:[^=\s]+==[^/\s]+/.+)$",
        ),
    ]
    attention: Annotated[
        Literal["eager", "sdpa"],
        Meta(description="Attention implementation, by transformers' name."),
    ] = "sdpa"
    dropout: Annotated[
        Probability | None,
        Meta(description="Dropout probability in the model; the model's own if left out."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """Which weights are trained, and how."""

    type: Annotated[MethodType, Meta(description="The fine-tuning method.")] = "lora"
    rank: Annotated[Count | None, Meta(description="Rank of the low-rank update (lora).")] = None
    alpha: Annotated[
        Count | None,
        Meta(description="Scale of the update; it is multiplied by alpha / rank (lora)."),
    ] = None
    dropout: Annotated[
        Probability | None, Meta(description="Dropout before the update (lora).")
    ] = None
    target_modules: Annotated[
        Annotated[list[Text], Meta(min_length=1)] | None,
        Meta(
            description=(
                "Names of the linear layers to adapt (lora); every linear layer of the blocks if"
                " left out."
            )
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """The knobs of training."""

    epochs: Annotated[Count | None, Meta(description="Passes over the training rows.")] = None
    steps: Annotated[
        Count | None,
        Meta(description="Optimizer steps in all, instead of epochs."),
    ] = None
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0, le=10)] | None, Meta(description="Peak learning rate.")
    ] = None
    batch_size: Annotated[
        Count | None, Meta(description="Rows per optimizer step, over all devices.")
    ] = None
    micro_batch_size: Annotated[
        Count | None,
        Meta(description="Rows per forward pass; must divide batch_size."),
    ] = None
    schedule: Annotated[Schedule, Meta(description="How the learning rate moves after warmup.")] = (
        "cosine"
    )
    warmup_ratio: Annotated[
        Share | None,
        Meta(description="Share of the steps in which the learning rate rises."),
    ] = None
    weight_decay: Annotated[
        float,
        Meta(description="AdamW weight decay; biases and norms are exempt.", ge=0, le=1),
    ] = 0.01
    max_grad_norm: Annotated[
        float, Meta(description="Gradients are clipped to this global norm; 0 never clips.", ge=0)
    ] = 1.0
    label_smoothing: Annotated[
        float, Meta(description="Label smoothing of the cross-entropy.", ge=0, lt=1)
    ] = 0.0
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
    seed: Annotated[int, Meta(description="Seed of everything random.", ge=0, lt=4_294_967_296)] = 0
    log_every: Annotated[
        Count | None, Meta(description="Steps between two lines of the history.")
    ] = None
    checkpoint_every: Annotated[
        Count | None, Meta(description="Steps between two checkpoints.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the tuned model is measured, and what it must reach."""

    metrics: Annotated[
        list[Metric] | None,
        Meta(description="Metrics beside the loss; the task's usual ones if left out."),
    ] = None
    batch_size: Annotated[
        Count | None, Meta(description="Rows per forward pass in evaluation.")
    ] = None
    num_beams: Annotated[
        int, Meta(description="Beams of generation; 1 is greedy.", ge=1, le=64)
    ] = 1
    max_new_tokens: Annotated[
        Count | None, Meta(description="Longest generated text, in tokens.")
    ] = None
    at_least: Annotated[
        dict[str, float],
        Meta(description="Gates: `evaluate` fails when a test metric is below its value."),
    ] = field(default_factory=dict)
    at_most: Annotated[
        dict[str, float],
        Meta(description="Gates: `evaluate` fails when a test metric is above its value."),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What it runs on."""

    accelerator: Annotated[
        Literal["cpu"], Meta(description="The device. This version trains on CPUs.")
    ] = "cpu"
    threads: Annotated[
        int,
        Meta(
            description="CPU threads of one process. It changes the bytes, so it is in the run id.",
            ge=1,
            le=1024,
        ),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What the image is made of."""

    base: Annotated[
        Literal["debian-12"], Meta(description="The base: Debian packages and their CPython.")
    ] = "debian-12"
    versions: Annotated[
        dict[str, Text],
        Meta(
            description=(
                "Versions to pin by package name, such as `transformers: 5.23.0`; a package that"
                " the stack does not have is added."
            )
        ),
    ] = field(default_factory=dict)
    exclude_newer: Annotated[
        Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}Z)?$")] | None,
        Meta(
            description=(
                "Take no wheel uploaded after this date or time, such as 2026-11-01. Every index"
                " used must tell upload times."
            )
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe for fine-tuning a language model."""

    recipe: Annotated[Literal["v1"], Meta(description="Version of the recipe language.")] = "v1"
    name: Annotated[
        str,
        Meta(
            description=(
                "Name of the recipe: its build folder, its DVC stages. Lower-case letters, digits"
                " and hyphens, at most 63."
            ),
            pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        ),
    ]
    task: Annotated[Task, Meta(description="What the model must learn to do.")]
    domain: Annotated[Domain, Meta(description="What the data is about, and where it lies.")]
    architecture: Annotated[Architecture, Meta(description="The model to tune.")]
    method: Annotated[Method, Meta(description="Which weights are trained, and how.")] = field(
        default_factory=Method
    )
    training: Annotated[Training, Meta(description="The knobs of training.")] = field(
        default_factory=Training
    )
    evaluation: Annotated[
        Evaluation, Meta(description="How the tuned model is measured, and what it must reach.")
    ] = field(default_factory=Evaluation)
    hardware: Annotated[Hardware, Meta(description="What it runs on.")] = field(
        default_factory=Hardware
    )
    image: Annotated[ImageOptions, Meta(description="What the image is made of.")] = field(
        default_factory=ImageOptions
    )
    reproducibility: Annotated[
        Reproducibility | None,
        Meta(
            description=(
                "`portable`: the same bytes on every x86-64-v3 CPU, about half as fast. `bitwise`:"
                " the same bytes on every machine of one hardware class. `seeded`: seeded, but"
                " the bytes may differ."
            )
        ),
    ] = None
