"""What FSDP cannot do: the one table of methods and optimizers that rule it out.

In: a recipe. Out: why its weights cannot be divided among processes. The rules refuse
`parallelism: fsdp` by it, and the plan never chooses it against it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recipec.recipe.document import KeyPath
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class Undivided:
    """A value of the recipe with which every process keeps the whole model."""

    section: str
    key: str
    value: str
    why: str
    instead: str
    """What goes with FSDP in its place."""


_ADAMW = "`optimizer: adamw`"

WITHOUT_FSDP: tuple[Undivided, ...] = (
    Undivided(
        section="method",
        key="type",
        value="qlora",
        why="bitsandbytes packs weights together with their scales, and both would be torn apart",
        instead="`method: {type: lora}`",
    ),
    Undivided(
        section="training",
        key="optimizer",
        value="adamw-8bit",
        why="bitsandbytes' kernels take whole weights, and none that are divided",
        instead=_ADAMW,
    ),
    Undivided(
        section="training",
        key="optimizer",
        value="adafactor",
        why="it needs norms and means of whole weights, which torch does not gather for it",
        instead=_ADAMW,
    ),
    Undivided(
        section="training",
        key="optimizer",
        value="sgd",
        why="torch has no fused SGD for divided weights",
        instead=_ADAMW,
    ),
)


def undivided(recipe: Recipe) -> Iterator[Undivided]:
    """Everything in the recipe that rules FSDP out."""
    for one in WITHOUT_FSDP:
        if getattr(getattr(recipe, one.section), one.key) == one.value:
            yield one


def fsdp_faults(recipe: Recipe) -> Iterator[Broken]:
    """A recipe that asks for FSDP and for what it cannot do."""
    if recipe.hardware.parallelism != "fsdp":
        return
    path: KeyPath = ("hardware", "parallelism")
    for one in undivided(recipe):
        yield Broken(
            path=path,
            message=f"fsdp does not go with `{one.section}.{one.key}: {one.value}`: {one.why}",
            hint=f"set `parallelism: ddp`, or {one.instead}",
        )
