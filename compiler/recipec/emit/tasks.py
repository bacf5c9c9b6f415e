"""What a task adds to the scripts: its folder of templates, its model class, its imports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from recipec.emit.part import Part
from recipec.plan.plan import Settings


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A folder of templates under tasks/, which trains one or more tasks."""

    folder: str
    model_class: str
    """transformers' class that makes the model with the task's head."""
    parts: tuple[str, ...]
    """Parts of a row that the script reads, in the order of its column constants."""
    head: Literal["", "labels", "span"] = ""
    """A new layer that is made for the task and trained whole whatever the method: an output per
    label, or a start and an end. Empty: the model's own head is the task's."""
    metrics: Callable[[Settings], list[str]]
    """Functions of recipec_runtime.metrics that `evaluate` in train.py calls."""

    @property
    def has_head(self) -> bool:
        """Whether a new layer is made for the task."""
        return bool(self.head)


_TEXT_TO_TEXT = Kind(
    folder="text_to_text",
    model_class="AutoModelForSeq2SeqLM",
    parts=("source", "target"),
    metrics=lambda _: ["rouge"],
)
KINDS = {
    "summarization": _TEXT_TO_TEXT,
    "text-to-text": _TEXT_TO_TEXT,
    "causal-lm": Kind(
        folder="causal_lm",
        model_class="AutoModelForCausalLM",
        parts=("text",),
        metrics=lambda s: ["perplexity"] if "perplexity" in s.evaluation.metrics else [],
    ),
    "sequence-classification": Kind(
        folder="sequence_classification",
        model_class="AutoModelForSequenceClassification",
        parts=("text", "label"),
        head="labels",
        metrics=lambda _: ["classification"],
    ),
}
"""By task of the recipe."""


def task_part(settings: Settings) -> Part:
    """The words and imports of the settings' task."""
    kind = KINDS[settings.task.type]
    constants = [part.upper() for part in kind.parts]
    return Part(
        words={
            "kind": kind.folder,
            "row_fields": ", ".join(constants),
            "split": measured_split(settings),
            "beams_words": _beams_words(settings.evaluation.num_beams),
            "perplexity_words": " and its exponential"
            if "perplexity" in settings.evaluation.metrics
            else "",
        },
        train={
            "recipec_runtime.data": ["batches"],
            "recipec_runtime.metrics": kind.metrics(settings),
            "recipec_runtime.modeling": ["apart"],
        },
        evaluate=_evaluate_imports(settings, kind, constants),
    )


def measured_split(settings: Settings) -> str:
    """The split that evaluate.py reads: the best that the recipe has."""
    if settings.test_rows:
        return "test"
    return "validation" if settings.validation_rows else "train"


def _evaluate_imports(settings: Settings, kind: Kind, constants: list[str]) -> dict[str, list[str]]:
    train = ["SEED", "evaluate", "load_base", "load_tokenizer", "load_tuned", *constants]
    metrics: list[str] = []
    if settings.task.type == "summarization":
        metrics = ["lead_sentence", "rouge"]
        train.append("METRICS")
    if kind.folder == "sequence_classification":
        metrics = ["classification"]
        train.append("LABELS")
    return {
        "recipec_runtime.metrics": metrics,
        "recipec_runtime.run": ["Run"],
        "train": train,
    }


def _beams_words(beams: int) -> str:
    if beams == 1:
        return "always the likeliest next token (greedy)"
    return "texts that are kept in view while generating"
