"""Rules of `architecture`, `hardware` and `image`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from recipec.recipe.document import KeyPath
from recipec.recipe.promise import promise_of
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe


def _dates(recipe: Recipe) -> Iterator[Broken]:
    given = recipe.image.exclude_newer
    if given is None:
        return
    try:
        datetime.fromisoformat(given)
    except ValueError:
        yield Broken(
            path=("image", "exclude_newer"),
            message=f"{given} is not a date that exists",
            hint="write a date such as 2026-11-01, or a time such as 2026-11-01T12:00:00Z",
        )


FLASH = {
    "flash_attention_2": "flash-attn 2 is built for the GPU's CUDA",
    "flash_attention_3": "flash-attn 3 is for compute capability 9.0 (Hopper)",
    "flash_attention_4": "flash-attn 4 is for compute capability 9.0 and up",
}
"""What each of the flash-attention kernels needs."""


def _attention(recipe: Recipe) -> Iterator[Broken]:
    given, device = recipe.architecture.attention, recipe.hardware.accelerator
    if device != "cpu" or given is None:
        return
    reason = FLASH.get(given)
    if given == "flex_attention":
        reason = "flex_attention has no backward pass on CPUs"
    if reason is not None:
        yield Broken(
            path=("architecture", "attention"),
            message=f"{given} does not train on a {device}: {reason}",
            hint="use sdpa, which is exact too",
        )


def _dtype(recipe: Recipe) -> Iterator[Broken]:
    given = recipe.architecture.dtype
    where: KeyPath = ("architecture", "dtype")
    if given == "float16":
        yield Broken(
            path=where,
            message="weights in float16 cannot be trained: small updates are rounded away",
            hint="use bfloat16, or float32 with `training.mixed_precision: fp16`",
        )
    elif given == "bfloat16" and promise_of(recipe) == "portable":
        yield Broken(
            path=where,
            message="bfloat16 is not computed alike by all CPUs, and the recipe is portable",
            hint="set `reproducibility: bitwise`, or use float32",
        )


def _pickles(recipe: Recipe) -> Iterator[Broken]:
    seen: set[str] = set()
    for index, risk in enumerate(recipe.architecture.allow):
        if risk in seen:
            yield Broken(
                path=("architecture", "allow", index),
                message=f"{risk} stands here twice",
                hint="keep one of them",
            )
        seen.add(risk)


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_attention, _dtype, _pickles, _dates)
