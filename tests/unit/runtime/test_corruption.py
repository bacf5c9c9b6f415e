"""What is hidden of a corpus: the right share, the same each time, and always restorable."""

from __future__ import annotations

import random
from typing import Any

import pytest

from recipec_runtime import corruption
from recipec_runtime.errors import TrainingFailed
from tests.support import models

TEXTS = [row["text"] for row in models.rows(40, 3)]
NUMBERS = [0.663069, 0.425363, 0.809912]
AT = {"seed": 7, "epoch": 1, "row": 4}


def made(model_type: str, size: int = 64) -> tuple[Any, list[corruption.Block]]:
    tokenizer = models.make_tokenizer(model_type)
    return tokenizer, corruption.blocks(tokenizer, TEXTS, size)


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "t5", "bart"])
def test_blocks_hold_every_token(model_type: str) -> None:
    tokenizer, found = made(model_type)
    before, after = corruption.surroundings(tokenizer)
    assert tokenizer("a").input_ids == [
        *before,
        *tokenizer("a", add_special_tokens=False).input_ids,
        *after,
    ]
    assert {len(block["input_ids"]) for block in found[:-1]} == {64}
    stream = [
        token
        for block in found
        for token in block["input_ids"][len(before) : len(block["input_ids"]) - len(after)]
    ]
    wanted = [
        token
        for text in TEXTS
        for token in (*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id)
    ]
    assert stream == wanted[: len(stream)]
    assert len(wanted) - len(stream) <= 1


def test_no_text_is_refused() -> None:
    tokenizer = models.make_tokenizer("gpt2")
    with pytest.raises(TrainingFailed, match="there is no text to learn"):
        corruption.blocks(tokenizer, ["  ", ""], 16)


def test_hidden_tokens() -> None:
    tokenizer, found = made("bert")
    masks = kept = others = counted = total = 0
    for row, block in enumerate(found * 20):
        ids = block["input_ids"]
        hidden = corruption.hide_tokens(tokenizer, block, seed=1, epoch=0, row=row, share=0.15)
        for old, new, label in zip(ids, hidden["input_ids"], hidden["labels"], strict=True):
            assert label in (old, corruption.IGNORED)
            if label == corruption.IGNORED:
                assert new == old
            else:
                assert old not in tokenizer.all_special_ids
                counted += 1
                masks += new == tokenizer.mask_token_id
                kept += new == old
                others += new not in (old, tokenizer.mask_token_id)
        total += sum(token not in tokenizer.all_special_ids for token in ids)
    assert counted / total == pytest.approx(0.15, abs=0.01)
    assert masks / counted == pytest.approx(0.8, abs=0.03)
    assert kept / counted == pytest.approx(0.1, abs=0.03)
    assert others / counted == pytest.approx(0.1, abs=0.03)


def restored(tokenizer: Any, block: corruption.Block) -> list[int]:
    """A T5 block with every span put back in the place of its sentinel."""
    names = [tokenizer.convert_tokens_to_ids(name) for name in models.SENTINELS]
    spans: dict[int, list[int]] = {}
    for token in block["labels"]:
        if token in names:
            current = spans.setdefault(token, [])
        elif token != tokenizer.eos_token_id or names[len(spans) - 1] != token:
            current.append(token)
    last = max(spans, key=names.index)
    assert spans[last] == [tokenizer.eos_token_id]
    found: list[int] = []
    for token in block["input_ids"]:
        found += spans.get(token, [token])
    return found


def test_hidden_spans_can_be_put_back() -> None:
    tokenizer, found = made("t5")
    sizes = []
    for row, block in enumerate(found):
        hidden = corruption.hide_spans(
            tokenizer, block, seed=1, epoch=0, row=row, share=0.15, length=3.0
        )
        assert restored(tokenizer, hidden) == block["input_ids"]
        sizes.append((len(hidden["labels"]) - 5) / len(block["input_ids"]))
    assert sum(sizes) / len(sizes) == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_spans_of_any_share(share: float) -> None:
    tokenizer, found = made("t5", 24)
    for row, block in enumerate(found):
        hidden = corruption.hide_spans(
            tokenizer, block, seed=1, epoch=0, row=row, share=share, length=2.0
        )
        assert restored(tokenizer, hidden) == block["input_ids"]


def test_infilling() -> None:
    tokenizer, found = made("bart")
    missing = 0
    for row, block in enumerate(found):
        hidden = corruption.infill(
            tokenizer, block, seed=1, epoch=0, row=row, share=0.3, length=3.0
        )
        assert hidden["labels"] == block["input_ids"]
        masks = hidden["input_ids"].count(tokenizer.mask_token_id)
        missing += len(block["input_ids"]) - (len(hidden["input_ids"]) - masks)
        kept = iter(block["input_ids"])
        for token in hidden["input_ids"]:
            assert token == tokenizer.mask_token_id or token in kept, "order is kept"
    total = sum(len(block["input_ids"]) for block in found)
    assert missing / total == pytest.approx(0.3, abs=0.02)


def test_a_pure_function_of_seed_epoch_and_row() -> None:
    import torch

    tokenizer, found = made("bert")
    state = torch.get_rng_state()
    random.seed(1)
    first = corruption.hide_tokens(tokenizer, found[0], share=0.15, **AT)
    random.seed(2)
    assert corruption.hide_tokens(tokenizer, found[0], share=0.15, **AT) == first
    assert torch.equal(state, torch.get_rng_state())
    for name in AT:
        other = AT | {name: AT[name] + 1}
        assert corruption.hide_tokens(tokenizer, found[0], share=0.15, **other) != first


def test_the_numbers_are_fixed() -> None:
    """Another generator would change every run's bytes: these are from SHAKE-256's definition."""
    found = corruption.uniforms("masks", 0, 0, 0, 3)
    assert [round(number, 6) for number in found] == NUMBERS
    many = corruption.uniforms("masks", 1, 2, 3, 10_000)
    assert sum(many) / len(many) == pytest.approx(0.5, abs=0.02)


def test_poisson() -> None:
    draws = corruption.uniforms("poisson", 0, 0, 0, 5000)
    found = [corruption.poisson(3.0, draw) for draw in draws]
    assert sum(found) / len(found) == pytest.approx(3.0, abs=0.1)
    assert found.count(0) / len(found) == pytest.approx(0.0498, abs=0.01)


def test_tokenizers_without_the_tokens() -> None:
    tokenizer, found = made("gpt2")
    with pytest.raises(TrainingFailed, match="no mask token"):
        corruption.hide_tokens(tokenizer, found[0], share=0.15, **AT)
    with pytest.raises(TrainingFailed, match="no sentinel tokens"):
        corruption.hide_spans(tokenizer, found[0], share=0.15, length=3.0, **AT)
    with pytest.raises(TrainingFailed, match="no mask token"):
        corruption.infill(tokenizer, found[0], share=0.3, length=3.0, **AT)
