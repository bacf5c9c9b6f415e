"""The memory model's counts against torch itself: weights, trained weights, kept activations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recipec.catalog.models import ModelNames, models
from recipec.plan.memory import MemorySettings, tuned_model
from recipec.plan.memory.architectures import DEFAULTS, configured, layers_of
from recipec.plan.memory.forward import forward
from recipec.plan.plan import MethodSettings
from tests.support import weights
from tests.support.models import DECODERS, ENCODERS, SEQ2SEQ

TYPES = tuple(ENCODERS | DECODERS | SEQ2SEQ)
Question = dict[str, Any]


def _heads(model_type: str) -> list[str]:
    """Heads that recipec trains; of decoders, it takes a tagger for answers."""
    heads = list(models()[model_type].heads)
    return [h for h in heads if h != "question-answering" or model_type in ENCODERS]


def _main_head(model_type: str) -> str:
    if model_type in ENCODERS:
        return "sequence-classification"
    return "causal-lm" if model_type in DECODERS else "seq2seq-lm"


def _linear(model_type: str, names: ModelNames) -> list[str]:
    absent = {"t5": ("wi_0", "wi_1"), "mt5": ("wi",)}.get(model_type, ())
    return [name for name in names.linear if name not in absent]


def _methods(model_type: str) -> Iterator[Question]:
    names = models()[model_type]
    linear = _linear(model_type, names)
    yield {"type": "full"}
    yield {"type": "full", "freeze": ["norms", "embeddings"]}
    yield {"type": "full", "freeze": [r"\.0\."]}
    yield {"type": "layernorm", "also_train": ["embeddings"]}
    experts = list(names.experts)
    yield {"type": "lora", "rank": 4, "target_modules": linear, "target_parameters": experts}
    yield {"type": "lora", "rank": 4, "target_modules": linear, "also_train": ["norms"]}
    more = {"dora": True, "ranks": [[linear[0], 7]]}
    yield {"type": "lora", "rank": 4, "target_modules": linear, **more}
    layers = [names.attention_outputs, names.feedforward_outputs]
    yield {"type": "bottleneck", "adapted_layers": layers, "reduction_factor": 4}
    targets = [*names.ia3, *names.feedforward]
    forward = list(names.feedforward)
    yield {"type": "ia3", "target_modules": targets, "feedforward_modules": forward}
    # bloom and distilbert do not work with all of peft's virtual tokens
    if model_type not in ("bloom", "distilbert"):
        yield {"type": "prefix", "virtual_tokens": 6}
        yield {"type": "prefix", "virtual_tokens": 6, "projection": True}
        yield {"type": "prompt", "virtual_tokens": 6}


def _kept(model_type: str, method: Question, **more: Any) -> Question:
    question = {"ask": "kept", "type": model_type, "head": _main_head(model_type)}
    return {**question, "method": method, "dtype": "float32", "dropout": None, **more}


def _questions() -> Iterator[Question]:
    for model_type in TYPES:
        tied = DEFAULTS[model_type]["tie_word_embeddings"]
        for head in _heads(model_type):
            yield {"ask": "weights", "type": model_type, "head": head}
        head = "masked-lm" if model_type in ENCODERS else _main_head(model_type)
        untied = {"tie_word_embeddings": not tied}
        yield {"ask": "weights", "type": model_type, "head": head, "config": untied}
        for method in _methods(model_type):
            head = _main_head(model_type)
            yield {"ask": "trained", "type": model_type, "head": head, "method": method}
        for attention in ("eager", "sdpa"):
            if attention in models()[model_type].attention:
                yield _kept(model_type, {"type": "full"}, attention=attention)
    yield from _more_kept()


def _more_kept() -> Iterator[Question]:
    """What methods, types and dropout change in what is kept."""
    for model_type in ("bert", "gpt2", "llama", "qwen3_moe", "t5", "bart"):
        names = models()[model_type]
        linear = _linear(model_type, names)
        lora = {"type": "lora", "rank": 4, "target_modules": linear}
        targets, inputs = [*names.ia3, *names.feedforward], list(names.feedforward)
        layers = [names.attention_outputs, names.feedforward_outputs]
        yield _kept(model_type, lora, attention="sdpa", dropout=0.0)
        yield _kept(model_type, lora, attention="eager", dtype="bfloat16")
        yield _kept(model_type, {"type": "layernorm"}, attention="sdpa")
        ia3 = {"type": "ia3", "target_modules": targets, "feedforward_modules": inputs}
        yield _kept(model_type, ia3, attention="sdpa")
        adapter = {"type": "bottleneck", "adapted_layers": layers, "reduction_factor": 4}
        yield _kept(model_type, adapter, attention="sdpa")
        yield _kept(model_type, {"type": "full"}, attention="sdpa", dtype="bfloat16")
        if model_type != "qwen3_moe":
            yield _kept(model_type, {**lora, "dora": True}, attention="sdpa")
        else:
            experts = {**lora, "target_parameters": list(names.experts)}
            yield _kept(model_type, experts, attention="sdpa")
    yield _kept("llama", {"type": "prefix", "virtual_tokens": 6}, attention="sdpa")


@cache
def _answers() -> list[tuple[Question, Mapping[str, Any]]]:
    asked = list(_questions())
    done = subprocess.run(
        [sys.executable, str(Path(weights.__file__))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return list(zip(asked, json.loads(done.stdout), strict=True))


def _settings(question: Question, **more: Any) -> MemorySettings:
    method = msgspec.convert(question.get("method", {"type": "full"}), MethodSettings)
    head, labels = question["head"], weights.LABELS
    return MemorySettings(head=head, method=method, labels=labels, length=1, **more)


@pytest.mark.parametrize("model_type", TYPES)
def test_every_weight_by_name(model_type: str) -> None:
    """With every head, and with shared and unshared embeddings."""
    found = [(q, a) for q, a in _answers() if q["ask"] == "weights" and q["type"] == model_type]
    assert len(found) == len(_heads(model_type)) + 1
    for question, answer in found:
        model = layers_of(answer["config"], question["head"], weights.LABELS)
        expected = {name: tuple(shape) for name, shape in answer["parameters"].items()}
        assert model.parameters() == expected, question


@pytest.mark.parametrize("model_type", TYPES)
def test_every_trained_weight(model_type: str) -> None:
    """Of every method."""
    found = [(q, a) for q, a in _answers() if q["ask"] == "trained" and q["type"] == model_type]
    assert len(found) >= 9
    for question, answer in found:
        tuned = tuned_model(answer["config"], _settings(question))
        assert tuned.trainable == answer["trained"], question["method"]


def test_what_autograd_keeps() -> None:
    """Two more layers keep what the model of memory says, to a hundredth."""
    found = [(q, a) for q, a in _answers() if q["ask"] == "kept"]
    assert len(found) > 2 * len(TYPES)
    wrong = []
    for question, answer in found:
        said = _said(question, answer["config"])
        if abs(said - answer["bytes"]) > 0.01 * answer["bytes"]:
            wrong.append((question, said, answer["bytes"], answer["tensors"]))
    assert not wrong, "\n".join(str(one) for one in wrong)


def _said(question: Question, config: dict[str, Any]) -> int:
    """What two more layers keep."""
    more = {key: question[key] for key in ("attention", "dtype", "dropout")}
    settings = replace(
        _settings(question, **more),
        length=weights.LENGTH,
        target_length=weights.TARGET if question["head"] == "seq2seq-lm" else 0,
        micro_batch_size=weights.ROWS,
    )
    sizes = []
    for layers in (2, 4):
        keys = (*weights.DEPTHS, *weights.DEPTHS_OF_BOTH, "num_decoder_layers")
        deep = {**config, **{key: layers for key in keys if isinstance(config.get(key), int)}}
        tuned = tuned_model(deep, settings)
        found = forward(configured(deep), tuned, settings, rows=weights.ROWS)
        sizes.append(found.blocks)
    return sizes[1] - sizes[0]
