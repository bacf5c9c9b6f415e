"""Answers as spans of a context: from characters to tokens, and back from scores to text.

In: a tokenizer's windows over contexts, a model's scores. Out: token positions, texts. torch is
imported inside, after the environment is pinned. It makes no batch and runs no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OUTSIDE = (-1, -1)
"""Offsets of a token that is not one of the context's."""

Offsets = Sequence[tuple[int, int]]
"""Of each token of a window: its first character in the context, and the one behind its last."""


def questions(tokenizer: Any, texts: Sequence[str], limit: int) -> list[str]:
    """The questions, those of more than `limit` tokens cut, so that a context always fits beside.

    A cut question ends where its last token ends; its tokens are at most `limit` again.
    """
    plain = [text.strip() for text in texts]
    found = tokenizer(plain, add_special_tokens=False, return_offsets_mapping=True)
    return [
        text if len(offsets) <= limit else text[: offsets[limit - 1][1]]
        for text, offsets in zip(plain, found["offset_mapping"], strict=True)
    ]


def context_offsets(windows: Any) -> list[Offsets]:
    """For each window the offsets of its tokens, `OUTSIDE` where a token is not the context's."""
    found: list[Offsets] = []
    for number, offsets in enumerate(windows["offset_mapping"].tolist()):
        texts = windows.sequence_ids(number)
        found.append(
            [
                (first, behind) if text == 1 and behind > first else OUTSIDE
                for (first, behind), text in zip(offsets, texts, strict=True)
            ]
        )
    return found


def answer_span(answers: Mapping[str, Sequence[Any]], offsets: Offsets) -> tuple[int, int] | None:
    """First and last token of the first answer, or None if the window does not hold all of it.

    `answers` are as SQuAD has them: text, and answer_start in characters; a row without an answer
    has empty lists. A token that the answer only touches belongs to it.
    """
    if not answers["text"]:
        return None
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    inside = [place for place, offset in enumerate(offsets) if offset != OUTSIDE]
    if not inside or offsets[inside[0]][0] > begin or offsets[inside[-1]][1] < end:
        return None
    touched = [place for place in inside if offsets[place][1] > begin and offsets[place][0] < end]
    return (touched[0], touched[-1]) if touched else None


def with_end(ids: Any, mask: Any, token: int) -> tuple[Any, Any]:
    """Token ids and attention mask, both (windows, tokens), with one `token` behind each window.

    Padding must be on the right; both come back one token longer.
    """
    import torch

    ids, mask = (torch.nn.functional.pad(tensor, (0, 1)) for tensor in (ids, mask))
    rows, last = torch.arange(len(ids)), mask.sum(1)
    ids[rows, last] = token
    mask[rows, last] = 1
    return ids, mask


def best_answers(
    contexts: Sequence[str], batch: Mapping[str, Any], scores: Any, longest: int
) -> list[str]:
    """The best answer of each row; empty where "no answer" scores higher than any.

    `scores` are (windows, tokens, 2): of each token as the answer's first, and as its last. A span
    scores the sum of both; every span of the context with at most `longest` tokens is looked at,
    over all windows of the row. "No answer" scores the smallest, over those windows, of the sum at
    the position that `batch["nothing"]` names (Devlin et al. 2019, section 4.3, without a
    threshold). Of equal spans the first wins, in the order of windows and tokens.
    """
    best = [(float("-inf"), "")] * len(contexts)
    nothing = [float("inf")] * len(contexts)
    for number, row in enumerate(batch["row"].tolist()):
        begin, end = scores[number].double().unbind(-1)
        none = int(batch["nothing"][number])
        nothing[row] = min(nothing[row], float(begin[none] + end[none]))
        offsets = batch["offsets"][number].tolist()
        score, first, last = _best_span(begin, end, offsets, longest)
        if score > best[row][0]:
            # a byte-level token may begin with the blank before its word
            best[row] = score, contexts[row][offsets[first][0] : offsets[last][1]].strip()
    return [text if score > none else "" for (score, text), none in zip(best, nothing, strict=True)]


def _best_span(begin: Any, end: Any, offsets: Offsets, longest: int) -> tuple[float, int, int]:
    """Score, first and last token of the best span; -inf where the window has no context."""
    inside = [place for place, (first, _) in enumerate(offsets) if first >= 0]
    if not inside:
        return float("-inf"), 0, 0
    low = inside[0]
    width = inside[-1] + 1 - low
    import torch

    allowed = torch.ones(width, width, dtype=torch.bool).triu().tril(longest - 1)
    known = torch.tensor([first >= 0 for first, _ in offsets[low : low + width]])
    allowed &= known[:, None] & known[None, :]
    sums = begin[low : low + width, None] + end[None, low : low + width]
    sums = sums.masked_fill(~allowed, float("-inf"))
    place = int(sums.argmax())
    first, last = divmod(place, width)
    return float(sums[first, last]), low + first, low + last


def window_parts(batch: Mapping[str, Any], size: int) -> list[dict[str, Any]]:
    """The batch in parts of at most `size` windows, in order."""
    count = len(batch["labels"])
    return [
        {name: tensor[start : start + size] for name, tensor in batch.items()}
        for start in range(0, count, size)
    ]
