"""Answers as spans: which tokens hold them, and which text the scores name."""

from __future__ import annotations

import itertools
import random
import string
from importlib import import_module
from typing import Any

import pytest

from recipec_runtime.metrics import answers
from recipec_runtime.spans import OUTSIDE, answer_span, best_answers, window_parts, with_end

torch = import_module("torch")

CONTEXT = "the refund came late today"
TOKENS = [(0, 3), (4, 10), (11, 15), (16, 20), (21, 26)]
NONE: dict[str, list[Any]] = {"text": [], "answer_start": []}
WINDOW = [OUTSIDE, OUTSIDE, *TOKENS, OUTSIDE]


def given(text: str, start: int) -> dict[str, list[Any]]:
    return {"text": [text], "answer_start": [start]}


def test_an_answer_is_its_first_and_last_token() -> None:
    assert answer_span(given("refund", 4), WINDOW) == (3, 3)
    assert answer_span(given("refund came late", 4), WINDOW) == (3, 5)
    assert answer_span(given("fund c", 6), WINDOW) == (3, 4), "tokens that it only touches"
    assert answer_span(given(CONTEXT, 0), WINDOW) == (2, 6)


def test_a_window_that_does_not_hold_the_answer() -> None:
    part = [OUTSIDE, *TOKENS[2:]]
    assert answer_span(given("refund", 4), part) is None
    assert answer_span(given("refund came", 4), part) is None, "half of it is not it"
    assert answer_span(given("came", 11), part) == (1, 1)
    assert answer_span(NONE, WINDOW) is None
    assert answer_span(given("refund", 4), [OUTSIDE]) is None


def test_only_the_first_answer_is_learnt() -> None:
    both: dict[str, list[Any]] = {"text": ["late", "refund"], "answer_start": [16, 4]}
    assert answer_span(both, WINDOW) == (5, 5)


def scored(*windows: dict[int, tuple[float, float]], tokens: int = 8) -> Any:
    """Scores of windows: by token as the answer's first and last; all others are -9."""
    found = torch.full((len(windows), tokens, 2), -9.0)
    for number, window in enumerate(windows):
        for token, pair in window.items():
            found[number, token] = torch.tensor(pair)
    return found


def batch_of(*windows: list[tuple[int, int]], rows: tuple[int, ...] = (0,)) -> dict[str, Any]:
    return {
        "offsets": torch.tensor(windows),
        "row": torch.tensor(rows),
        "nothing": torch.zeros(len(windows), dtype=torch.long),
    }


def test_the_best_span() -> None:
    batch = batch_of(WINDOW)
    assert best_answers([CONTEXT], batch, scored({3: (5, 1), 5: (0, 4)}), 30) == [
        "refund came late"
    ]
    # the last token never comes before the first, and never outside of the context
    assert best_answers([CONTEXT], batch, scored({5: (5, 0), 3: (1, 9)}), 30) == ["refund"]
    assert best_answers([CONTEXT], batch, scored({1: (9, 9), 3: (1, 1)}), 30) == ["refund"]


def test_a_longest_answer() -> None:
    scores = scored({3: (5, 1), 5: (0, 4)})
    assert best_answers([CONTEXT], batch_of(WINDOW), scores, 3) == ["refund came late"]
    assert best_answers([CONTEXT], batch_of(WINDOW), scores, 2) == ["refund"]


def test_no_answer_where_nothing_scores_higher() -> None:
    assert best_answers([CONTEXT], batch_of(WINDOW), scored({0: (3, 3), 3: (2, 2)}), 30) == [""]
    assert best_answers([CONTEXT], batch_of(WINDOW), scored({0: (2, 1), 3: (2, 2)}), 30) == [
        "refund"
    ]
    # of several windows the least sure one counts: most windows rightly hold no answer
    batch = batch_of([OUTSIDE, *TOKENS], [OUTSIDE, *TOKENS], rows=(0, 0))
    scores = scored({0: (8, 8), 1: (-5, -5)}, {0: (-2, -2), 2: (1, 1)}, tokens=6)
    assert best_answers([CONTEXT], batch, scores, 30) == ["refund"]


def test_windows_go_to_their_rows() -> None:
    batch = batch_of([OUTSIDE, *TOKENS], [OUTSIDE, *TOKENS], [OUTSIDE] * 6, rows=(0, 1, 2))
    scores = scored({2: (1, 1)}, {4: (1, 1)}, {}, tokens=6)
    assert best_answers([CONTEXT, CONTEXT, ""], batch, scores, 30) == ["refund", "late", ""]


def test_the_best_span_is_that_of_trying_all() -> None:
    draw = random.Random(1)
    torch.manual_seed(1)
    for _ in range(50):
        longest = draw.randint(1, 5)
        scores = torch.randn(1, 8, 2)
        spans = [
            (float(scores[0, a, 0].double() + scores[0, b, 1].double()), a, b)
            for a, b in itertools.combinations_with_replacement(range(2, 7), 2)
            if b - a < longest
        ]
        _, first, last = max(spans)
        text = CONTEXT[WINDOW[first][0] : WINDOW[last][1]]
        none = float(scores[0, 0].double().sum())
        wanted = text if max(spans)[0] > none else ""
        assert best_answers([CONTEXT], batch_of(WINDOW), scores, longest) == [wanted]


def test_an_end_token_goes_behind_each_window() -> None:
    ids, mask = with_end(
        torch.tensor([[5, 6, 0], [5, 6, 7]]), torch.tensor([[1, 1, 0], [1, 1, 1]]), 2
    )
    assert ids.tolist() == [[5, 6, 2, 0], [5, 6, 7, 2]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_parts_of_a_batch() -> None:
    batch = {"labels": torch.arange(5), "row": torch.arange(5) * 2}
    parts = window_parts(batch, 2)
    assert [part["row"].tolist() for part in parts] == [[0, 2], [4, 6], [8]]


@pytest.mark.parametrize(
    ("predicted", "gold", "exact", "f1"),
    [
        ("The Refund.", ["refund"], 1.0, 1.0),
        ("an  apple a day", ["apple day"], 1.0, 1.0),
        ("refund came", ["refund"], 0.0, 2 / 3),
        ("refund came", ["late", "the refund came!"], 1.0, 1.0),
        ("late late", ["late"], 0.0, 2 / 3),
        ("", [], 1.0, 1.0),
        ("late", [], 0.0, 0.0),
        ("", ["late"], 0.0, 0.0),
        ("the", ["the"], 1.0, 1.0),
        ("theatre", ["atre"], 0.0, 0.0),
    ],
)
def test_squad_scores(predicted: str, gold: list[str], exact: float, f1: float) -> None:
    assert answers([predicted], [gold]) == {"exact_match": exact, "f1": pytest.approx(f1)}


def test_squad_scores_are_means() -> None:
    found = answers(["refund", "late today"], [["refund"], ["today"]])
    assert found == {"exact_match": 0.5, "f1": pytest.approx((1 + 2 / 3) / 2)}
    assert answers([string.punctuation], [["!"]]) == {"exact_match": 1.0, "f1": 1.0}
