"""Metrics of predictions against references.

In: texts, class names, losses. Out: plain floats, rounded so that files stay readable. ROUGE is
torchmetrics'; it is imported when it is first asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

DIGITS = 6


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics to six decimals."""
    return {name: round(value, DIGITS) for name, value in metrics.items()}


def rouge(
    predictions: Sequence[str], references: Sequence[str], names: Sequence[str]
) -> dict[str, float]:
    """Mean F-measure of each of `names` (rouge1, rouge2, rougeL), from 0 to 1.

    Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries": overlap of words, of word
    pairs, and the longest common subsequence; lower-cased, without stemming.
    """
    wanted = tuple(name for name in names if name.startswith("rouge"))
    if not wanted or not predictions:
        return {}
    from torchmetrics.functional.text.rouge import rouge_score

    scores = rouge_score(list(predictions), list(references), rouge_keys=wanted)
    return {name: float(scores[f"{name}_fmeasure"]) for name in wanted}


def lead_sentence(text: str) -> str:
    """The first sentence of a text: what a summary must beat."""
    return re.split(r"(?<=[.!?])\s+", text.strip(), maxsplit=1)[0]


def classification(
    predictions: Sequence[str], references: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
    """Accuracy, and F1 averaged over `labels` with equal weight (macro), from 0 to 1.

    A class that is neither predicted nor there has F1 0, as in scikit-learn.
    """
    pairs = list(zip(predictions, references, strict=True))
    right = sum(predicted == wanted for predicted, wanted in pairs)
    scores = []
    for label in labels:
        hits = sum(predicted == wanted == label for predicted, wanted in pairs)
        named = sum((predicted == label) + (wanted == label) for predicted, wanted in pairs)
        scores.append(2 * hits / named if named else 0.0)
    return {"accuracy": right / len(pairs), "f1": sum(scores) / len(scores)}


def perplexity(loss: float) -> float:
    """exp of the mean loss per token (nats)."""
    return math.exp(min(loss, 700.0))  # beyond, a double overflows
