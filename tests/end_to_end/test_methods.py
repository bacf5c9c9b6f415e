"""Methods as users run them: what they say they train, the bytes they save, what they refuse.

The support table's own test trains every cell with a method's defaults; here are its knobs.
"""

from __future__ import annotations

import json
import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from recipec.plan.plan import Settings
from recipec.recipe.schema.method import Method
from tests.support.methods import with_method
from tests.support.settings import CAUSAL, CLASSES, SUMMARY, outputs, vary
from tests.support.training import place, read, run, start, trained, wait_for

RATE, HEAD_RATE = 1e-2, 1e-3
"""High, so that twenty steps move a random model; lower where a new head would learn by heart."""

SLOW = pytest.mark.slow
VARIANTS = [
    pytest.param(
        CLASSES,
        "bert",
        Method(
            type="lora",
            rank=4,
            ranks={"query": 2},
            dora=True,
            rslora=True,
            lora_plus_ratio=4.0,
            dropout=0.1,
            also_train=["norms", "positions"],
        ),
        "head, lora, norms, positions",
        id="lora-with-everything",
    ),
    pytest.param(CLASSES, "bert", Method(type="qlora"), "head, lora", id="nf4"),
    pytest.param(
        SUMMARY,
        "bart",
        Method(type="qlora", quantization="int8", also_train=["norms"]),
        "lora, norms",
        marks=SLOW,
        id="int8",
    ),
    pytest.param(
        CAUSAL,
        "llama",
        Method(type="qlora", double_quantization=False, target_modules=["q_proj"], rank=4),
        "lora",
        marks=SLOW,
        id="single-quantization",
    ),
    pytest.param(
        SUMMARY,
        "t5",
        Method(type="bottleneck", placement="houlsby", reduction_factor=8, also_train=["head"]),
        "bottleneck, embeddings",
        marks=SLOW,
        id="houlsby",
    ),
    pytest.param(
        CAUSAL,
        "mixtral",
        Method(type="bottleneck", also_train=["gates"]),
        "bottleneck, gates",
        marks=SLOW,
        id="experts",
    ),
    pytest.param(
        CAUSAL,
        "mixtral",
        Method(type="lora", rank=2, also_train=["gates"]),
        "gates, lora",
        marks=SLOW,
        id="fused-experts",
    ),
    pytest.param(
        SUMMARY,
        "t5",
        Method(type="prefix", projection=True, virtual_tokens=4),
        "virtual tokens",
        id="projected-prefix",
    ),
    pytest.param(
        SUMMARY,
        "bart",
        Method(type="prompt", virtual_tokens=4, init_text="please the refund"),
        "virtual tokens",
        marks=SLOW,
        id="prompt-from-text",
    ),
    pytest.param(
        CLASSES,
        "gpt2",
        Method(type="prompt", virtual_tokens=4),
        "head, virtual tokens",
        marks=SLOW,
        id="prompt-on-a-decoder",
    ),
    pytest.param(
        CLASSES,
        "roberta",
        Method(type="ia3", also_train=["norms"]),
        "head, ia3, norms",
        marks=SLOW,
        id="ia3",
    ),
    pytest.param(
        CLASSES,
        "bert",
        Method(type="layernorm", also_train=["embeddings"], freeze=[r"layer\.0\."]),
        "embeddings, head, norms",
        marks=SLOW,
        id="layernorm",
    ),
    pytest.param(
        CAUSAL,
        "gpt2",
        Method(type="full", freeze=["embeddings", r"\.h\.0\."]),
        "layers, norms, positions",
        marks=SLOW,
        id="frozen-layers",
    ),
]


def settings_of(base: Settings, model_type: str, method: Method) -> Settings:
    rate = HEAD_RATE if base is CLASSES else RATE
    return vary(with_method(base, model_type, method), training__learning_rate=rate)


@pytest.mark.parametrize(("base", "model_type", "method", "kinds"), VARIANTS)
def test_a_method_says_what_it_trains_and_repeats(
    base: Settings, model_type: str, method: Method, kinds: str, tmp_path: Path
) -> None:
    root = place(tmp_path / "root", settings_of(base, model_type, method))
    done = run("train", root, tmp_path / "a")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("trains "))
    assert re.sub(r" [\d,]*\d(?=, |$)", "", line.partition(": ")[2]) == kinds
    first = outputs(tmp_path / "a")
    assert trained(root, tmp_path / "b", PYTHONHASHSEED="77") == first

    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    before = read(tmp_path / "a" / "metrics.json")["validation"]
    assert before["after"]["loss"] < before["before"]["loss"]
    for path in (tmp_path / "a" / "model").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), f"{path.name} names this machine"


KILLED = [
    pytest.param(SUMMARY, "t5", Method(type="bottleneck"), id="bottleneck"),
    pytest.param(CLASSES, "gpt2", Method(type="prompt"), id="prompt"),
]
"""What test_killed.py leaves out."""


@SLOW
@pytest.mark.parametrize(("base", "model_type", "method"), KILLED)
def test_killed_and_resumed(
    base: Settings, model_type: str, method: Method, tmp_path: Path
) -> None:
    settings = vary(settings_of(base, model_type, method), training__log_every=1)
    root = place(tmp_path / "root", settings)
    wanted = trained(root, tmp_path / "a")
    for step in random.Random(method.type).sample(range(5, 18), 2):
        process = start(root, tmp_path / "b")
        wait_for(process, f"step {step:>2}/20")
        process.kill()
        assert process.wait() == -signal.SIGKILL
        done = run("train", root, tmp_path / "b")
        assert "resumed at step" in done.stderr
        assert outputs(tmp_path / "b") == wanted


REFUSED = [
    pytest.param(
        Method(type="lora", target_modules=["c_atn"]),
        "error: method.target_modules: no layer of this model is called 'c_atn'\n"
        "  hint: did you mean c_attn or attn or act?\n",
        id="a layer that is not there",
    ),
    pytest.param(
        Method(type="full", freeze=["wpe", "no_such"]),
        "error: 'no_such' names no weight of this model\n",
        id="a pattern that fits nothing",
    ),
    pytest.param(
        Method(type="full", freeze=["."]),
        "error: nothing of the model is trained\n  hint: take something out of `method.freeze`\n",
        id="nothing left",
    ),
    pytest.param(
        Method(type="lora", also_train=["embeddings"]),
        "error: method.also_train: transformer.wte shares its weights with lm_head\n",
        id="tied weights",
    ),
]


@pytest.mark.parametrize(("method", "text"), REFUSED)
def test_what_is_refused_before_step_one(method: Method, text: str, tmp_path: Path) -> None:
    root = place(tmp_path / "root", settings_of(CAUSAL, "gpt2", method))
    done = run("train", root, tmp_path / "out")
    assert done.returncode == 5
    assert text in done.stderr
    assert "step" not in done.stderr


def test_a_bottleneck_is_described_beside_its_weights(tmp_path: Path) -> None:
    root = place(tmp_path / "root", settings_of(CAUSAL, "gpt2", Method(type="bottleneck")))
    trained(root, tmp_path / "a")
    config: dict[str, Any] = json.loads(
        (tmp_path / "a" / "model" / "adapter_config.json").read_bytes()
    )
    assert config == {
        "base_model": "path:models/tiny-t5",
        "dropout": 0.0,
        "format": "recipec-bottleneck-1",
        "layers": ["transformer.h.0.mlp.c_proj", "transformer.h.1.mlp.c_proj"],
        "reduction_factor": 16,
    }
