"""Rules of `hardware`: names that the catalogue does not have, and keys that would do nothing.

What a GPU asks of the rest of the recipe is in `recipec.recipe.rules.cuda`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipec.recipe.processes import world_size
from recipec.recipe.promise import on_cpus
from recipec.recipe.rules.broken import Broken
from recipec.recipe.rules.parallelism import fsdp_faults
from recipec.recipe.schema import Recipe


def _accelerator(recipe: Recipe) -> Iterator[Broken]:
    if on_cpus(recipe):
        return
    from recipec.catalog.hardware import accelerator_hint, find_accelerator

    name = recipe.hardware.accelerator
    found = find_accelerator(name)
    if found is None:
        yield Broken(
            path=("hardware", "accelerator"),
            message=f"no accelerator called {name!r} is known",
            hint=accelerator_hint(name),
        )
    elif found.kind != "gpu":
        yield Broken(
            path=("hardware", "accelerator"),
            message=f"this version trains on CPUs and NVIDIA GPUs, and {found.title} is neither",
            hint="name one of the NVIDIA GPUs of docs/hardware.md, or `cpu`",
        )


def _only_of_gpus(recipe: Recipe) -> Iterator[Broken]:
    if on_cpus(recipe) and recipe.hardware.driver is not None:
        yield Broken(
            path=("hardware", "driver"),
            message="`hardware.driver` does nothing on CPUs",
            hint="remove it, or name a GPU in `hardware.accelerator`",
            at_key=True,
        )


def _count(recipe: Recipe) -> Iterator[Broken]:
    """More GPUs than any machine has that one can rent."""
    count = recipe.hardware.count
    if on_cpus(recipe) or count == 1:
        return
    from recipec.catalog.hardware import find_accelerator, machines_with

    gpu = find_accelerator(recipe.hardware.accelerator)
    held = [machine.count for machine in machines_with(gpu.name)] if gpu is not None else []
    if gpu is None or not held or count <= max(held):
        return
    most = max(held)
    nodes = -(-recipe.hardware.nodes * count // most)
    yield Broken(
        path=("hardware", "count"),
        message=f"no machine that is known has {count} x {gpu.name}: they have"
        f" {_listed(sorted(set(held)))}",
        hint=f"take several machines: `hardware: {{count: {most}, nodes: {nodes}}}`",
    )


def _listed(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last


def _alone(recipe: Recipe) -> Iterator[Broken]:
    if recipe.hardware.parallelism is not None and world_size(recipe) == 1:
        yield Broken(
            path=("hardware", "parallelism"),
            message="`hardware.parallelism` does nothing with one process",
            hint="remove it, or set `hardware.count` or `hardware.nodes`",
            at_key=True,
        )
    else:
        yield from fsdp_faults(recipe)


def _portable(recipe: Recipe) -> Iterator[Broken]:
    if not on_cpus(recipe) and recipe.reproducibility == "portable":
        yield Broken(
            path=("reproducibility",),
            message="GPUs of two models compute different bytes, so the run cannot be portable",
            hint="leave it out for `bitwise`: the same bytes on every machine with this GPU",
        )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (
    _accelerator,
    _only_of_gpus,
    _count,
    _alone,
    _portable,
)
