"""Raw text as what a model learns to restore: blocks of tokens, some of them hidden.

In: texts, a tokenizer, and the numbers (seed, epoch, row). Out: token ids and labels. What is
hidden is a pure function of those numbers, taken from SHAKE-256 (FIPS 202): torch's random
generator is never asked, so a resumed run hides the same tokens.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any

from recipec_runtime.data import batches
from recipec_runtime.errors import TrainingFailed

IGNORED = -100
"""Label of a token that does not count, as cross_entropy knows it."""

Block = dict[str, list[int]]
CHUNK = 1000
"""Texts that are put into tokens at once."""


def blocks(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[Block]:
    """All texts one after another, each with an end token, cut into `input_ids` of `max_length`.

    Nothing is thrown away; only the last block may be shorter. A text may begin in the middle of a
    block and go on in the next, as in RoBERTa's FULL-SENTENCES (arXiv:1907.11692, section 4.2) and
    T5's pre-training. Every block has the special tokens that the tokenizer puts around a text.
    """
    before, after = surroundings(tokenizer)
    end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    stream: list[int] = []
    for some in batches([text for text in texts if text.strip()], CHUNK):
        for ids in tokenizer(list(some), add_special_tokens=False).input_ids:
            stream += [*ids, end] if end is not None else ids
    if not stream:
        raise TrainingFailed("there is no text to learn", hint="look at the files of the corpus")
    size = max_length - len(before) - len(after)
    if size < 2:
        raise TrainingFailed(f"{max_length} tokens leave no room for text", hint="raise max_length")
    parts = [stream[start : start + size] for start in range(0, len(stream), size)]
    if len(parts) > 1 and len(parts[-1]) < 2:
        parts.pop()  # one token alone, the last end
    return [{"input_ids": [*before, *part, *after]} for part in parts]


def surroundings(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before a text, and behind it."""
    inner = tokenizer("a", add_special_tokens=False).input_ids
    whole = tokenizer("a").input_ids
    for start in range(len(whole) - len(inner) + 1):
        if whole[start : start + len(inner)] == inner:
            return whole[:start], whole[start + len(inner) :]
    return [], []


def hide_tokens(
    tokenizer: Any, block: Block, *, seed: int, epoch: int, row: int, share: float
) -> Block:
    """The block with a `share` of its tokens hidden, and `labels` that tell them.

    Devlin et al. (2019), section 3.1: of the tokens that are chosen 80% become the mask token, 10%
    another token, 10% stay. Special tokens are never chosen.
    """
    if tokenizer.mask_token_id is None:
        raise TrainingFailed(
            "the model's tokenizer has no mask token", hint="it cannot learn to fill in masks"
        )
    ids = block["input_ids"]
    special, others = _vocabulary(tokenizer)
    places = [place for place, token in enumerate(ids) if token not in special]
    draws = uniforms("masks", seed, epoch, row, 3 * len(ids))
    chosen = _smallest(places, draws, max(1, round(share * len(places))))
    hidden, labels = list(ids), [IGNORED] * len(ids)
    for place in chosen:
        labels[place] = ids[place]
        kind, other = draws[len(ids) + place], draws[2 * len(ids) + place]
        if kind < 0.8:
            hidden[place] = tokenizer.mask_token_id
        elif kind < 0.9:
            hidden[place] = others[int(other * len(others))]
    return {"input_ids": hidden, "labels": labels}


def hide_spans(
    tokenizer: Any, block: Block, *, seed: int, epoch: int, row: int, share: float, length: float
) -> Block:
    """The block with spans of tokens replaced by sentinels, and `labels` that tell each span.

    Raffel et al. (2020), arXiv:1910.10683, section 3.1.4: a `share` of the tokens is hidden, in
    spans of `length` on average that do not touch; each is told behind its sentinel.
    """
    known = tokenizer.get_vocab()
    sentinels: list[int] = []
    while f"<extra_id_{len(sentinels)}>" in known:
        sentinels.append(known[f"<extra_id_{len(sentinels)}>"])
    if len(sentinels) < 2:
        raise TrainingFailed(
            "the model's tokenizer has no sentinel tokens (<extra_id_0>, ...)",
            hint="it cannot learn to restore spans",
        )
    body, end = _without_end(tokenizer, block["input_ids"])
    hidden = max(1, min(round(share * len(body)), len(body) - 1))
    count = max(1, min(round(hidden / length), len(sentinels) - 1, hidden, len(body) - hidden))
    draws = uniforms("spans", seed, epoch, row, 2 * len(body))
    cuts = _smallest(range(1, hidden), draws, count - 1)
    lengths = [b - a for a, b in zip([0, *cuts], [*cuts, hidden], strict=True)]
    # each span stands behind another of the tokens that stay, so no two touch
    behind = _smallest(range(len(body) - hidden), draws[len(body) :], count)
    kept: list[int] = []
    told: list[int] = []
    place, stayed = 0, 0
    for sentinel, anchor, size in zip(sentinels, behind, lengths, strict=False):
        stay = anchor + 1 - stayed
        kept += [*body[place : place + stay], sentinel]
        told += [sentinel, *body[place + stay : place + stay + size]]
        place, stayed = place + stay + size, anchor + 1
    return {
        "input_ids": [*kept, *body[place:], *end],
        "labels": [*told, sentinels[count], *end],
    }


def infill(
    tokenizer: Any, block: Block, *, seed: int, epoch: int, row: int, share: float, length: float
) -> Block:
    """The block with spans of tokens replaced by one mask token each; `labels` are the whole text.

    Lewis et al. (2020), arXiv:1910.13461, section 2.2, text infilling: lengths are drawn from a
    Poisson distribution of mean `length`; an empty span is a mask token where nothing is missing.
    """
    if tokenizer.mask_token_id is None:
        raise TrainingFailed(
            "the model's tokenizer has no mask token", hint="it cannot learn to fill in masks"
        )
    ids = block["input_ids"]
    before, after = surroundings(tokenizer)
    body = ids[len(before) : len(ids) - len(after)]
    budget = max(1, min(round(share * len(body)), len(body) - 1))
    draws = iter(uniforms("infill", seed, epoch, row, 4 * len(body) + 8))
    lengths: list[int] = []
    while sum(lengths) < budget and len(lengths) < 2 * len(body):
        lengths.append(min(poisson(length, next(draws)), budget - sum(lengths)))
    stay = len(body) - sum(lengths)
    anchors = sorted(int(next(draws) * (stay + 1)) for _ in lengths)
    written: list[int] = []
    place, stayed = 0, 0
    for anchor, size in zip(anchors, lengths, strict=True):
        written += [*body[place : place + anchor - stayed], tokenizer.mask_token_id]
        place, stayed = place + anchor - stayed + size, anchor
    return {"input_ids": [*before, *written, *body[place:], *after], "labels": list(ids)}


def poisson(mean: float, draw: float) -> int:
    """The Poisson variable that belongs to a uniform `draw`: by inversion, in rounded sums."""
    term = total = math.exp(-mean)
    number = 0
    while round(total, 12) <= draw and number < 100:
        number += 1
        term *= mean / number
        total += term
    return number


def uniforms(purpose: str, seed: int, epoch: int, row: int, count: int) -> list[float]:
    """`count` numbers in [0, 1): the first 53 bits of each 8 bytes that SHAKE-256 gives."""
    name = f"recipec {purpose}, seed {seed}, epoch {epoch}, row {row}".encode("ascii")
    found = struct.unpack(f"<{count}Q", hashlib.shake_256(name).digest(8 * count))
    return [(number >> 11) * 2.0**-53 for number in found]


def _smallest(places: Sequence[int], draws: Sequence[float], count: int) -> list[int]:
    """`count` of the places, those with the smallest draws, in order."""
    return sorted(sorted(places, key=lambda place: (draws[place], place))[:count])


def _without_end(tokenizer: Any, ids: list[int]) -> tuple[list[int], list[int]]:
    last = ids[-1:] if ids[-1] == tokenizer.eos_token_id else []
    return (ids[: len(ids) - len(last)], last)


def _vocabulary(tokenizer: Any) -> tuple[frozenset[int], list[int]]:
    """The special tokens, and all others; kept with the tokenizer, which is asked for every row."""
    if not hasattr(tokenizer, "recipec_vocabulary"):
        special = frozenset(tokenizer.all_special_ids)
        others = [token for token in range(len(tokenizer)) if token not in special]
        tokenizer.recipec_vocabulary = (special, others)
    found: tuple[frozenset[int], list[int]] = tokenizer.recipec_vocabulary
    return found
