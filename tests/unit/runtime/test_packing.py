"""Packed rows give the losses and the gradients of padded ones, for every model that may pack."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.catalog import support
from recipec_runtime.packing import packed, padded
from tests.support import models

LENGTHS = (9, 14, 5, 21)
SAFE = sorted(set(models.DECODERS) & {n for n, m in support.models().items() if m.packing})


def batch_of(vocabulary: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(1)
    rows = [torch.randint(3, vocabulary, (length,)).tolist() for length in LENGTHS]
    return {
        "input_ids": padded(rows, 0),
        "attention_mask": padded([[1] * len(row) for row in rows], 0),
        "labels": padded([[*row[1:], -100] for row in rows], -100),
    }


def loss_of(model: Any, batch: dict[str, Any], names: tuple[str, ...]) -> Any:
    import torch

    logits = model(**{name: batch[name] for name in names}, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100, reduction="sum"
    )


def test_some_models_pack() -> None:
    assert {"gpt2", "llama", "mistral", "qwen2", "qwen3", "phi3", "mixtral"} <= set(SAFE)
    assert not {"bloom", "opt"} & set(SAFE), "these let texts see each other"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("model_type", SAFE)
def test_packed_equals_padded(model_type: str, attention: str) -> None:
    import torch

    torch.manual_seed(0)
    vocabulary = 80
    model = models.make_model(model_type, vocabulary).eval()  # dropout would draw otherwise
    try:
        model.set_attn_implementation(attention)
    except ValueError:
        pytest.skip(f"{model_type} has no {attention} attention")
    batch = batch_of(vocabulary)
    found = []
    for one, names in (
        (batch, ("input_ids", "attention_mask")),
        (packed(batch), ("input_ids", "position_ids")),
    ):
        model.zero_grad()
        loss = loss_of(model, one, names)
        loss.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((loss.item() / sum(LENGTHS), torch.cat(grads)))
    (padded_loss, padded_grad), (packed_loss, packed_grad) = found
    assert packed_loss == pytest.approx(padded_loss, abs=1e-5)
    assert (packed_grad - padded_grad).abs().max() < 1e-4 * padded_grad.abs().max()


@pytest.mark.parametrize("model_type", ["bloom", "opt"])
def test_models_that_are_refused_do_leak(model_type: str) -> None:
    """Were this to fail, the catalogue could call the model safe."""
    import torch

    torch.manual_seed(0)
    model = models.make_model(model_type, 80).eval()
    batch = batch_of(80)
    whole = packed(batch)
    names = ("input_ids",) if model_type == "bloom" else ("input_ids", "position_ids")
    separate = loss_of(model, batch, ("input_ids", "attention_mask")).item()
    assert abs(loss_of(model, whole, names).item() - separate) > 1e-3


def test_the_layout() -> None:
    import torch

    batch = {
        "input_ids": padded([[5, 6, 7], [8, 9]], 0),
        "attention_mask": padded([[1, 1, 1], [1, 1]], 0),
        "labels": padded([[6, 7, -100], [9, -100]], -100),
    }
    found = {name: tensor.tolist() for name, tensor in packed(batch).items()}
    assert found == {
        "input_ids": [[5, 6, 7, 8, 9]],
        "position_ids": [[0, 1, 2, 0, 1]],
        "labels": [[6, 7, -100, 9, -100]],
    }
    assert torch.equal(padded([[1], [2, 3]], 0), torch.tensor([[1, 0], [2, 3]]))
