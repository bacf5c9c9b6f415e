"""What FSDP cannot do: the one table of methods, optimizers and precisions that rule it out.

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


_LORA, _ADAMW = "`method: {type: lora}`", "`optimizer: adamw`"
_BEFORE = "its trained positions are read outside the blocks whose weights are divided"

WITHOUT_FSDP: tuple[Undivided, ...] = (
    Undivided(
        section="method",
        key="type",
        value="qlora",
        why="bitsandbytes packs weights together with their scales, and both would be torn apart",
        instead=_LORA,
    ),
    Undivided(section="method", key="type", value="prefix", why=_BEFORE, instead=_LORA),
    Undivided(section="method", key="type", value="prompt", why=_BEFORE, instead=_LORA),
    Undivided(
        section="method",
        key="type",
        value="bottleneck",
        why="its adapters are called by hooks, behind the blocks' own",
        instead=_LORA,
    ),
    Undivided(
        section="training",
        key="optimizer",
        value="adamw-8bit",
        why="its states are packed in blocks of 256, which end where no share does",
        instead=_ADAMW,
    ),
    Undivided(
        section="training",
        key="optimizer",
        value="adafactor",
        why="its means are of whole rows and columns, and a share has not all of them",
        instead=_ADAMW,
    ),
    Undivided(
        section="training",
        key="optimizer",
        value="lion",
        why="its package has not been seen to work with divided weights",
        instead=_ADAMW,
    ),
    Undivided(
        section="training",
        key="optimizer",
        value="sgd",
        why="torch has no fused SGD for divided weights",
        instead=_ADAMW,
    ),
    Undivided(
        section="training",
        key="mixed_precision",
        value="fp16",
        why="the scale of the loss follows from gradients that no process has whole",
        instead="`mixed_precision: bf16`",
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
