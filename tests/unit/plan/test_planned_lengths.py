"""lengths: text of rows, and tokens of an epoch as batches make them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.plan.lengths import RowText, row_text, tokens_of
from recipec.plan.plan import Settings
from tests.unit.plan.test_make_plan import plan, recipe

LLAMA: dict[str, Any] = {"model_type": "llama", "max_position_embeddings": 512}


def settings(task: str = "causal-lm", **training: Any) -> Settings:
    made = recipe(task, training={"batch_size": 4, "max_length": 100, **training})
    return plan(made, rows=40, family="decoder-only", config=LLAMA).settings


@pytest.mark.parametrize(
    ("task", "row", "text"),
    [
        ("causal-lm", {"text": "naïve", "other": "not read"}, RowText(source=6)),
        ("sequence-classification", {"text": "abc", "label": "spam"}, RowText(source=3)),
        ("token-classification", {"words": ["ab", "c"], "tags": ["O", "O"]}, RowText(source=5)),
        ("summarization", {"source": "abcd", "target": "ab"}, RowText(source=4, target=2)),
        (
            "question-answering",
            {"question": "why?", "context": "because", "answers": {"text": ["because"]}},
            RowText(source=11),
        ),
        ("causal-lm", {"text": None}, RowText(source=0)),
        ("causal-lm", {}, RowText(source=0)),
    ],
)
def test_the_text_of_a_row(task: str, row: dict[str, Any], text: RowText) -> None:
    made = recipe(task, method={"type": "full"})
    assert (
        row_text(
            row, plan(made, family="encoder-only", config={"model_type": "bert"}).settings.task
        )
        == text
    )


def test_the_text_of_a_chat() -> None:
    chat = {"messages": [{"role": "user", "content": "hello"}]}
    task = replace(settings("instruction").task, columns=(("messages", "messages"),))
    assert row_text(chat, task) == RowText(source=len("user") + len("hello") + 1)


def test_rows_are_cut_and_padded_to_the_longest_of_their_batch() -> None:
    sample = [RowText(source=size) for size in (40, 80, 40, 4000, 40, 40, 40, 40)]
    found = tokens_of(sample, settings(), bytes_of_token=4.0)
    # the first batch is cut to 100 tokens, the second has 12 in each row
    assert found.source == 40 * (100 + 12) / 2
    assert (found.row, found.target) == ((100 + 12) / 2, 0.0)


def test_packed_rows_have_no_padding() -> None:
    sample = [RowText(source=size) for size in (40, 80, 40, 4000)]
    found = tokens_of(sample, settings(packing=True), bytes_of_token=4.0)
    assert found.source == 40 * (12 + 22 + 12 + 100) / 4
    assert found.row == 100


def test_blocks_are_full() -> None:
    found = tokens_of([RowText(source=396)], settings(overlong="split"), bytes_of_token=4.0)
    assert (found.source, found.row) == (40 * 100, 100)


@pytest.mark.parametrize(("kind", "written"), [("t5", 0.15 * (1 + 1 / 3)), ("bart", 1.0)])
def test_what_a_corrupted_text_has_to_be_restored_to(kind: str, written: float) -> None:
    made = recipe("span-corruption", method={"type": "full"}, training={"max_length": 100})
    config = {"model_type": kind, "n_positions": 512, "max_position_embeddings": 512}
    found = tokens_of(
        [RowText(source=396)], plan(made, rows=40, config=config).settings, bytes_of_token=4.0
    )
    assert (found.source, found.row) == (40 * 100, 100)
    assert found.target == pytest.approx(40 * 100 * written)
    assert found.target_row == pytest.approx(100 * written)


def test_an_encoder_decoder_reads_and_writes() -> None:
    made = plan(recipe(training={"batch_size": 2}), rows=10).settings
    sample = [RowText(source=40, target=8), RowText(source=80, target=4)]
    found = tokens_of(sample, made, bytes_of_token=4.0)
    assert (found.source, found.target) == (10 * 22, 10 * 4)
    assert (found.row, found.target_row) == (22, 4)


@given(st.lists(st.integers(0, 10_000), min_size=1), st.floats(3, 5))
def test_padding_only_adds_and_never_beyond_the_limit(sizes: list[int], length: float) -> None:
    sample = [RowText(source=size) for size in sizes]
    padded = tokens_of(sample, SOME, bytes_of_token=length).source
    packed = tokens_of(sample, PACKED, bytes_of_token=length).source
    assert packed <= padded * 1.000001
    assert padded <= 40 * 100


SOME, PACKED = settings(), settings(packing=True)
