"""How many processes a recipe starts on a target, and on how many machines.

In: a checked recipe and a target's settings. Out: a `Shape`, or a fault where that many processes
are not what the recipe was planned for. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipec.catalog.hardware import find_accelerator
from recipec.emit.jobs.job import Job, Shape
from recipec.recipe.promise import on_cpus
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe, TargetSettings


def shape_of(recipe: Recipe, settings: TargetSettings) -> Shape:
    """The processes that a target's settings ask for."""
    hardware = recipe.hardware
    if on_cpus(recipe):
        return Shape(nodes=settings.nodes, threads=hardware.threads)
    found = find_accelerator(hardware.accelerator)
    assert found is not None, "the rules of `hardware` have seen to it"
    return Shape(
        accelerator=found.name,
        count=hardware.count,
        nodes=settings.nodes,
        threads=hardware.threads,
    )


def shape_faults(job: Job, world_size: int) -> Iterator[Broken]:
    """More or fewer processes than the recipe's bytes are promised for."""
    shape = job.shape
    if shape.world_size != world_size:
        processes = "1 process" if world_size == 1 else f"{world_size} processes"
        machines = "1 machine" if shape.nodes == 1 else f"{shape.nodes} machines"
        yield job.broken(
            "nodes",
            f"{machines} would start {shape.world_size} processes, and the"
            f" recipe trains with {processes}",
            "the number of processes changes the bytes, so the recipe decides it",
        )
