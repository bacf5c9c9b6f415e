"""The rules of `method`, each by its text and its place."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from recipec.recipe.rules.method import RULES
from recipec.recipe.schema.architecture import MixtureOfExperts
from recipec.recipe.schema.method import Method
from recipec.recipe.schema.training import Training
from tests.support.methods import recipe_of


def broken(method: Method, *, packing: bool | None = None, **architecture: Any) -> list[str]:
    recipe = recipe_of(method, **architecture)
    recipe = dataclasses.replace(recipe, training=Training(packing=packing))
    found = [fault for rule in RULES for fault in rule(recipe)]
    assert all(fault.hint for fault in found)
    return [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in found]


@pytest.mark.parametrize(
    "method",
    [
        Method(type="full", freeze=["embeddings", r"layer\.[0-3]\."]),
        Method(type="lora", also_train=["norms"], ranks={"q_.*": 4}, lora_plus_ratio=16.0),
        Method(type="qlora", double_quantization=False),
        Method(type="bottleneck", placement="houlsby"),
        Method(type="prefix", projection=True),
        Method(type="prompt", init_text="Is it good?"),
        Method(type="ia3", target_modules=["k", "wo"], feedforward_modules=["wo"]),
    ],
    ids=lambda method: method.type,
)
def test_what_goes_together(method: Method) -> None:
    assert broken(method) == []


def test_knobs_of_other_methods() -> None:
    assert broken(Method(type="full", rank=4)) == [
        "method.rank: `method.rank` does nothing with method full"
    ]
    assert broken(Method(type="prefix", init_text="a")) == [
        "method.init_text: `method.init_text` does nothing with method prefix"
    ]


def test_expressions_that_are_none() -> None:
    assert broken(Method(type="lora", also_train=["norms", "a("], ranks={"*": 2})) == [
        "method.also_train.1: 'a(' is not a regular expression: missing ), unterminated subpattern"
        " at position 1",
        "method.ranks.*: '*' is not a regular expression: nothing to repeat at position 0",
    ]


def test_feedforward_modules_are_targets() -> None:
    method = Method(type="ia3", target_modules=["k"], feedforward_modules=["wo"])
    assert broken(method) == [
        "method.feedforward_modules.0: 'wo' is not among the target_modules, so nothing of it is"
        " scaled"
    ]


def test_eight_bits_have_no_double_quantization() -> None:
    method = Method(type="qlora", quantization="int8", double_quantization=True)
    assert broken(method) == [
        "method.double_quantization: `method.double_quantization` does nothing with int8"
    ]


def test_virtual_tokens_and_packed_rows() -> None:
    assert broken(Method(type="lora"), packing=True) == []
    assert broken(Method(type="prompt"), packing=True) == [
        "training.packing: packing cannot be exact with method prompt: its positions stand before a"
        " row, and a packed row holds several texts"
    ]


def test_a_prefix_and_gradient_checkpointing() -> None:
    assert broken(Method(type="prompt"), gradient_checkpointing=True) == []
    assert broken(Method(type="prefix"), gradient_checkpointing=True) == [
        "architecture.gradient_checkpointing: a prefix is kept in the attention's cache, which"
        " gradient checkpointing drops"
    ]


def test_methods_that_leave_the_model_alone() -> None:
    gates = MixtureOfExperts(train_gate=True)
    assert broken(Method(type="lora"), positions="trained", moe=gates) == []
    assert broken(Method(type="prefix"), positions="trained", moe=gates) == [
        "architecture.positions: method prefix trains nothing of the model itself",
        "architecture.moe.train_gate: method prefix trains nothing of the model itself",
    ]


@pytest.mark.parametrize(("quantization", "found"), [("int8", 1), ("nf4", 0), (None, 0)])
def test_dora_over_eight_bits_is_refused(quantization: Any, found: int) -> None:
    recipe = recipe_of(Method(type="qlora", quantization=quantization, dora=True))
    faults = [fault for rule in RULES for fault in rule(recipe)]
    assert [fault.path for fault in faults] == [("method", "dora")] * found
