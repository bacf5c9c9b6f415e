"""layout of several processes: DDP or FSDP, and what would make a run fit that does not."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.catalog.hardware import accelerators, machines_with
from recipec.plan.changes import CHANGES
from recipec.plan.layout import DoesNotFit, Layout, Needs, lay_out, with_parallelism
from recipec.plan.plan import Settings
from recipec.recipe.rules import broken_rules
from recipec.recipe.schema import Recipe
from tests.unit.plan.test_layout import LLAMA_8B, OTHER, chat, on
from tests.unit.plan.test_make_plan import decision, plan

HALF: dict[str, Any] = {"architecture": {"dtype": "bfloat16"}}


def many(
    device: str, count: int, method: str = "lora", *, nodes: int = 1, **sections: Any
) -> tuple[Layout, Recipe, Settings]:
    """A layout on so many GPUs, with the settings as they were planned for CPUs."""
    parallelism = sections.pop("parallelism", None)
    hardware = {"count": count, "nodes": nodes, "parallelism": parallelism}
    made = chat(method, hardware=hardware, **sections)
    settings = plan(made, family="decoder-only", config=LLAMA_8B).settings
    found = lay_out(made, settings, Needs(LLAMA_8B), accelerators()[device])
    assert found is not None
    return found, made, settings


def test_ddp_where_a_process_has_room_for_all_of_it() -> None:
    found, _, _ = many("nvidia-h100-80gb", 8, **HALF)
    assert (found.parallelism, found.world_size, found.fits) == ("ddp", 8, True)
    assert found.parallelism_reason.startswith("each process has room for the whole model: ")
    assert (found.micro_batch_size, found.accumulation) == (2, 1)
    assert found.micro_batch_reason.startswith("all of a process' share: ")


def test_fsdp_where_it_has_not() -> None:
    found, _, settings = many("nvidia-a100-80gb", 8, "full")
    assert (found.parallelism, found.fits, found.tight) == ("fsdp", True, False)
    needs = Needs(LLAMA_8B)
    alone, shares = (needs(with_parallelism(settings, way)).bytes for way in ("ddp", "fsdp"))
    assert shares < found.usable_bytes < alone
    words = found.parallelism_reason
    assert words.startswith("the whole model would take 137.0 GiB")
    assert " of 79.1 GiB; a share of it takes " in words


def test_what_cannot_be_divided_is_not() -> None:
    found, _, _ = many("nvidia-t4", 4, "qlora")
    assert found.parallelism == "ddp"
    long: dict[str, Any] = {"training": {"max_length": 2048, "optimizer": "adafactor"}}
    found, _, _ = many("nvidia-a10g", 4, "lora", **long)
    assert (found.parallelism, found.fits) == ("ddp", False)
    assert found.parallelism_reason.startswith("fsdp does not go with adafactor; ")
    assert not any("fsdp" in change.words for change in found.changes)
    assert not any("hardware.count" in change.words for change in found.changes)


def test_the_recipe_s_own_choice_stays() -> None:
    found, _, _ = many("nvidia-h100-80gb", 2, parallelism="fsdp", **HALF)
    assert (found.parallelism, found.parallelism_reason) == ("fsdp", "the recipe says so")


def test_the_plan_follows_the_layout() -> None:
    made = chat("full", hardware={"count": 8, "nodes": 2})
    found = on("nvidia-a100-80gb", made)
    hardware, training = found.settings.hardware, found.settings.training
    assert (hardware.parallelism, hardware.world_size) == ("fsdp", 16)
    assert (training.batch_size, training.micro_batch_size, training.accumulation) == (16, 1, 1)
    said = decision(found, "hardware.parallelism")
    assert (said.value, said.origin) == ("fsdp", "derived")
    assert said.reason.startswith("the whole model would take ")
    assert decision(found, "hardware.count").origin == "recipe"
    assert decision(found, "training.batch_size").origin == "default"
    given = on("nvidia-a100-80gb", chat("full", hardware={"count": 8, "parallelism": "fsdp"}))
    assert decision(given, "hardware.parallelism").origin == "recipe"


def test_a_model_that_is_not_known_is_replicated() -> None:
    found = on("nvidia-t4", chat("full", hardware={"count": 4}), OTHER)
    assert found.settings.hardware.parallelism == "ddp"


@pytest.mark.parametrize(
    ("device", "count", "method", "sections", "words"),
    [
        ("nvidia-a100-80gb", 8, "full", {"parallelism": "ddp"}, "`hardware.parallelism: fsdp`"),
        ("nvidia-l4", 4, "full", {}, "`hardware.nodes: "),
        ("nvidia-l40s", 2, "full", {}, "`hardware.count: 8`"),
    ],
)
def test_more_gpus_are_offered(
    device: str, count: int, method: str, sections: dict[str, Any], words: str
) -> None:
    found, _, _ = many(device, count, method, **sections)
    assert not found.fits
    assert len(found.changes) <= CHANGES
    assert any(change.words.startswith(words) for change in found.changes), found.changes
    for change in found.changes:
        assert change.bytes <= change.usable_bytes


def test_an_offered_count_does_what_its_numbers_say() -> None:
    found, _, _ = many("nvidia-l40s", 2, "full")
    (change,) = (one for one in found.changes if "hardware.count" in one.words)
    count = int(change.words.partition("count: ")[2].partition("`")[0])
    assert count in {one.count for one in machines_with("nvidia-l40s")}
    again, recipe, _ = many("nvidia-l40s", count, "full")
    assert again.parallelism == "fsdp"
    assert again.fits
    assert not [*broken_rules(recipe)]


def test_a_batch_that_more_processes_cannot_share_is_changed_too() -> None:
    training = {"batch_size": 6, "micro_batch_size": 3}
    found, _, _ = many("nvidia-l40s", 2, "full", training=training)
    (change,) = (one for one in found.changes if "hardware.count" in one.words)
    assert "`training.batch_size: 8`" in change.words
    assert "` and `training.micro_batch_size: " in change.words


def test_a_refusal_says_how_many_processes_need_it() -> None:
    with pytest.raises(DoesNotFit) as caught:
        on("nvidia-l4", chat("full", hardware={"count": 4}))
    message = caught.value.message
    assert message.startswith("each of 4 processes needs about ")
    assert " and a process finds 22.0 GiB on an NVIDIA L4 (" in message
