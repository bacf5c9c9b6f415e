"""Clipping is torch's to the byte, and a loop's settings of memory are those that it promises."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from recipec_runtime.memory import settle
from recipec_runtime.modeling import clip_gradients, trained_weights


def model_with_gradients(size: float) -> torch.nn.Module:
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.LayerNorm(5), torch.nn.Linear(5, 3))
    model[1].requires_grad_(False)
    (model(torch.randn(4, 7)) * size).sum().backward()
    return model


@pytest.mark.parametrize("limit", [0.1, 1.0, math.inf])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, math.inf, math.nan])
def test_clips_as_torch_does(size: float, limit: float) -> None:
    ours = model_with_gradients(size)
    theirs = copy.deepcopy(ours)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.grad = None if mine.grad is None else mine.grad.clone()
    weights = [p for p in theirs.parameters() if p.requires_grad]
    expected = torch.nn.utils.clip_grad_norm_(weights, limit).item()
    found = clip_gradients(ours, limit)
    assert found == expected or (math.isnan(found) and math.isnan(expected))
    for mine, other in zip(trained_weights(ours), weights, strict=True):
        assert torch.equal(mine.grad.view(torch.int32), other.grad.view(torch.int32))


def test_a_limit_that_is_the_norm_itself() -> None:
    model = model_with_gradients(1.0)
    norm = clip_gradients(model, math.inf)
    assert clip_gradients(model, norm) == norm


def test_the_weights_of_the_model_that_is_asked_about() -> None:
    first, second = model_with_gradients(1.0), model_with_gradients(2.0)
    assert len(trained_weights(first)) == 4
    assert trained_weights(second)[0] is next(second.parameters())
    assert trained_weights(first)[0] is next(first.parameters())


def test_new_tensors_are_not_filled_once_a_loop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    settle()
    assert torch.utils.deterministic.fill_uninitialized_memory is False
