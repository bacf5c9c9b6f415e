"""What the plan makes of several processes: their batches, and what one process does not see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recipec.plan.plan import Decision, Plan
from tests.unit.plan.test_make_plan import plan, recipe


def several(training: dict[str, Any] | None = None, **hardware: Any) -> Plan:
    return plan(recipe(training=training or {}, hardware=hardware))


def decided(made: Plan) -> dict[str, Decision]:
    return {decision.key: decision for decision in made.decisions}


def test_one_process_is_planned_as_ever() -> None:
    made = several()
    hardware = made.settings.hardware
    assert (hardware.world_size, hardware.nodes, hardware.processes) == (1, 1, 1)
    assert hardware.parallelism == "none"
    told = {"hardware.count", "hardware.nodes", "hardware.world_size", "hardware.parallelism"}
    assert not told & decided(made).keys()
    assert several(count=1, nodes=1) == made


def test_places_of_processes() -> None:
    made = several(count=2, nodes=3)
    hardware = made.settings.hardware
    assert (hardware.world_size, hardware.nodes, hardware.processes) == (6, 3, 2)
    assert hardware.parallelism == "ddp"
    said = decided(made)
    assert (said["hardware.count"].value, said["hardware.count"].origin) == (2, "recipe")
    assert (said["hardware.nodes"].value, said["hardware.nodes"].origin) == (3, "recipe")
    assert said["hardware.world_size"].value == 6
    assert said["hardware.parallelism"].origin == "default"


def test_parallelism_as_the_recipe_has_it() -> None:
    made = several(nodes=2, parallelism="fsdp")
    assert made.settings.hardware.parallelism == "fsdp"
    assert decided(made)["hardware.parallelism"].origin == "recipe"


@pytest.mark.parametrize(
    ("training", "many", "batch", "micro", "passes"),
    [
        ({}, 1, 16, 16, 1),
        ({}, 2, 16, 8, 1),
        ({}, 3, 18, 6, 1),
        ({}, 32, 32, 1, 1),
        ({"batch_size": 48}, 4, 48, 12, 1),
        ({"batch_size": 48, "micro_batch_size": 3}, 4, 48, 3, 4),
        ({"micro_batch_size": 3}, 4, 12, 3, 1),
        ({"micro_batch_size": 3}, 1, 3, 3, 1),
    ],
)
def test_shares_of_a_batch(
    training: dict[str, Any], many: int, batch: int, micro: int, passes: int
) -> None:
    made = several(training, nodes=many).settings.training
    assert (made.batch_size, made.micro_batch_size, made.accumulation) == (batch, micro, passes)
    assert batch == micro * passes * many
    assert made.steps_per_epoch == -(-100 // batch)


def test_why_the_usual_batch_is_not_the_usual() -> None:
    said = decided(several(count=3))["training.batch_size"]
    assert said == replace(
        said, value=18, reason="the next to 16 that 3 processes share equally", origin="default"
    )
