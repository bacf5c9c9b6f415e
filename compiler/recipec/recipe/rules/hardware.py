"""Rules of `hardware`: names that the catalogue does not have, and keys that would do nothing.

What a GPU asks of the rest of the recipe is in `recipec.recipe.rules.cuda`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipec.recipe.promise import on_cpus
from recipec.recipe.rules.broken import Broken
from recipec.recipe.rules.task import is_given
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
    for name in ("count", "driver"):
        if on_cpus(recipe) and is_given(recipe.hardware, name):
            yield Broken(
                path=("hardware", name),
                message=f"`hardware.{name}` does nothing on CPUs",
                hint="remove it, or name a GPU in `hardware.accelerator`",
                at_key=True,
            )


def _count(recipe: Recipe) -> Iterator[Broken]:
    if not on_cpus(recipe) and recipe.hardware.count > 1:
        yield Broken(
            path=("hardware", "count"),
            message=f"the training script runs on one GPU, and this asks for"
            f" {recipe.hardware.count}: the others would be paid for and do nothing",
            hint="remove it; for more memory name a larger GPU, or set"
            " `architecture.gradient_checkpointing`",
        )


def _portable(recipe: Recipe) -> Iterator[Broken]:
    if not on_cpus(recipe) and recipe.reproducibility == "portable":
        yield Broken(
            path=("reproducibility",),
            message="no GPU computes the same bytes as another model, so the run cannot be portable",
            hint="leave it out for `bitwise`: the same bytes on every machine with this GPU",
        )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (
    _accelerator,
    _only_of_gpus,
    _count,
    _portable,
)
