"""What the plan decides of each method, and which models a method is refused for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from recipec.catalog import support
from recipec.plan.ledger import Ledger
from recipec.plan.method import VIRTUAL_TOKENS, plan_method, virtual_tokens
from recipec.plan.plan import MethodSettings
from recipec.plan.refusals import WITHOUT_PREFIX, method_faults
from recipec.plan.training import RATES
from recipec.recipe.schema.method import Method
from recipec.recipe.schema.training import Training
from recipec.recipe.schema.values import MethodType
from tests.support.methods import config_of, recipe_of

MOE = {"model_type": "mixtral", "num_local_experts": 4}


def planned(method: Method, model_type: str = "bert", **architecture: Any) -> MethodSettings:
    return plan_method(
        recipe_of(method, **architecture),
        Ledger(),
        model_type=model_type,
        config=config_of(model_type),
    )


def faults(
    method: Method, model_type: str = "bert", longest: int = 512, **training: Any
) -> list[tuple[str, str]]:
    recipe = recipe_of(method, **training)
    config = config_of(model_type)
    found = method_faults(recipe, model_type=model_type, config=config, longest=longest)
    return [(".".join(map(str, fault.path)), fault.message) for fault in found]


def test_every_method_has_a_rate_with_its_reason() -> None:
    assert RATES.keys() == support.methods().keys()
    assert all(rate > 0 and reason for rate, reason in RATES.values())


@pytest.mark.parametrize("model_type", sorted(support.models()))
@pytest.mark.parametrize("method", sorted(support.methods()))
def test_every_known_model_can_be_planned_or_is_refused(
    method: MethodType, model_type: str
) -> None:
    chosen = Method(type=method)
    settings = planned(chosen, model_type)
    assert settings.type == method
    if method in ("lora", "qlora", "ia3"):
        assert settings.target_modules
    if method == "bottleneck":
        assert settings.adapted_layers
    refused = method == "prefix" and model_type in WITHOUT_PREFIX
    refused |= method == "qlora" and bool(support.models()[model_type].experts)
    assert bool(faults(chosen, model_type)) == refused


def test_lora_by_default() -> None:
    assert planned(Method(type="lora"), "gpt2") == MethodSettings(
        type="lora", rank=16, alpha=32, target_modules=("c_attn", "c_fc", "c_proj")
    )


def test_rank_stabilised_lora_starts_at_the_same_scale() -> None:
    settings = planned(Method(type="lora", rank=64, rslora=True))
    assert settings.alpha / settings.rank**0.5 == 2


def test_t5_has_one_wide_layer_or_two() -> None:
    assert "wi" in planned(Method(type="lora"), "t5").target_modules
    gated = planned(Method(type="lora"), "mt5").target_modules
    assert {"wi_0", "wi_1"} <= set(gated)
    assert "wi" not in gated


def test_experts_are_adapted_unless_peft_cannot() -> None:
    fused = ("mlp.experts.down_proj", "mlp.experts.gate_up_proj")
    assert planned(Method(type="lora"), "mixtral").target_parameters == fused
    assert planned(Method(type="lora", dropout=0.1), "mixtral").target_parameters == ()
    assert planned(Method(type="lora", dora=True), "mixtral").target_parameters == ()
    named = planned(Method(type="lora", target_modules=["q_proj"]), "mixtral")
    assert (named.target_parameters, named.targets_given) == ((), True)


def test_an_unknown_model_is_adapted_wherever_it_is_linear() -> None:
    assert planned(Method(type="lora"), "brand-new").target_modules == ()
    assert planned(Method(type="qlora"), "brand-new").quantization == "nf4"


def test_quantization() -> None:
    four, eight = planned(Method(type="qlora")), planned(Method(type="qlora", quantization="int8"))
    assert (four.quantization, four.double_quantization) == ("nf4", True)
    assert (eight.quantization, eight.double_quantization) == ("int8", False)


def test_placement_of_bottlenecks() -> None:
    one = planned(Method(type="bottleneck"))
    two = planned(Method(type="bottleneck", placement="houlsby", reduction_factor=4))
    assert (one.placement, one.reduction_factor, len(one.adapted_layers)) == ("pfeiffer", 16, 1)
    assert (two.reduction_factor, len(two.adapted_layers)) == (4, 2)


def test_ia3_scales_keys_values_and_the_feed_forward_input() -> None:
    settings = planned(Method(type="ia3"), "t5")
    assert settings.target_modules == ("k", "v", "wo")
    assert settings.feedforward_modules == ("wo",)
    named = planned(Method(type="ia3", target_modules=["k"]), "t5")
    assert named.feedforward_modules == ()


def test_positions_and_gates_join_what_is_trained_or_frozen() -> None:
    frozen = planned(Method(type="full", freeze=["norms"]), positions="frozen")
    assert frozen.freeze == ("norms", "positions")
    also = planned(Method(type="lora"), positions="trained")
    assert also.also_train == ("positions",)
    assert planned(Method(type="lora"), positions="frozen").also_train == ()


def test_virtual_tokens_are_taken_from_the_models_positions() -> None:
    assert virtual_tokens(recipe_of(Method(type="lora"))) == 0
    assert virtual_tokens(recipe_of(Method(type="prompt"))) == VIRTUAL_TOKENS
    assert virtual_tokens(recipe_of(Method(type="prefix", virtual_tokens=3))) == 3
    assert faults(Method(type="prompt"), longest=20) == [
        (
            "method.virtual_tokens",
            "20 virtual tokens leave no room: the model has 20 positions",
        )
    ]


def test_lengths_and_virtual_tokens_share_the_positions() -> None:
    recipe = dataclasses.replace(
        recipe_of(Method(type="prompt", virtual_tokens=12)), training=Training(max_length=501)
    )
    (fault,) = method_faults(recipe, model_type="bert", config={}, longest=512)
    assert fault.path == ("training", "max_length")
    assert fault.message == (
        "training.max_length is 501; of the model's 512 positions the virtual tokens take 12"
    )
    assert fault.hint == "use at most 500"


def test_what_a_model_cannot_have() -> None:
    assert faults(Method(type="prefix"), "modernbert") == [
        (
            "method.type",
            "a modernbert model takes no keys and values from outside, so it has no prefix",
        )
    ]
    assert "hardly anything would be quantized" in faults(Method(type="qlora"), "mixtral")[0][1]
    assert "no place for bottleneck" in faults(Method(type="bottleneck"), "brand-new")[0][1]
    assert "ia3 scales is not known" in faults(Method(type="ia3"), "brand-new")[0][1]
    named = Method(type="ia3", target_modules=["k", "f"], feedforward_modules=["f"])
    assert faults(named, "brand-new") == []
    assert planned(named, "brand-new").target_modules == ("f", "k")
