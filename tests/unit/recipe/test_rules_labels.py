"""Rules of tasks with labels, tags and answers, each by its text and its place."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.catalog import support
from tests.unit.recipe.test_rules import broken, only

CLASSES = {"type": "sequence-classification"}
TAGS = {"type": "token-classification"}


def test_what_is_fine() -> None:
    assert broken(task={**CLASSES, "labels": ["a", "b"]}) == []
    assert broken(task={**CLASSES, "labels": ["a"], "multi_label": True}) == []
    assert broken(task={**CLASSES, "fields": {"text": "one", "pair": "two"}}) == []
    assert broken(task={**TAGS, "labels": ["O", "B-A", "I-A", "B-B"]}) == []
    assert broken(task={**TAGS, "labels": ["NOUN", "VERB"]}) == []
    assert broken(task=CLASSES, training={"class_weights": "balanced"}) == []
    weights = {"a": 0.5, "b": 2.0}
    assert broken(task={**CLASSES, "labels": ["a", "b"]}, training={"class_weights": weights}) == []
    assert broken(task=CLASSES, training={"class_weights": weights}) == [], "the lock knows more"


def test_a_label_twice() -> None:
    assert only(task={**CLASSES, "labels": ["a", "b", "a"]}) == (
        "task.labels.2",
        "the label 'a' is there twice",
        "the model has one output for each label",
    )


def test_one_label() -> None:
    assert only(task={**CLASSES, "labels": ["a"]}) == (
        "task.labels",
        "with one label there is nothing to learn",
        "name two labels at least",
    )


def test_tags_that_no_entity_begins() -> None:
    assert only(task={**TAGS, "labels": ["O", "B-PER", "I-PER", "I-LOC"]}) == (
        "task.labels.3",
        "'I-LOC' goes on with an entity that 'B-LOC' would begin",
        "add 'B-LOC': tags are BIO",
    )


@pytest.mark.parametrize(
    ("label", "hint"),
    [("billin", "did you mean 'billing'?"), ("xyz", "weigh only labels of the task")],
)
def test_a_weight_of_no_label(label: str, hint: str) -> None:
    found = only(
        task={**CLASSES, "labels": ["billing", "login"]},
        training={"class_weights": {label: 2.0}},
    )
    assert found == (f"training.class_weights.{label}", f"'{label}' is none of task.labels", hint)


def test_a_pair_of_the_same_column() -> None:
    for fields in ({"text": "body", "pair": "body"}, {"pair": "text"}):
        path, message, _ = only(task={**CLASSES, "fields": fields})
        assert (path, message) == ("task.fields", "two fields name the same column")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"type": "question-answering"},
            "label smoothing would spread an answer over every token of its window",
        ),
        (
            {**CLASSES, "multi_label": True},
            "label smoothing is of one class among several, and here each label is its own",
        ),
    ],
)
def test_smoothing_of_what_is_no_class(task: dict[str, Any], message: str) -> None:
    assert only(task=task, training={"label_smoothing": 0.1}) == (
        "training.label_smoothing",
        message,
        "remove `training.label_smoothing`",
    )
    assert broken(task=CLASSES, training={"label_smoothing": 0.1}) == []


@pytest.mark.parametrize("task", ["token-classification", "question-answering"])
def test_prompt_moves_tokens(task: str) -> None:
    path, message, hint = only(task={"type": task}, method={"type": "prompt"})
    assert path == "method.type"
    assert message == "embeddings put before the input move every token that the task points at"
    assert hint == "use prefix, which leaves the tokens where they are, or lora"


@pytest.mark.parametrize(
    "task", ["sequence-classification", "token-classification", "question-answering"]
)
def test_encoder_decoders_write_their_labels(task: str) -> None:
    cell = support.cell(task, "encoder-decoder", "lora")
    assert not cell.supported
    assert cell.reason == "an encoder-decoder model writes the label or the answer"
    assert cell.hint == "use `task.type: text-to-text`, with the label as the target"


def test_knobs_of_other_tasks() -> None:
    assert only(task={**CLASSES, "doc_stride": 8})[:2] == (
        "task.doc_stride",
        "`task.doc_stride` does nothing for sequence-classification",
    )
    assert only(task={"type": "question-answering"}, training={"class_weights": "balanced"})[
        :2
    ] == (
        "training.class_weights",
        "`training.class_weights` does nothing for question-answering",
    )
    assert only(task={**TAGS, "multi_label": True})[0] == "task.multi_label"
