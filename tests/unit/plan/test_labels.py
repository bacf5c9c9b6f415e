"""plan: weights of labels, windows of contexts, pairs of texts."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from recipec.errors import RecipeError
from recipec.plan.fit import Target, misfits
from recipec.plan.make import make_plan
from recipec.plan.plan import Plan
from recipec.recipe.schema import Recipe
from tests.unit.plan.test_make_plan import lock

BERT: dict[str, Any] = {
    "model_type": "bert",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}


def recipe(kind: str, task: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    plain = {
        "name": "a",
        "task": {"type": kind, **(task or {})},
        "domain": {"data": {"train": "train.jsonl", "test": "test.jsonl"}},
        "architecture": {"model": "path:m"},
        **sections,
    }
    return msgspec.convert(plain, Recipe)


def plan(
    kind: str = "sequence-classification",
    *,
    labels: dict[str, int] | None = None,
    config: dict[str, Any] = BERT,
    **sections: Any,
) -> Plan:
    counts = labels or {"no": 75, "yes": 25}
    pinned = dataclasses.replace(lock(), labels=tuple(counts), label_counts=tuple(counts.values()))
    return make_plan(
        recipe(kind, **sections), pinned, family="encoder-only", model_type="bert", config=config
    )


def test_no_weights() -> None:
    assert plan().settings.task.class_weights == ()


def test_balanced_weights() -> None:
    made = plan(training={"class_weights": "balanced"})
    # 100 rows / (2 classes * 75), 100 / (2 * 25)
    assert made.settings.task.class_weights == (0.666667, 2.0)
    decision = next(d for d in made.decisions if d.key == "training.class_weights")
    assert (decision.origin, decision.reason) == ("derived", "rows / (classes * rows of the class)")


def test_balanced_weights_of_label_sets() -> None:
    made = plan(
        labels={"a": 80, "b": 20, "c": 100},
        task={"multi_label": True},
        training={"class_weights": "balanced"},
    )
    # of 100 rows: 20 without / 80 with, 80 / 20; a label that every row has weighs 1
    assert made.settings.task.class_weights == (0.25, 4.0, 1.0)


def test_weights_by_label() -> None:
    made = plan(training={"class_weights": {"yes": 3}})
    assert made.settings.task.class_weights == (1.0, 3.0)


def test_a_weight_of_no_label_of_the_data() -> None:
    with pytest.raises(RecipeError) as caught:
        plan(training={"class_weights": {"perhaps": 3.0}})
    assert caught.value.render() == (
        "recipes/a.yaml: error: `training.class_weights` weighs 'perhaps', which is no label of the"
        " data\n  hint: labels: no, yes\n\n1 error"
    )


def test_a_label_that_no_row_has_cannot_be_balanced() -> None:
    with pytest.raises(RecipeError, match="no training row has it"):
        plan(labels={"no": 9, "yes": 0}, training={"class_weights": "balanced"})


@pytest.mark.parametrize(
    ("length", "stride"), [(None, 128), (384, 96), (64, 16)], ids=["open", "384", "64"]
)
def test_windows_share_a_quarter(length: int | None, stride: int) -> None:
    made = plan("question-answering", training={"max_length": length})
    assert made.settings.task.doc_stride == stride
    assert plan().settings.task.doc_stride == 0


def test_texts_of_a_pair_are_told_apart_where_the_model_can() -> None:
    pair = {"fields": {"pair": "other"}}
    assert plan(task=pair).settings.task.segments
    assert not plan().settings.task.segments, "there is one text"
    assert plan("question-answering").settings.task.segments
    roberta = {**BERT, "type_vocab_size": 1}
    assert not plan(task=pair, config=roberta).settings.task.segments
    llama = {"model_type": "llama", "max_position_embeddings": 512}
    assert not plan(task=pair, config=llama).settings.task.segments


def fit(family: str = "encoder-only", **sections: Any) -> list[tuple[str, str, str]]:
    config = {**BERT, "max_position_embeddings": 64}
    target = Target(family=family, model_type="bert", config=config)
    found = misfits(recipe("question-answering", **sections), target)
    return [(".".join(map(str, w.path)), w.message, w.hint) for w in found]


def test_windows_must_have_room() -> None:
    assert fit() == []
    assert fit(task={"doc_stride": 48}) == []
    assert fit(task={"doc_stride": 49}) == [
        (
            "task.doc_stride",
            "windows of 64 tokens cannot share 49: question and new context need 16 at least",
            "share at most 48, or lengthen training.max_length",
        )
    ]
    assert fit(training={"max_length": 20}) == [
        (
            "training.max_length",
            "a window of 20 tokens has no room for question and context",
            "windows have 32 tokens at least",
        )
    ]


def test_decoders_answer_with_a_tagger() -> None:
    """Gemma has no question-answering class in transformers, and needs none."""
    for model_type, fits in (("gemma", True), ("opt", False)):
        config = {"model_type": model_type, "max_position_embeddings": 512}
        target = Target(family="decoder-only", model_type=model_type, config=config)
        found = [w.message for w in misfits(recipe("question-answering"), target)]
        assert (found == []) is fits, found
