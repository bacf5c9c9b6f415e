"""The memory of one process among several, beside its peers' and what runs took."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest

from bench import processes as bench
from recipec.plan.memory import MemoryEstimate, MemorySettings, estimate
from recipec.plan.memory.sharding import SENT
from tests.unit.plan.test_memory import GPU, LLAMA, LORA

MEDIAN, WORST = 0.08, 0.15
DDP = replace(GPU, sharding="ddp", world_size=8)
FSDP = replace(GPU, sharding="fsdp", world_size=8)
WEIGHTS = 2 * 8_030_261_248
ROOT = 2 * (2 * 128256 * 4096 + 4096)
"""The embeddings, the head and the last norm, in bfloat16."""
BLOCK = (WEIGHTS - ROOT) // 32


def of(settings: MemorySettings, name: str, phase: str = "") -> int:
    """Bytes of one part; of a phase, or of what is always there."""
    found: MemoryEstimate = estimate(LLAMA, settings)
    parts = {one.name: one.parts for one in found.phases}[phase] if phase else found.always
    return sum(part.bytes for part in parts if part.name == name)


def test_the_measurements_are_met() -> None:
    found = bench.measured()
    assert len(found) >= 18
    assert {one.name for one in found} == {case.name for case in bench.CASES}
    assert all(
        case.config == one.config for one in found for case in bench.CASES if case.name == one.name
    )
    errors = {one.name: abs(one.error) for one in found}
    assert statistics.median(errors.values()) <= MEDIAN
    assert max(errors.values()) <= WORST, {n: e for n, e in errors.items() if e > WORST}
    sharding = [one.settings.sharding for one in found]
    assert sharding.count("ddp") == sharding.count("fsdp")


def test_fsdp_divides_what_is_kept() -> None:
    for name in ("weights", "optimizer"):
        assert of(FSDP, name) == -(-of(GPU, name) // 8)
    assert of(FSDP, "gradients", "update") == -(-WEIGHTS // 8)
    averaged = replace(FSDP, ema=True)
    assert of(averaged, "ema") == -(-WEIGHTS // 8)


def test_fsdp_gathers_blocks_and_the_root() -> None:
    assert 3 * BLOCK < ROOT < 6 * BLOCK
    assert of(FSDP, "gathered", "forward") == 2 * ROOT
    assert of(FSDP, "gathered", "backward") == 2 * ROOT + 6 * BLOCK
    assert of(FSDP, "gathered", "update") == 0
    assert of(replace(FSDP, world_size=64), "gathered", "forward") == 2 * ROOT


def test_a_frozen_model_has_no_gradients_to_gather() -> None:
    adapted = replace(FSDP, method=LORA)
    beside = 4 * 41_943_040 // 32
    assert of(adapted, "gathered", "backward") == ROOT + 3 * (BLOCK + beside) + 3 * beside


def test_gradients_of_several_passes_stay_whole_until_they_are_summed() -> None:
    twice = replace(FSDP, accumulation=2)
    assert of(twice, "gradients", "forward") == of(twice, "gradients", "backward") == WEIGHTS
    assert of(twice, "gradients", "update") == -(-WEIGHTS // 8)
    assert of(FSDP, "gradients", "forward") == 0
    assert of(twice, "gathered", "backward") == ROOT + 6 * BLOCK


def test_ddp_has_its_gradients_once_and_always() -> None:
    assert of(DDP, "gradients", "forward") == of(DDP, "gradients", "backward") == WEIGHTS
    assert of(GPU, "gradients", "forward") == 0
    assert "buckets" not in {part.name for part in estimate(LLAMA, DDP).parts}
    assert of(DDP, "weights") == of(GPU, "weights")
    assert of(replace(DDP, accumulation=2), "buckets") == WEIGHTS


def test_loading() -> None:
    """What is sent around, and on CPUs the whole model before a share of it is kept."""
    lora = replace(DDP, method=LORA)
    states = 8 * 41_943_040
    assert of(lora, "loading", "load") == 2 * SENT - states
    assert "load" not in {phase.name for phase in estimate(LLAMA, FSDP).phases}
    cpu = replace(FSDP, device="cpu", method=LORA)
    kept = -(-(WEIGHTS + states) // 8)
    assert of(cpu, "loading", "load") == pytest.approx(WEIGHTS - kept, abs=8)
    assert "load" not in {phase.name for phase in estimate(LLAMA, GPU).phases}


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5", "bart", "distilbert", "mixtral", "bloom"])
def test_blocks_are_found_by_name(kind: str) -> None:
    """The root of any model is smaller than the model, and a share than the whole."""
    config: dict[str, Any] = {"model_type": kind, "vocab_size": 1000}
    config |= {"n_layer": 12} if kind == "bloom" else {}
    head: Any = "seq2seq-lm" if kind in ("t5", "bart") else "sequence-classification"
    settings = replace(FSDP, head=head, world_size=2, length=64, target_length=64)
    alone = estimate(config, replace(settings, sharding="none", world_size=1))
    shared = estimate(config, settings)
    (weights,) = (part.bytes for part in alone.always if part.name == "weights")
    gathered = {
        phase.name: part.bytes
        for phase in shared.phases
        for part in phase.parts
        if part.name == "gathered"
    }
    assert 0 < gathered["forward"] < weights
