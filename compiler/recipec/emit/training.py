"""What the training knobs add to the scripts: schedule, optimizer, loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipec.emit.device import on_gpu
from recipec.emit.literal import assignment, literal
from recipec.emit.parallel import many
from recipec.emit.part import Part
from recipec.emit.tasks import kind_of
from recipec.plan.plan import Settings, TrainingSettings

SCHEDULES = {
    "cosine": "down to zero along half a cosine",
    "linear": "down to zero on a line",
    "polynomial": "down to zero on a power's curve",
    "inverse-sqrt": "down with the square root of the step",
    "warmup-stable-decay": "level, and down on a line at the end",
    "constant": "always the same",
}
"""How the learning rate moves after warmup, in a sentence."""

OPTIMIZERS = {
    "adamw": "AdamW",
    "adamw-8bit": "AdamW8bit",
    "adafactor": "Adafactor",
    "sgd": "SGD",
    "lion": "Lion",
}
"""The optimizer's class."""

_IMPORTS = {
    "adamw-8bit": ("bitsandbytes.optim", "AdamW8bit"),
    "lion": ("pytorch_optimizer", "Lion"),
}
"""Module and name of those that are not torch's."""

_BETAS = {"adamw": [0.9, 0.999], "adamw-8bit": [0.9, 0.999], "lion": [0.9, 0.99]}
_EPSILON = 1e-8
"""What the libraries take by themselves; a script shows what is another."""

_FUSED = "# the fused kernel gives the same bytes on every CPU; the others do not"
_FUSED_ON_GPUS = "# one kernel for all weights: the fastest; it rounds otherwise than the others"

_UNCOUNTED = ("question_answering",)
"""Kinds of tasks in which no row is too long."""


def training_part(settings: Settings) -> Part:
    """The words and imports of the settings' training."""
    training = settings.training
    words = {**_loss_words(training), **_optimizer_words(settings), **_loop_words(settings)}
    splits = training.accumulation > 1 and not many(settings)
    runtime = {
        "data": ["epoch_order", *(["split_rows"] if splits else [])],
        "ema": ["MovingAverage"] if training.ema_decay is not None else [],
        "lengths": ["fitting"] if words["fits"] else [],
        "loop": ["Loop"],
        "modeling": ["decay_groups"],
        "noise": ["add_noise"] if training.neftune_alpha is not None else [],
        "run": ["Run"],
        "watch": ["Watch"] if words["watches"] else [],
    }
    module, name = _IMPORTS.get(training.optimizer, ("", ""))
    return Part(
        words=words,
        train={
            **{f"recipec_runtime.{module}": names for module, names in runtime.items()},
            **({module: [name]} if module else {}),
        },
        standard=frozenset(_standard(settings, words)),
    )


def _standard(settings: Settings, words: dict[str, Any]) -> Iterator[str]:
    training = settings.training
    rounds = training.schedule in ("cosine", "inverse-sqrt")
    if rounds or words["open_rows"] or training.max_grad_norm == 0:
        yield "math"
    if words["fits"] and words["drops"] and kind_of(settings).folder == "instruction":
        yield "sys"


def _loss_words(training: TrainingSettings) -> dict[str, Any]:
    smooth = training.label_smoothing > 0
    mixed = {"bf16": "bfloat16", "fp16": "float16"}.get(training.mixed_precision, "")
    return {
        "schedule_words": _schedule_words(training),
        "max_grad_norm_text": "math.inf  # gradients are never scaled down"
        if training.max_grad_norm == 0
        else f"{literal(training.max_grad_norm)}  # gradients are scaled down to this norm at most",
        "smoothing_parameter": ", smoothing=0.0" if smooth else "",
        "smoothing_argument": ", LABEL_SMOOTHING" if smooth else "",
        "smoothing_pass": ", smoothing" if smooth else "",
        "mixed_dtype": mixed,
        "scales": mixed == "float16",
    }


def _optimizer_words(settings: Settings) -> dict[str, Any]:
    training = settings.training
    name = training.optimizer
    knobs, arguments = [], []
    betas = [training.beta1, training.beta2]
    if name == "sgd":
        knobs.append(assignment("MOMENTUM", training.beta1, "share of the last step that goes on"))
        arguments.append("momentum=MOMENTUM")
    elif name in _BETAS and betas != _BETAS[name]:
        said = "decay of the mean gradient, and of its memory"
        if name != "lion":
            said = "decay of the mean gradient, and of its square"
        knobs.append(assignment("BETAS", betas, said))
        arguments.append("betas=BETAS")
    if name.startswith("adamw") and training.epsilon != _EPSILON:
        knobs.append(assignment("EPSILON", training.epsilon, "added to the denominator"))
        arguments.append("eps=EPSILON")
    lines = []
    if name in ("adamw", "sgd"):
        lines = [_FUSED_ON_GPUS if on_gpu(settings) else _FUSED]
        arguments.append("fused=True")
    where = OPTIMIZERS[name] if name in _IMPORTS else f"torch.optim.{OPTIMIZERS[name]}"
    call = ", ".join(["groups", "lr=LEARNING_RATE", *arguments])
    return {
        "optimizer_name": OPTIMIZERS[name],
        "optimizer_knobs": knobs,
        "optimizer_lines": [*lines, f"optimizer = {where}({call})"],
    }


def _loop_words(settings: Settings) -> dict[str, Any]:
    training, kind = settings.training, kind_of(settings).folder
    drops = training.overlong == "drop" and kind not in _UNCOUNTED
    splits = training.overlong == "split"
    counted = (
        kind not in (*_UNCOUNTED, "instruction") and not splits
    )  # chats are counted by check_chats
    open_steps = (drops or splits) and training.open_steps
    best = training.keep == "best"
    watches = bool(settings.validation_rows) and (best or training.patience > 0)
    sparing = kind == "text_to_text" and training.best_metric == "loss"
    total = "total_steps" if open_steps else "TOTAL_STEPS"
    return {
        "fits": drops or counted,
        "drops": drops,
        "splits": splits,
        "open_rows": drops or splits,
        "open_steps": open_steps,
        "total": total,
        "per_epoch": "steps_per_epoch" if drops or splits else "STEPS_PER_EPOCH",
        "last_step": "loop.done" if watches and training.patience else total,
        "watches": watches,
        "watch_arguments": _watch_arguments(training),
        "sparing": sparing,
        "evaluate_call": "evaluate(model, tokenizer, validation"
        + (", generate=step == 0)" if sparing else ")"),
    }


def _watch_arguments(training: TrainingSettings) -> str:
    arguments = ["metric=WATCHED"]
    if training.patience:
        arguments.append("patience=PATIENCE")
        if training.min_delta:
            arguments.append("min_delta=MIN_DELTA")
    if training.keep == "best":
        arguments.append("keep_best=True")
    return ", ".join(arguments)


def _schedule_words(training: TrainingSettings) -> str:
    words = SCHEDULES[training.schedule]
    return f"up on a line, then {words}" if training.warmup_steps else words
