"""The moving average of trained weights, and the noise on embeddings."""

from __future__ import annotations

import math
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from recipec_runtime.ema import MovingAverage
from recipec_runtime.noise import add_noise
from tests.support import models

torch = import_module("torch")


def model() -> Any:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    made[0].weight.requires_grad_(False)
    return made


def walk(made: Any, averages: MovingAverage, steps: range) -> None:
    for step in steps:
        with torch.no_grad():
            made[1].bias.fill_(float(step + 1))
        averages.update(step)


def test_the_average_is_that_of_the_formula() -> None:
    made = model()
    first = made[1].bias.detach().clone()
    averages = MovingAverage(made, 0.3)
    walk(made, averages, range(5))
    wanted = first
    for step in range(5):
        decay = min(0.3, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * (step + 1)
    assert torch.allclose(averages.state_dict()["1.bias"], wanted)


def test_only_trained_weights_have_one() -> None:
    assert sorted(MovingAverage(model(), 0.9).state_dict()) == ["0.bias", "1.bias", "1.weight"]


def test_for_a_while_and_for_good() -> None:
    made = model()
    averages = MovingAverage(made, 0.9)
    walk(made, averages, range(3))
    own = made[1].bias.detach().clone()
    wanted = averages.state_dict()["1.bias"].clone()
    with averages.in_place():
        assert torch.equal(made[1].bias, wanted)
    assert torch.equal(made[1].bias, own)
    with pytest.raises(KeyError), averages.in_place():
        raise KeyError
    assert torch.equal(made[1].bias, own)
    assert torch.equal(averages.state_dict()["1.bias"], wanted)
    averages.put()
    assert torch.equal(made[1].bias, wanted)


def test_it_goes_on_from_a_checkpoint() -> None:
    whole_model, half_model = model(), model()
    whole, half = MovingAverage(whole_model, 0.9), MovingAverage(half_model, 0.9)
    walk(whole_model, whole, range(6))
    walk(half_model, half, range(3))
    state = {name: value.clone() for name, value in half.state_dict().items()}
    resumed = MovingAverage(half_model, 0.9)
    resumed.load_state_dict(state)
    walk(half_model, resumed, range(3, 6))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


class Embedded(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A model as far as NEFTune looks at it."""

    config = SimpleNamespace(is_encoder_decoder=False)

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 4)

    def get_input_embeddings(self) -> Any:
        return self.table

    def forward(self, ids: Any) -> Any:
        return self.table(ids)


def test_noise_is_bounded_and_only_there_in_training() -> None:
    made = Embedded()
    ids = torch.arange(8).view(2, 4)
    clean = made(ids)
    add_noise(made, 5.0)
    torch.manual_seed(1)
    noisy = made(ids)
    size = 5.0 / math.sqrt(4 * 4)
    assert 0.5 * size < (noisy - clean).abs().max() <= size
    torch.manual_seed(1)
    assert torch.equal(made(ids), noisy), "the seed fixes it"
    made.eval()
    state = torch.get_rng_state()
    assert torch.equal(made(ids), clean)
    assert torch.equal(torch.get_rng_state(), state), "an evaluation draws nothing"


@pytest.mark.slow
@pytest.mark.parametrize("model_type", models.TYPES)
def test_noise_reaches_the_output_of_every_known_type(model_type: str) -> None:
    import_module("transformers")
    made = models.make_model(model_type, 100).train()
    ids = torch.randint(5, 90, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if made.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    found = []
    for noisy in (False, False, True):
        if noisy:
            add_noise(made, 5.0)
        torch.manual_seed(1)  # the same dropout, unless noise is drawn before it
        found.append(made(**inputs)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-4)
