"""Locks of recipes for GPUs: which torch they take, and what they keep of a CPU's lock."""

from __future__ import annotations

from dataclasses import replace

from recipec.catalog.stack import Stack
from recipec.pins.changes import describe
from recipec.pins.lockfile import Lock, Platform, from_json, to_json
from recipec.recipe.schema import Hardware, Recipe
from tests.unit.pins.test_make_lock import RECIPE, World, wheels, world

__all__ = ["world"]

STACK = Stack(
    always={"torch": "2.0+cpu", "alpha": "1.0"}, methods={}, cuda={"torch": "===2.0"}, tokenizers=()
)
CUDA = Platform(accelerator="cuda")


def publish(world: World) -> None:
    """An index with both builds of torch; a resolver that may choose takes the local one."""
    world.wheels |= wheels("torch 2.0 nvidia-x", "torch 2.0+cpu", "nvidia_x 13.0", "torch 1.9")
    world.publish()


def on(accelerator: str) -> Recipe:
    return replace(RECIPE, hardware=Hardware(accelerator=accelerator))


def lock(world: World, accelerator: str, old: Lock | None = None) -> Lock:
    platform = Platform() if accelerator == "cpu" else CUDA
    return world.lock(on(accelerator), old=old, stack=STACK, platform=platform).lock


def versions(lock: Lock) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in lock.wheels}


def test_the_build_for_cuda_although_one_for_cpus_is_at_hand(world: World) -> None:
    publish(world)
    made = lock(world, "nvidia-h100")
    assert versions(made) == {"alpha": "1.0", "gamma": "1.0", "nvidia-x": "13.0", "torch": "2.0"}
    assert made.requirements == ("alpha==1.0", "torch===2.0")
    assert versions(lock(world, "cpu"))["torch"] == "2.0+cpu"


def test_the_lock_says_what_kind_it_is_for_and_that_of_a_cpu_nothing(world: World) -> None:
    publish(world)
    made = lock(world, "nvidia-h100")
    assert b'"accelerator": "cuda"' in to_json(made)
    assert from_json(to_json(made)) == made
    assert b"accelerator" not in to_json(lock(world, "cpu"))


def test_another_gpu_asks_no_index(world: World) -> None:
    publish(world)
    first = lock(world, "nvidia-h100")
    world.site.requests.clear()
    assert lock(world, "nvidia-l4", first).wheels == first.wheels
    assert world.site.requests == []


def test_from_a_cpu_to_a_gpu_only_wheels_move(world: World) -> None:
    publish(world)
    first = lock(world, "cpu")
    world.debs = {name: f"{version}.1" for name, version in world.debs.items()}
    world.publish()
    moved = lock(world, "nvidia-h100", first)
    assert moved.debs == first.debs
    assert versions(moved)["torch"] == "2.0"
    assert "platform, accelerator: none -> cuda" in describe(first, moved)
    assert to_json(lock(world, "cpu", moved)) == to_json(first)
