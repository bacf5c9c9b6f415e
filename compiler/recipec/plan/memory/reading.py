"""What of a finished plan takes memory.

In: the plan's settings. Out: `MemorySettings`.
"""

from __future__ import annotations

import math

from recipec.plan.memory.encoders import Head
from recipec.plan.memory.settings import Device, MemorySettings
from recipec.plan.plan import Settings

_HEADS: dict[str, Head] = {
    "causal-lm": "causal-lm",
    "instruction": "causal-lm",
    "masked-lm": "masked-lm",
    "span-corruption": "seq2seq-lm",
    "summarization": "seq2seq-lm",
    "translation": "seq2seq-lm",
    "text-to-text": "seq2seq-lm",
    "sequence-classification": "sequence-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
}


def settings_of(settings: Settings, *, device: Device = "cpu") -> MemorySettings:
    """The settings' share of memory, of one process."""
    training, evaluation = settings.training, settings.evaluation
    head = _HEADS[settings.task.type]
    writes = head == "seq2seq-lm" and settings.task.type != "span-corruption"
    if head == "question-answering" and settings.model.family == "decoder-only":
        head = "token-classification"  # the same model with two outputs, as emit.tasks has it
    both = settings.model.family == "encoder-decoder"
    return MemorySettings(
        head=head,
        method=settings.method,
        labels=max(2, len(settings.task.labels)),
        dtype=settings.model.dtype,
        mixed_precision=training.mixed_precision,
        attention=settings.model.attention,
        gradient_checkpointing=settings.model.gradient_checkpointing,
        dropout=settings.model.dropout,
        optimizer=training.optimizer,
        momentum=training.beta1 > 0,
        ema=training.ema_decay is not None,
        label_smoothing=training.label_smoothing > 0,
        packing=training.packing,
        micro_batch_size=training.micro_batch_size,
        accumulation=training.accumulation,
        length=training.max_source_length if writes else training.max_length,
        target_length=_target(settings) if both else 0,
        evaluation_batch_size=evaluation.batch_size if settings.validation_rows else 0,
        num_beams=evaluation.num_beams,
        max_new_tokens=evaluation.max_new_tokens if writes else 0,
        device=device,
        sharding=settings.hardware.parallelism,
        world_size=settings.hardware.world_size,
    )


def _target(settings: Settings) -> int:
    """Tokens of the longest target. Of a corrupted text it is what is hidden, or (BART) all."""
    task, training = settings.task, settings.training
    if task.type != "span-corruption":
        return training.max_target_length
    if settings.model.type not in ("t5", "mt5"):
        return training.max_length
    hidden = task.mask_share * training.max_length
    return math.ceil(hidden + hidden / max(1.0, task.span_length)) + 2
