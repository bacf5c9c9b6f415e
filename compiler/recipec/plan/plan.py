"""The plan: every number that training will use, each with its reason.

Values only; `recipec.plan.make` computes them. Emitting reads `Settings` and adds nothing to it,
so what `recipec plan` prints is what the script does. Lengths are in tokens, intervals in steps.
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
class TaskSettings:
    """What is learnt, from which columns."""

    type: str
    """A task of the recipe; or `masked-lm`, `span-corruption`: what a corpus is read with."""
    columns: tuple[tuple[str, str], ...]
    """Part and column, such as ("source", "clause")."""
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    class_weights: tuple[float, ...] = ()
    """One for each label; empty for equal weights. Of multi-label tasks: the weight of a row that
    has the label, beside 1 for one that has not."""
    segments: bool = False
    """Texts come in pairs, and the model has an embedding for each of the two."""
    prefix: str = ""
    chat_template: str = ""
    """`model` or a named one; empty for tasks without chats."""
    train_on: str = "responses"
    doc_stride: int = 0
    source_language: str | None = None
    target_language: str | None = None
    mask_share: float = 0.0
    """Of the tokens, which are hidden (masked-lm, span-corruption)."""
    span_length: float = 0.0
    """Mean tokens of a hidden span (span-corruption)."""

    def column(self, part: str) -> str:
        """The column that plays a part; empty where none does."""
        return dict(self.columns).get(part, "")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model to tune, and how it computes."""

    family: str
    type: str
    """`model_type` of the model's config.json, such as `t5`."""
    source: str
    """As the recipe names it, such as `path:models/tiny-t5`."""
    commit: str | None
    license: str | None
    attention: str
    dtype: str = "float32"
    dropout: float | None = None
    """None leaves the model's own."""
    rope: tuple[str, float] | None = None
    """Type and factor."""
    experts: int = 0
    """Experts of a layer; 0 for a dense model."""
    router_loss: float = 0.0
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """Which weights are trained, and how. What a method does not have keeps its default."""

    type: str
    rank: int = 0
    ranks: tuple[tuple[str, int], ...] = ()
    alpha: int = 0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    """Names of modules as peft matches them, sorted; empty: found in the module tree."""
    targets_given: bool = False
    """Whether the recipe names them: then each must be there."""
    target_parameters: tuple[str, ...] = ()
    """Fused weights of experts, as peft matches parameter names."""
    feedforward_modules: tuple[str, ...] = ()
    dora: bool = False
    rslora: bool = False
    lora_plus_ratio: float | None = None
    quantization: str = ""
    """`nf4`, `int8`, or empty."""
    double_quantization: bool = False
    placement: str = ""
    adapted_layers: tuple[str, ...] = ()
    """Regular expressions of the layers that a bottleneck adapter goes behind."""
    reduction_factor: int = 0
    virtual_tokens: int = 0
    projection: bool = False
    init_text: str = ""
    also_train: tuple[str, ...] = ()
    """Roles (`head`, `norms`, `embeddings`, `positions`, `gates`) or expressions of names."""
    freeze: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The knobs of training."""

    epochs: int
    batch_size: int
    """Rows of an optimizer step, over all processes."""
    micro_batch_size: int
    """Rows of a forward pass of one process."""
    accumulation: int
    """Forward passes of a process in a step: batch_size / (micro_batch_size x world_size)."""
    steps_per_epoch: int
    total_steps: int
    open_steps: bool = False
    """Whether the run has fewer steps if rows are dropped."""
    warmup_steps: int
    learning_rate: float
    schedule: str
    decay_steps: int = 0
    """Of warmup-stable-decay: steps in which the rate falls at the end."""
    power: float = 1.0
    """Of the polynomial schedule."""
    optimizer: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float
    max_grad_norm: float
    label_smoothing: float
    neftune_alpha: float | None = None
    ema_decay: float | None = None
    mixed_precision: str = "none"
    packing: bool = False
    max_source_length: int
    max_target_length: int
    max_length: int
    overlong: str = "cut"
    max_lost: float = 0.1
    seed: int
    log_every: int
    checkpoint_every: int
    evaluate_every: int = 0
    """0: at every epoch's begin."""
    patience: int = 0
    """Evaluations without progress after which training ends; 0 never ends it."""
    min_delta: float = 0.0
    best_metric: str = "loss"
    """The validation metric that early stopping and `keep` look at."""
    keep: str = "last"
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How the tuned model is measured."""

    batch_size: int
    num_beams: int
    max_new_tokens: int
    metrics: tuple[str, ...]
    """Beside the loss, which is always there."""
    at_least: tuple[tuple[str, float], ...] = ()
    at_most: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class HardwareSettings:
    """What it runs on, and what pins its bytes."""

    threads: int
    world_size: int
    """Processes of all machines: nodes x processes."""
    reproducibility: str
    hardware_class: str
    environment: tuple[tuple[str, str], ...]
    """Sorted variables that must be set before torch is imported."""
    device: Literal["cpu", "cuda"] = "cpu"
    """torch's word for what the model and its batches lie on."""
    accelerator: str = "cpu"
    """By its name in the catalogue, such as `nvidia-h100-80gb`."""
    capability: str = ""
    """Compute capability of the GPU, such as `9.0`; empty for CPUs."""
    nodes: int = 1
    """Machines."""
    processes: int = 1
    """Of one machine: one for each of its GPUs."""
    parallelism: Literal["none", "ddp", "fsdp"] = "none"
    """How the processes train one model; `none` for a single process."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the emitted scripts are filled with."""

    name: str
    domain: str | None
    task: TaskSettings
    model: ModelSettings
    method: MethodSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    hardware: HardwareSettings
    adapted: tuple[str, str] | None = None
    """Name and run id of the corpus' recipe whose trained model is tuned, in place of its own."""
    # splits: rows, 0 where the recipe has none
    train_rows: int
    validation_rows: int
    test_rows: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe with nothing left open."""

    settings: Settings
    decisions: tuple[Decision, ...]
