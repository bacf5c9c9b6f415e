"""Metrics of predictions against references.

In: texts, class names, losses. Out: plain floats, rounded so that files stay readable. ROUGE is
torchmetrics'; it is imported when it is first asked for.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

from recipec_runtime.tags import entities

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


def translation(
    predictions: Sequence[str], references: Sequence[str], names: Sequence[str]
) -> dict[str, float]:
    """Each of `names` (bleu, chrf) over the whole set of texts, from 0 to 1.

    BLEU is that of Post (2018), "A Call for Clarity in Reporting BLEU Scores": SacreBLEU's with its
    tokenizer 13a and four-grams. chrF is Popovic's (2015, 2017), with word pairs: chrF++.
    """
    if not predictions:
        return {}
    from torchmetrics.functional.text import chrf_score, sacre_bleu_score

    measures = {"bleu": sacre_bleu_score, "chrf": chrf_score}
    expected = [[reference] for reference in references]
    return {
        name: float(measure(list(predictions), expected))
        for name, measure in measures.items()
        if name in names
    }


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


def label_sets(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> dict[str, float]:
    """Accuracy, and F1 averaged over `labels` with equal weight (macro), from 0 to 1.

    Of rows with any number of labels: accuracy is the share of rows whose set is exactly right
    (subset accuracy, as scikit-learn's); a label that is neither predicted nor there has F1 0.
    """
    pairs = [({*p}, {*w}) for p, w in zip(predictions, references, strict=True)]
    scores = []
    for label in labels:
        hits = sum(label in predicted and label in wanted for predicted, wanted in pairs)
        named = sum((label in predicted) + (label in wanted) for predicted, wanted in pairs)
        scores.append(2 * hits / named if named else 0.0)
    right = sum(predicted == wanted for predicted, wanted in pairs)
    return {"accuracy": right / len(pairs), "f1": sum(scores) / len(scores)}


def tagging(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Precision, recall and F1 of entities over all rows (micro), and accuracy of words; 0 to 1.

    An entity counts if its type, first and last word are all right; `entities` says how tags are
    read, which is seqeval's default mode. Where nothing is predicted or there, the score is 0.
    """
    hits = predicted = wanted = right = words = 0
    for ours, theirs in zip(predictions, references, strict=True):
        found, known = entities(ours), entities(theirs)
        hits += len(found & known)
        predicted += len(found)
        wanted += len(known)
        right += sum(tag == other for tag, other in zip(ours, theirs, strict=True))
        words += len(theirs)
    return {
        "precision": hits / predicted if predicted else 0.0,
        "recall": hits / wanted if wanted else 0.0,
        "f1": 2 * hits / (predicted + wanted) if predicted + wanted else 0.0,
        "accuracy": right / words if words else 0.0,
    }


def answers(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Share of exact matches and mean F1 of words, from 0 to 1, as SQuAD's evaluation script.

    Rajpurkar et al. (2016, 2018): texts are compared in lower case, without punctuation and
    English articles; of several right answers the best counts. A question without an answer has
    none of them, and only an empty prediction is right.
    """
    exact, f1 = [], []
    for predicted, gold in zip(predictions, references, strict=True):
        ours = _answer_words(predicted)
        known = [words for text in gold if (words := _answer_words(text))] or [[]]
        exact.append(max(float(ours == words) for words in known))
        f1.append(max(_overlap(ours, words) for words in known))
    count = max(1, len(exact))
    return {"exact_match": sum(exact) / count, "f1": sum(f1) / count}


def _answer_words(text: str) -> list[str]:
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def _overlap(ours: list[str], theirs: list[str]) -> float:
    """F1 of two bags of words; two empty ones agree."""
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def perplexity(loss: float) -> float:
    """exp of the mean loss per token (nats)."""
    return math.exp(min(loss, 700.0))  # beyond, a double overflows
