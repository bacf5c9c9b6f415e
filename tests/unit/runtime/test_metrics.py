"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from recipec_runtime.metrics import classification, lead_sentence, perplexity, rouge


def test_rouge_by_hand() -> None:
    # prediction: the cat sat on the mat   (6 words, 5 pairs)
    # reference:  the cat lay on a mat     (6 words, 5 pairs)
    # words in common: the cat on mat = 4  -> P = R = 4/6, F = 2/3
    # pairs in common: "the cat" = 1       -> P = R = 1/5, F = 1/5
    # longest common subsequence: the cat on mat = 4 -> F = 2/3
    found = rouge(
        ["the cat sat on the mat"], ["The cat lay on a mat."], ("rouge1", "rouge2", "rougeL")
    )
    assert found == pytest.approx({"rouge1": 2 / 3, "rouge2": 1 / 5, "rougeL": 2 / 3}, abs=1e-6)


def test_rouge_is_a_mean_over_rows() -> None:
    # the second row: P = 1/1, R = 1/3, F = 1/2; the mean of 1 and 1/2
    found = rouge(["a b", "a"], ["a b", "a b c"], ("rouge1",))
    assert found == pytest.approx({"rouge1": 0.75}, abs=1e-6)
    assert rouge([], [], ("rouge1",)) == {}
    assert rouge(["a"], ["a"], ()) == {}


def test_classification_by_hand() -> None:
    predictions = ["a", "a", "b", "b", "a"]
    references = ["a", "b", "b", "b", "b"]
    # a: 1 hit, 3 named, 1 there -> F1 = 2/4; b: 2 hits, 2 named, 4 there -> 4/6; c: never -> 0
    found = classification(predictions, references, ["a", "b", "c"])
    assert found == pytest.approx({"accuracy": 3 / 5, "f1": (1 / 2 + 2 / 3) / 3})


def test_the_lead_sentence() -> None:
    assert lead_sentence(" One v1.2 thing. Another! ") == "One v1.2 thing."
    assert lead_sentence("no end") == "no end"


def test_perplexity() -> None:
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert math.isfinite(perplexity(1e9))
