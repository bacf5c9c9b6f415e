"""`task` of a recipe: what the model must learn to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from recipec.recipe.schema.values import Count, Positive, Share, TaskType, Text, Texts


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which column of a data row plays which part."""

    source: Annotated[
        Text | None,
        Meta(
            description="Column with the input text (text-to-text tasks) or prompt (instruction)."
        ),
    ] = None
    target: Annotated[
        Text | None,
        Meta(description="Column with the text to produce (text-to-text tasks, instruction)."),
    ] = None
    messages: Annotated[
        Text | None,
        Meta(
            description=(
                "Column with a chat: a list of {role, content}, in place of source and target"
                " (instruction)."
            )
        ),
    ] = None
    system: Annotated[
        Text | None,
        Meta(description="Column with a system prompt beside source and target (instruction)."),
    ] = None
    text: Annotated[
        Text | None, Meta(description="Column with the text (causal-lm, classification).")
    ] = None
    pair: Annotated[
        Text | None,
        Meta(description="Column with a second text, for pairs (sequence-classification)."),
    ] = None
    label: Annotated[
        Text | None,
        Meta(
            description=(
                "Column with the class name; with `task.multi_label`, a list of them"
                " (sequence-classification)."
            )
        ),
    ] = None
    words: Annotated[
        Text | None, Meta(description="Column with a list of words (token-classification).")
    ] = None
    tags: Annotated[
        Text | None,
        Meta(description="Column with a list of tags, one a word, such as B-PER or O."),
    ] = None
    question: Annotated[
        Text | None, Meta(description="Column with the question (question-answering).")
    ] = None
    context: Annotated[
        Text | None, Meta(description="Column with the text that holds the answer.")
    ] = None
    answers: Annotated[
        Text | None,
        Meta(
            description=(
                "Column with the answers as SQuAD has them: {text: [...], answer_start: [...]}, in"
                " characters (question-answering)."
            )
        ),
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
    labels: Annotated[
        Texts | None,
        Meta(
            description=(
                "The closed set of labels or tags, in the order of the model's outputs; found in"
                " the training rows and fixed in the lock if left out."
            )
        ),
    ] = None
    multi_label: Annotated[
        bool,
        Meta(description="A text may have any number of labels (sequence-classification)."),
    ] = False
    chat_template: Annotated[
        Literal["model", "chatml", "alpaca", "plain"] | None,
        Meta(
            description=(
                "How a chat becomes text: the model's own template, or a named one (instruction)."
            )
        ),
    ] = None
    train_on: Annotated[
        Literal["responses", "all"],
        Meta(description="Which tokens of a chat the loss counts (instruction)."),
    ] = "responses"
    doc_stride: Annotated[
        Count | None,
        Meta(description=("Tokens that two windows of a long context share (question-answering).")),
    ] = None
    source_language: Annotated[
        Text | None,
        Meta(
            description="Language code of the source, for tokenizers that want one (translation)."
        ),
    ] = None
    target_language: Annotated[
        Text | None,
        Meta(
            description="Language code of the target, for tokenizers that want one (translation)."
        ),
    ] = None
    mask_share: Annotated[
        Share | None,
        Meta(description="Share of the tokens that are hidden (masked-lm, span-corruption)."),
    ] = None
    span_length: Annotated[
        Positive | None,
        Meta(description="Mean tokens of a hidden span (span-corruption)."),
    ] = None
