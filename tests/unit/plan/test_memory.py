"""The memory model: its parts, what moves them, and the measurements that hold it."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import memory as bench
from bench.memory_cases import CASES
from recipec.catalog.models import models
from recipec.plan.memory import CannotEstimate, MemorySettings, estimate, known
from recipec.plan.memory.settings import Device
from recipec.plan.plan import MethodSettings

MEDIAN, WORST = 0.10, 0.20
DEVICES: tuple[Device, ...] = ("cpu", "cuda")
LLAMA: Mapping[str, object] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
FULL = MethodSettings(type="full")
LORA = MethodSettings(type="lora", rank=16, target_modules=models()["llama"].linear)
GPU = MemorySettings(
    head="causal-lm", method=FULL, dtype="bfloat16", device="cuda", length=2048, micro_batch_size=2
)


def part(settings: MemorySettings, name: str, config: Mapping[str, object] = LLAMA) -> int:
    """Bytes of one part; 0 if the peak has none of that name."""
    return sum(one.bytes for one in estimate(config, settings).parts if one.name == name)


def test_the_measurements_are_met() -> None:
    """Those that constants were fitted to, and those that were held out."""
    found = bench.measured()
    assert len(found) >= 40
    assert {one.name for one in found} <= {case.name for case in CASES}
    errors = {one.name: abs(one.error) for one in found}
    assert statistics.median(errors.values()) <= MEDIAN
    assert max(errors.values()) <= WORST, {n: e for n, e in errors.items() if e > WORST}


def test_weights_of_a_model_that_everyone_knows() -> None:
    """Llama 3 8B: 8,030,261,248 weights, and 41,943,040 of LoRA of rank 16 on all linear layers."""
    found = estimate(LLAMA, replace(GPU, method=LORA))
    assert found.parameters == 8_030_261_248
    assert found.trainable == 41_943_040
    assert part(GPU, "weights") == 2 * 8_030_261_248


def test_every_part_has_a_reason_and_they_add_up() -> None:
    """The peak is the sum of its parts."""
    found = estimate(LLAMA, replace(GPU, method=LORA, ema=True, evaluation_batch_size=4))
    assert found.bytes == sum(one.bytes for one in found.parts)
    assert found.bytes == max(p.bytes for p in found.phases) + sum(o.bytes for o in found.always)
    assert all(one.reason and one.bytes >= 0 for one in found.parts)
    assert [one.name for one in found.always] == ["base", "weights", "adapter", "optimizer", "ema"]
    assert [p.name for p in found.phases] == ["forward", "backward", "update", "evaluate"]


def test_packed_weights() -> None:
    """4 bits a weight and scales; embeddings and head stay as they are."""
    packed = 8_030_261_248 - 2 * 128256 * 4096 - 65 * 4096
    plain = 8_030_261_248 - packed
    method = replace(LORA, type="qlora", quantization="nf4", double_quantization=True)
    size = part(replace(GPU, method=method), "weights")
    # 4 bits, a byte for 64 weights, 4 bytes for 64 x 256 (arXiv:2305.14314: 4.127 bits), and tables
    assert size == pytest.approx(plain * 2 + packed * 4.127 / 8, rel=1e-3)
    int8 = replace(LORA, type="qlora", quantization="int8")
    assert part(replace(GPU, method=int8), "weights") == pytest.approx(plain * 2 + packed, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "each"), [("adamw", 4.0), ("adamw-8bit", 2.0), ("lion", 2.0), ("sgd", 2.0)]
)
def test_states_of_optimizers(optimizer: str, each: float) -> None:
    """Bytes for a weight in 16 bits."""
    size = part(replace(GPU, optimizer=optimizer), "optimizer")
    assert size == pytest.approx(8_030_261_248 * each, rel=0.02)


def test_adafactor_keeps_rows_and_columns() -> None:
    """Far less than a byte a weight."""
    assert part(replace(GPU, optimizer="adafactor"), "optimizer") < 8_030_261_248 // 500


def test_sgd_without_momentum_keeps_nothing() -> None:
    """Its state is empty."""
    assert part(replace(GPU, optimizer="sgd", momentum=False), "optimizer") == 0


def test_eager_attention_keeps_the_square() -> None:
    """Twice the length: four times the matrices of probabilities."""
    more = []
    for length in (1024, 2048):
        eager, fused = (
            part(replace(GPU, method=LORA, length=length, attention=name), "activations")
            for name in ("eager", "flash_attention_2")
        )
        more.append(eager - fused)
    assert more[1] == pytest.approx(4 * more[0], rel=0.1)


def test_a_heap_has_no_room_for_gradients_where_activations_were() -> None:
    """On a CPU gradients add to activations; on a GPU the larger of both counts."""
    settings = replace(GPU, dtype="float32", length=256)
    phases = {
        name: estimate(LLAMA, replace(settings, device=name)).phases for name in ("cpu", "cuda")
    }
    names = [one.name for one in phases["cpu"][0].parts]
    assert names == ["activations", "loss", "gradients", "table", "update", "holes"]
    assert [one.name for one in phases["cuda"]] == ["forward", "backward", "update"]


def test_experts_stay_mapped() -> None:
    """A mixture's files hold its experts apart, and the fused ones are copies."""
    config = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
    settings = replace(GPU, device="cpu")
    assert part(settings, "files", config) == 32 * 4 * 3 * 4096 * 14336 * 2
    assert part(settings, "files") == 0


def test_checkpointing_keeps_inputs() -> None:
    """A block's input instead of all that it makes."""
    lora = replace(GPU, method=LORA)
    plain = part(lora, "activations")
    saved = part(replace(lora, gradient_checkpointing=True), "activations")
    assert saved < plain / 10
    assert saved >= 32 * 2 * 2048 * 4096 * 2


@pytest.mark.parametrize(
    "change",
    [
        {"micro_batch_size": 4},
        {"length": 4096},
        {"dtype": "float32"},
        {"ema": True},
        {"dropout": 0.1, "attention": "eager"},
        {"sharding": "ddp", "world_size": 8},
    ],
    ids=str,
)
def test_what_takes_more(change: Mapping[str, Any]) -> None:
    """Each of these makes the peak larger."""
    assert estimate(LLAMA, replace(GPU, **change)).bytes > estimate(LLAMA, GPU).bytes


@pytest.mark.parametrize(
    "change",
    [
        {"method": LORA},
        {"optimizer": "sgd"},
        {"gradient_checkpointing": True},
        {"sharding": "fsdp", "world_size": 8},
    ],
    ids=str,
)
def test_what_takes_less(change: Mapping[str, Any]) -> None:
    """Each of these makes the peak smaller."""
    assert estimate(LLAMA, replace(GPU, **change)).bytes < estimate(LLAMA, GPU).bytes


def test_generation_keeps_keys_and_values() -> None:
    """Of every beam: 2 x layers x key heads x head size x tokens."""
    settings = replace(
        GPU,
        micro_batch_size=1,
        length=1024,
        method=LORA,
        evaluation_batch_size=16,
        max_new_tokens=512,
        attention="flash_attention_2",
    )
    caches = {}
    for beams in (1, 4):
        few = {**LLAMA, "vocab_size": 1000}
        phases = estimate(few, replace(settings, num_beams=beams)).phases
        caches[beams] = {p.name: p for p in phases}["evaluate"].parts[1]
    assert [one.name for one in caches.values()] == ["cache", "cache"]
    tokens = 2 * 32 * 8 * 128 * (1024 + 512) * 16 * 2
    assert caches[1].bytes == tokens + 16 * 1000 * 4 * 3
    assert caches[4].bytes == 4 * caches[1].bytes


def test_a_type_that_nobody_listed() -> None:
    """Is refused, not guessed."""
    assert not known({"model_type": "novel"})
    with pytest.raises(CannotEstimate) as raised:
        estimate({"model_type": "novel"}, GPU)
    assert raised.value.message == "the memory of a novel model is not known beforehand"
    assert raised.value.hint.startswith("recipec knows these: bart, bert, ")


def test_a_config_that_makes_no_sense() -> None:
    """Is refused with what is wrong."""
    with pytest.raises(CannotEstimate) as raised:
        estimate({**LLAMA, "hidden_size": "wide"}, GPU)
    assert raised.value.message.startswith("the model's config.json cannot be read as a llama: ")
    assert raised.value.hint == "compare it with the one that its makers publish"


def test_an_estimate_wants_no_torch() -> None:
    code = (
        "import sys; from recipec.plan.memory import MemorySettings, estimate;"
        "from recipec.plan.plan import MethodSettings;"
        "settings = MemorySettings(head='causal-lm', method=MethodSettings(type='full'), length=9);"
        f"estimate({LLAMA!r}, settings);"
        "print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
def test_three_measured_anew(tmp_path: Path) -> None:
    """By the very program that made the table."""
    names = ("bert, full", "llama, LoRA", "t5, LoRA")
    for case in CASES:
        if case.name in names:
            found = bench.measure(case, tmp_path)
            assert abs(found.error) <= WORST, bench.line(found)
