"""What the training knobs add to the scripts: schedule, optimizer, loop."""

from __future__ import annotations

from recipec.emit.literal import literal
from recipec.emit.part import Part
from recipec.plan.plan import Settings, TrainingSettings

SCHEDULES = {
    "cosine": "down to zero along half a cosine",
    "linear": "down to zero on a line",
    "constant": "always the same",
}
"""How the learning rate moves after warmup, in a sentence."""


def training_part(settings: Settings) -> Part:
    """The words and imports of the settings' training."""
    training = settings.training
    smooth = training.label_smoothing > 0
    never_clips = training.max_grad_norm == 0
    return Part(
        words={
            "schedule_words": _schedule_words(training),
            "max_grad_norm_text": "math.inf  # gradients are never scaled down"
            if never_clips
            else f"{literal(training.max_grad_norm)}"
            "  # gradients are scaled down to this norm at most",
            "smoothing_parameter": ", smoothing=0.0" if smooth else "",
            "smoothing_argument": ", LABEL_SMOOTHING" if smooth else "",
            "smoothing_pass": ", smoothing" if smooth else "",
        },
        train={
            "recipec_runtime.data": [
                "epoch_order",
                *(["split_rows"] if training.accumulation > 1 else []),
            ],
            "recipec_runtime.loop": ["Loop"],
            "recipec_runtime.modeling": ["decay_groups"],
            "recipec_runtime.run": ["Run"],
        },
        standard=frozenset({"math"} if never_clips or training.schedule == "cosine" else ()),
    )


def _schedule_words(training: TrainingSettings) -> str:
    words = SCHEDULES[training.schedule]
    return f"up on a line, then {words}" if training.warmup_steps else words
