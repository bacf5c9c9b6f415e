"""layout and room: whether a run fits on a GPU, and what would make it fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from recipec.catalog.hardware import GIB, accelerators
from recipec.plan.layout import ROOM, DoesNotFit, Layout, Needs, lay_out, with_micro_batch
from recipec.plan.make import make_plan
from recipec.plan.plan import Plan
from recipec.recipe.schema import Recipe
from tests.unit.plan.test_make_plan import decision, lock, plan, recipe

LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}
OTHER: dict[str, Any] = {"model_type": "something-new", "max_position_embeddings": 512}


def layout(device: str, made: Recipe, config: dict[str, Any] = LLAMA_8B) -> Layout:
    settings = plan(made, family="decoder-only", config=config).settings
    found = lay_out(made, settings, Needs(config), accelerators()[device])
    assert found is not None
    return found


def chat(method: str = "lora", **sections: Any) -> Recipe:
    return recipe("instruction", method={"type": method}, **sections)


def test_a_small_run_takes_its_whole_batch_at_once() -> None:
    found = layout("nvidia-h200-141gb", chat("qlora"))
    assert (found.micro_batch_size, found.accumulation, found.fits, found.tight) == (
        16,
        1,
        True,
        False,
    )
    assert found.micro_batch_reason.startswith("the whole batch: ")
    assert found.changes == ()


def test_an_open_micro_batch_is_the_largest_divisor_that_leaves_room() -> None:
    made = chat("qlora", training={"batch_size": 12, "max_length": 1024})
    device = accelerators()["nvidia-a100-40gb"]
    found = layout(device.name, made)
    assert found.micro_batch_size * found.accumulation == 12
    assert 1 < found.micro_batch_size < 12
    assert device.usable_bytes is not None
    assert found.memory.bytes <= ROOM * device.usable_bytes
    settings, needs = plan(made, family="decoder-only", config=LLAMA_8B).settings, Needs(LLAMA_8B)
    larger = min(n for n in (2, 3, 4, 6, 12) if n > found.micro_batch_size)
    assert needs(with_micro_batch(settings, larger)).bytes > ROOM * device.usable_bytes
    assert "the largest divisor of the batch that fits" in found.micro_batch_reason


def test_the_micro_batch_of_the_recipe_is_kept() -> None:
    made = chat("qlora", training={"batch_size": 16, "micro_batch_size": 2})
    found = layout("nvidia-h200-141gb", made)
    assert (found.micro_batch_size, found.micro_batch_reason) == (2, "as the recipe has it")


ORDER = (
    "training.micro_batch_size",
    "architecture.gradient_checkpointing",
    "architecture.dtype",
    "training.max_length",
    "method: {type: lora}",
    "method: {type: qlora}",
    "hardware.accelerator",
)
"""From what alters no result to what costs more."""


@pytest.mark.parametrize(
    ("device", "made"),
    [
        ("nvidia-a100-40gb", chat("full")),
        ("nvidia-l4", chat()),
        ("nvidia-t4", chat("qlora", training={"max_length": 1024})),
        (
            "nvidia-a100-80gb",
            chat(training={"max_length": 4096, "batch_size": 16, "micro_batch_size": 16}),
        ),
        ("nvidia-h100-80gb", chat("full", training={"mixed_precision": "bf16"})),
    ],
    ids=["full on 40 GB", "lora on an L4", "qlora on a T4", "long rows", "full on 80 GB"],
)
def test_what_would_make_it_fit(device: str, made: Recipe) -> None:
    found = layout(device, made)
    assert not found.fits
    assert 2 <= len(found.changes) <= 3
    single = [change.words for change in found.changes if "` and `" not in change.words]
    places = [next(n for n, key in enumerate(ORDER) if key in words) for words in single]
    assert places == sorted(places)
    for change in found.changes:
        assert 0 < change.bytes <= change.usable_bytes
        larger = "hardware.accelerator" in change.words
        assert change.bytes < found.memory.bytes or larger
        assert (change.usable_bytes == found.usable_bytes) != larger


def test_where_no_change_is_enough_several_are() -> None:
    long = chat(training={"max_length": 4096, "batch_size": 16, "micro_batch_size": 16})
    (first, second, third) = layout("nvidia-a100-80gb", long).changes
    assert first.words.startswith("`training.max_length: ")
    assert "` and `architecture.gradient_checkpointing: true`" in second.words
    assert third.words.startswith(second.words.replace(" and ", ", ") + " and `")
    assert third.bytes < second.bytes


def test_no_change_is_offered_that_a_card_cannot_do() -> None:
    found = layout("nvidia-t4", chat())
    assert not any("bfloat16" in change.words for change in found.changes)


def test_a_change_does_what_its_numbers_say() -> None:
    made = chat("qlora", training={"max_length": 1024})
    (change, *_) = layout("nvidia-t4", made).changes
    assert change.words == "`architecture.gradient_checkpointing: true`"
    changed = chat(
        "qlora",
        training={"max_length": 1024, "micro_batch_size": 1, "batch_size": 16},
        architecture={"gradient_checkpointing": True},
    )
    assert layout("nvidia-t4", changed).memory.bytes == change.bytes


def test_within_the_doubt_a_run_is_tight_and_not_refused() -> None:
    made = chat("qlora")
    found = layout("nvidia-a100-80gb", made)
    need = found.memory.bytes

    def beside(usable: float) -> tuple[bool, bool]:
        again = replace(found, usable_bytes=round(usable))
        return again.fits, again.tight

    assert beside(need * 1.2) == (True, False)
    assert beside(need * 1.05) == (True, True)
    assert beside(need * 0.95) == (True, True)
    assert beside(need * 0.85) == (False, False)


def test_a_cpu_is_not_laid_out() -> None:
    made = chat()
    settings = plan(made, family="decoder-only", config=LLAMA_8B).settings
    assert lay_out(made, settings, Needs(LLAMA_8B), accelerators()["cpu"]) is None


def on(device: str, made: Recipe, config: dict[str, Any] = LLAMA_8B) -> Plan:
    hardware = replace(made.hardware, accelerator=cast(Any, device))
    return make_plan(
        replace(made, hardware=hardware),
        lock(),
        family="decoder-only",
        model_type=str(config["model_type"]),
        config=config,
    )


def test_the_plan_for_a_gpu_has_the_layout_s_micro_batch() -> None:
    made = on("nvidia-a100-40gb", chat("qlora", training={"max_length": 1024}))
    training = made.settings.training
    size = training.micro_batch_size
    assert (training.batch_size, size * training.accumulation) == (16, 16)
    assert 1 < size < 16
    assert decision(made, "training.batch_size").origin == "default"
    micro = decision(made, "training.micro_batch_size")
    assert (micro.value, micro.origin) == (size, "derived")
    assert micro.reason.startswith("the largest divisor of the batch that fits: ")
    assert made.settings.evaluation.batch_size == 2 * size


def test_a_run_that_cannot_fit_is_refused_with_numbers() -> None:
    with pytest.raises(DoesNotFit) as caught:
        on("nvidia-l4", chat())
    error = caught.value
    assert error.exit_code == 1
    assert error.message.startswith("the run needs about ")
    assert " and a process finds 22.0 GiB on an NVIDIA L4 (" in error.message
    head, *changes = error.hint.splitlines()
    assert head == "any of these makes it fit:"
    assert len(changes) == 3
    for change in changes:
        need, usable = (float(part.split()[0]) for part in change.split("`: ")[1].split(" of "))
        assert need <= usable


def test_a_model_that_is_not_known_is_planned_all_the_same() -> None:
    made = on("nvidia-t4", chat("full"), OTHER)
    assert made.settings.training.micro_batch_size == 16


def test_memory_is_worked_out_once_for_the_same_settings() -> None:
    settings = plan(chat(), family="decoder-only", config=LLAMA_8B).settings
    needs = Needs(LLAMA_8B)
    assert needs(settings) is needs(replace(settings, name="other"))
    assert needs(settings) is not needs(with_micro_batch(settings, 1))
    assert needs(settings).bytes > 32 * GIB
