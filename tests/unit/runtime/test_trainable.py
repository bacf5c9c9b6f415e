"""Roles, names and counts of trained weights; adapters behind layers. In tiny models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support import models, parts

PROJECT = Path(__file__).parents[3]
FEW = ("bert", "gpt2", "mixtral", "t5")


@cache
def seen(*types: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, parts.__file__, *types],
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'runtime'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_roles_are_found_in_the_module_tree() -> None:
    roles = seen(*FEW)["roles"]
    assert roles["llama"]["embeddings"] == ["model.embed_tokens.weight"]
    assert roles["llama"]["head"] == ["lm_head.weight"]
    assert roles["gpt2"]["head"] == roles["gpt2"]["embeddings"] == ["transformer.wte.weight"]
    assert roles["gpt2"]["positions"] == ["transformer.wpe.weight"]
    assert roles["bert"]["head"] == ["classifier.bias", "classifier.weight"]
    assert roles["mixtral"]["gates"] == [f"model.layers.{n}.mlp.gate.weight" for n in (0, 1)]
    assert len(roles["qwen2_moe"]["gates"]) == 4
    assert len(roles["t5"]["norms"]) == 12
    assert all("relative_attention_bias" in name for name in roles["t5"]["positions"])
    assert all("norm" in name for name in roles["bart"]["norms"])


def test_a_role_that_the_model_does_not_have() -> None:
    assert seen(*FEW)["roles"]["error"] == (
        "error: 'positions' names no weight of this model\n"
        "  hint: this model has: embeddings, head, norms"
    )


def test_freezing() -> None:
    left = seen(*FEW)["choices"]["left after freeze"]
    assert "classifier.weight" in left
    assert not any("_embeddings" in name or "layer.0." in name for name in left)
    assert any("layer.1." in name for name in left)
    assert seen(*FEW)["choices"]["all frozen"] == (
        "error: nothing of the model is trained\n  hint: take something out of `method.freeze`"
    )
    assert seen(*FEW)["choices"]["nothing"].startswith(
        "error: 'encodr.layer' names no weight of this model\n  hint: did you mean bert.encoder."
    )


def test_training_only_norms_and_the_new_head() -> None:
    names = seen(*FEW)["choices"]["norms and head"]
    assert all("LayerNorm" in name or name.startswith("classifier.") for name in names)
    assert len(names) == 12
    layers = seen(*FEW)["choices"]["layers"]
    assert layers[-1] == "classifier"
    assert len(layers) == 6


def test_what_peft_could_not_save() -> None:
    choices = seen(*FEW)["choices"]
    assert choices["tied"].startswith(
        "error: method.also_train: transformer.wte shares its weights with lm_head\n"
    )
    assert choices["partial"].startswith(
        "error: method.also_train means a part of the layer bert.encoder.layer.0.attention.self."
    )


def test_names_of_layers_that_are_not_there() -> None:
    choices = seen(*FEW)["choices"]
    assert choices["names"] == (
        "error: method.target_modules: no layer of this model is called 'c_atn'\n"
        "  hint: did you mean c_attn or attn or act?"
    )
    assert choices["ranks"] == (
        "error: method.ranks: 'c_fc' fits no layer that is adapted\n  hint: did you mean c_attn?"
    )
    assert choices["ranks that fit"] == ""


def test_linear_layers_of_any_model() -> None:
    linear = seen(*FEW)["choices"]["linear"]
    assert {name.rpartition(".")[2] for name in linear["gpt2"]} == {"c_attn", "c_fc", "c_proj"}
    assert {name.rpartition(".")[2] for name in linear["t5"]} == {"k", "o", "q", "v", "wi", "wo"}
    assert not any("gate" in name or "head" in name for name in linear["mixtral"])


def test_counts_before_step_one() -> None:
    lines = seen(*FEW)["announced"]
    assert lines["norms"] == "trains 160 of 22,432 weights (0.7%): norms 160\n"
    assert lines["lora"] == "trains 512 of 22,944 weights (2.2%): lora 512\n"
    assert lines["full"] == (
        "trains 22,432 of 22,432 weights (100.0%):"
        " embeddings 1,920, head 1,920, layers 18,432, norms 160\n"
    )


def test_lora_plus_has_a_group_of_its_own() -> None:
    assert json.loads(seen(*FEW)["announced"]["groups"]) == [
        [256, None, 0.1],
        [0, None, 0.0],
        [256, 16.0, 0.1],
    ]


def check_bottlenecks(found: dict[str, Any]) -> None:
    for model_type, facts in found.items():
        assert facts["idle"], f"{model_type} begins as another model"
        assert facts["matters"], f"{model_type} does not hear its adapters"
        assert facts["loads"], f"{model_type} is another model when it is loaded"
        assert facts["files"] == ["adapter_config.json", "adapter_model.safetensors"]
        assert facts["layers"] == (10 if model_type in models.SEQ2SEQ else 4)
        assert facts["other"].startswith("error: the adapter does not fit this model")


def test_bottlenecks() -> None:
    found = seen(*FEW)["bottlenecks"]
    assert sorted(found) == sorted(FEW)
    check_bottlenecks(found)
    assert seen(*FEW)["idle pattern"].startswith("error: no layer of this model fits ")


@pytest.mark.slow
def test_bottlenecks_in_every_known_model() -> None:
    found = seen(*models.TYPES)["bottlenecks"]
    assert sorted(found) == sorted(models.TYPES)
    check_bottlenecks(found)
