"""What a task adds to the scripts: its folder of templates, its model class, its imports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from recipec.emit.part import Part
from recipec.emit.texts import text_imports, text_words
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
    helpers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names by module that the folder's templates call."""

    @property
    def has_head(self) -> bool:
        """Whether a new layer is made for the task."""
        return bool(self.head)


_TEXT_TO_TEXT = Kind(
    folder="text_to_text",
    model_class="AutoModelForSeq2SeqLM",
    parts=("source", "target"),
    metrics=lambda s: ["translation" if s.task.type == "translation" else "rouge"],
)
KINDS = {
    "summarization": _TEXT_TO_TEXT,
    "text-to-text": _TEXT_TO_TEXT,
    "translation": _TEXT_TO_TEXT,
    "causal-lm": Kind(
        folder="causal_lm",
        model_class="AutoModelForCausalLM",
        parts=("text",),
        metrics=lambda s: ["perplexity"] if "perplexity" in s.evaluation.metrics else [],
    ),
    "masked-lm": Kind(
        folder="masked_lm",
        model_class="AutoModelForMaskedLM",
        parts=("text",),
        metrics=lambda s: ["perplexity"] if "perplexity" in s.evaluation.metrics else [],
    ),
    "span-corruption": Kind(
        folder="span_corruption",
        model_class="AutoModelForSeq2SeqLM",
        parts=("text",),
        metrics=lambda s: ["perplexity"] if "perplexity" in s.evaluation.metrics else [],
    ),
    "instruction": Kind(
        folder="instruction",
        model_class="AutoModelForCausalLM",
        parts=("messages", "source", "target", "system"),
        metrics=lambda s: ["perplexity"] if "perplexity" in s.evaluation.metrics else [],
    ),
    "sequence-classification": Kind(
        folder="sequence_classification",
        model_class="AutoModelForSequenceClassification",
        parts=("text", "pair", "label"),
        head="labels",
        metrics=lambda s: ["label_sets" if s.task.multi_label else "classification"],
    ),
    "token-classification": Kind(
        folder="token_classification",
        model_class="AutoModelForTokenClassification",
        parts=("words", "tags"),
        head="labels",
        metrics=lambda _: ["tagging"],
        helpers={"recipec_runtime.tags": ["OUTSIDE", "sentence", "word_starts"]},
    ),
    "question-answering": Kind(
        folder="question_answering",
        model_class="AutoModelForQuestionAnswering",
        parts=("question", "context", "answers"),
        head="span",
        metrics=lambda _: ["answers"],
        helpers={
            "recipec_runtime.spans": [
                *("answer_span", "best_answers", "context_offsets", "questions", "window_parts")
            ]
        },
    ),
}
"""By task of the recipe."""

# transformers' question-answering classes of decoders have another name for the base model than the
# checkpoints, so its weights would silently be made new, and some decoders have no such class. A
# tagger with two outputs is the same model, and every decoder's checkpoint loads into it.
_DECODER_SPANS = replace(
    KINDS["question-answering"],
    model_class="AutoModelForTokenClassification",
    head="labels",
    helpers={
        "recipec_runtime.spans": [
            *KINDS["question-answering"].helpers["recipec_runtime.spans"],
            *("OUTSIDE", "with_end"),
        ]
    },
)


def kind_of(settings: Settings) -> Kind:
    """The kind of the settings' task, for the family of its model."""
    if settings.task.type == "question-answering" and settings.model.family == "decoder-only":
        return _DECODER_SPANS
    return KINDS[settings.task.type]


def task_part(settings: Settings) -> Part:
    """The words and imports of the settings' task."""
    kind, task = kind_of(settings), settings.task
    constants = [part.upper() for part in kind.parts if task.column(part)]
    weighs = bool(task.class_weights) and not task.multi_label
    return Part(
        words={
            "kind": kind.folder,
            "weighs": weighs,
            "count_of": "weight_of(batch)" if weighs else 'int(batch["labels"].ne(IGNORED).sum())',
            "segments": task.segments,
            "nothing_words": _nothing_words(settings),
            "row_fields": ", ".join(constants),
            "split": measured_split(settings),
            "beams_words": _beams_words(settings.evaluation.num_beams),
            "perplexity_words": " and its exponential"
            if "perplexity" in settings.evaluation.metrics
            else "",
            **text_words(settings),
        },
        train={
            "recipec_runtime.metrics": kind.metrics(settings),
            **kind.helpers,
            **text_imports(settings),
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
    helpers: dict[str, list[str]] = {}
    if kind.folder == "sequence_classification":
        metrics = kind.metrics(settings)
        train.append("LABELS")
    if kind.folder == "token_classification":
        metrics = ["tagging"]
        helpers = {"recipec_runtime.tags": ["most_common"]}
        train.append("LABELS")
    if settings.training.overlong == "split":
        helpers = {"recipec_runtime.corruption": ["blocks"]}
        train.append("MAX_LENGTH")
    if kind.folder == "instruction":
        helpers = {"recipec_runtime.chat": ["answer"]}
        train += ["MAX_LENGTH", "MAX_NEW_TOKENS", "conversation"]
    if kind.folder == "question_answering":
        metrics = ["answers", "lead_sentence"]
    return {
        "recipec_runtime.metrics": metrics,
        **helpers,
        "recipec_runtime.run": ["Run"],
        "train": train,
    }


def _nothing_words(settings: Settings) -> str:
    decoder = settings.model.family == "decoder-only"
    return "an end token behind it" if decoder else "the first token, CLS"


def _beams_words(beams: int) -> str:
    if beams == 1:
        return "always the likeliest next token (greedy)"
    return "texts that are kept in view while generating"
