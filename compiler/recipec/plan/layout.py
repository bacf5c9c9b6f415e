"""How a run lies on accelerators: DDP or FSDP, in which micro-batches, and whether it fits.

In: a plan's settings, the model's config.json, an accelerator of the catalogue; of several
processes each has one of them. Out: `Layout`, which for a run that does not fit has the changes
that would make it fit (`recipec.plan.changes`). Pure; memory is `recipec.plan.memory`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from recipec.catalog.hardware import GIB, Accelerator
from recipec.errors import TooLarge
from recipec.plan.memory import MemoryEstimate, MemorySettings, estimate, settings_of
from recipec.plan.plan import Settings
from recipec.recipe.rules.parallelism import undivided
from recipec.recipe.schema import Recipe

PARTS = 3
"""Parts of the memory that a refusal names: the largest."""
Parallelism = Literal["none", "ddp", "fsdp"]
DOUBT = 0.1
"""By how much of itself the estimate may be off (docs/memory.md)."""
ROOM = 1 - DOUBT
"""Of the memory that a process finds, the share that a plan fills by its own choice. What the
recipe itself asks for is refused only beyond doubt."""


class DoesNotFit(TooLarge):
    """The device has too little memory for the run; the hint says what would help."""

    def __init__(self, layout: Layout) -> None:
        one, need = layout.accelerator, gib(layout.memory.bytes)
        many = layout.world_size
        who = f"each of {many} processes needs" if many > 1 else "the run needs"
        parts = sorted(layout.memory.parts, key=lambda part: -part.bytes)[:PARTS]
        most = ", ".join(f"{part.name} {gib(part.bytes)}" for part in parts)
        super().__init__(
            f"{who} about {need}, and a process finds {gib(layout.usable_bytes)} on an"
            f" {one.title} ({most})",
            hint=_way_out(layout.changes),
        )


def _way_out(changes: tuple[Change, ...]) -> str:
    lines = [f"{c.words}: {gib(c.bytes)} of {gib(c.usable_bytes)}" for c in changes]
    if not lines:
        return "no change that is known makes it fit: take a smaller model"
    return "any of these makes it fit:\n" + "\n".join(lines)


class Needs:
    """The memory that settings take on a GPU: each is worked out once."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the model's config.json."""
        self.config = config
        self._known: dict[MemorySettings, MemoryEstimate] = {}

    def __call__(self, settings: Settings) -> MemoryEstimate:
        """Raises CannotEstimate for a model whose layers are not known."""
        asked = settings_of(settings, device="cuda")
        if asked not in self._known:
            self._known[asked] = estimate(self.config, asked)
        return self._known[asked]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something else in the recipe, and the memory that it would then take in bytes."""

    words: str
    bytes: int
    usable_bytes: int
    """Of the accelerator that is meant."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A run on an accelerator, or on as many alike as it has processes."""

    accelerator: Accelerator
    usable_bytes: int
    micro_batch_size: int
    accumulation: int
    micro_batch_reason: str
    memory: MemoryEstimate
    """Of one process, with that micro-batch."""
    world_size: int = 1
    parallelism: Parallelism = "none"
    parallelism_reason: str = ""
    changes: tuple[Change, ...] = ()
    """What would make it fit; empty where it fits."""

    @property
    def fits(self) -> bool:
        """Whether the estimate, less its doubt, is no more than a process finds."""
        return self.memory.bytes * ROOM <= self.usable_bytes

    @property
    def tight(self) -> bool:
        """Whether it fits or not is within the doubt."""
        return self.fits and self.memory.bytes > ROOM * self.usable_bytes


def lay_out(
    recipe: Recipe,
    settings: Settings,
    needs: Needs,
    accelerator: Accelerator,
    *,
    changes: bool = True,
) -> Layout | None:
    """The run on such GPUs; None for a device whose memory is not known, as of CPUs.

    Where the recipe leaves them open, several processes share the model only if it is too large for
    one of them, and the micro-batch is the largest divisor of a process' rows that fits. Without
    `changes` none are looked for. Raises CannotEstimate for a model whose layers are not known.
    """
    usable = accelerator.usable_bytes
    if usable is None:
        return None
    settings, parallel_reason = _parallel(recipe, settings, needs, usable)
    size, reason = settings.training.micro_batch_size, "as the recipe has it"
    if recipe.training.micro_batch_size is None:
        size, reason = _largest(settings, needs, usable)
    chosen = with_micro_batch(settings, size)
    found = Layout(
        accelerator=accelerator,
        usable_bytes=usable,
        micro_batch_size=size,
        accumulation=chosen.training.accumulation,
        micro_batch_reason=reason,
        memory=needs(chosen),
        world_size=chosen.hardware.world_size,
        parallelism=chosen.hardware.parallelism,
        parallelism_reason=parallel_reason,
    )
    if found.fits or not changes:
        return found
    from recipec.plan.changes import nearest

    return replace(found, changes=nearest(recipe, chosen, needs, accelerator))


def with_micro_batch(settings: Settings, size: int) -> Settings:
    """The same batch in passes of `size` rows of each process."""
    passes = share_of(settings) // size
    training = replace(settings.training, micro_batch_size=size, accumulation=passes)
    return replace(settings, training=training)


def with_parallelism(settings: Settings, parallelism: Parallelism) -> Settings:
    """The same processes, which train the model in another way."""
    return replace(settings, hardware=replace(settings.hardware, parallelism=parallelism))


def with_processes(settings: Settings, *, processes: int, nodes: int) -> Settings | None:
    """The same batch on other machines; None where so many cannot share it equally."""
    many = processes * nodes
    if settings.training.batch_size % many:
        return None
    before = settings.hardware.parallelism
    parallelism: Parallelism = "none" if many == 1 else "ddp" if before == "none" else before
    changed = replace(
        settings,
        hardware=replace(
            settings.hardware,
            processes=processes,
            nodes=nodes,
            world_size=many,
            parallelism=parallelism,
        ),
    )
    most = settings.training.micro_batch_size
    return with_micro_batch(changed, next(n for n in divisors(share_of(changed)) if n <= most))


def share_of(settings: Settings) -> int:
    """Rows of a step that each process takes."""
    return settings.training.batch_size // settings.hardware.world_size


def divisors(number: int) -> list[int]:
    """The divisors of a number, the largest first."""
    return [size for size in range(number, 0, -1) if number % size == 0]


def _parallel(
    recipe: Recipe, settings: Settings, needs: Needs, usable: int
) -> tuple[Settings, str]:
    """The settings with DDP, or with FSDP where a process has no room for the whole model."""
    if recipe.hardware.parallelism is not None or settings.hardware.world_size == 1:
        return settings, "the recipe says so"
    whole = least_need(recipe, with_parallelism(settings, "ddp"), needs)
    words = f"{gib(whole)} of {gib(usable)}"
    if whole <= ROOM * usable:
        said = f"each process has room for the whole model: {words}"
        return with_parallelism(settings, "ddp"), said
    why_not = next(undivided(recipe), None)
    if why_not is not None:
        said = f"fsdp does not go with {why_not.value}; the whole model takes {words}"
        return with_parallelism(settings, "ddp"), said
    divided = with_parallelism(settings, "fsdp")
    share = least_need(recipe, divided, needs)
    if share >= whole:
        said = f"shares would need no less: the whole model takes {words}"
        return with_parallelism(settings, "ddp"), said
    return divided, f"the whole model would take {words}; a share of it takes {gib(share)}"


def least_need(recipe: Recipe, settings: Settings, needs: Needs) -> int:
    """Bytes of a process with the recipe's micro-batch, or with the one that takes least."""
    given = recipe.training.micro_batch_size
    size = given if given is not None else smallest_pass(settings, needs)
    return needs(with_micro_batch(settings, size)).bytes


def smallest_pass(settings: Settings, needs: Needs) -> int:
    """The micro-batch that takes least: a single row, or all rows of a process at once.

    Several processes need more for gradients that add up over the passes of a step.
    """
    sizes = (1,) if settings.hardware.world_size == 1 else (1, share_of(settings))
    return min(sizes, key=lambda size: needs(with_micro_batch(settings, size)).bytes)


def _largest(settings: Settings, needs: Needs, usable: int) -> tuple[int, str]:
    """The largest micro-batch that leaves room, or the smallest with the reason why not more."""
    share = share_of(settings)
    for size in divisors(share):
        need = needs(with_micro_batch(settings, size)).bytes
        if need <= ROOM * usable:
            many = settings.hardware.world_size > 1
            what = "a process' share of the batch" if many else "the batch"
            whole = "all of a process' share" if many else "the whole batch"
            most = whole if size == share else f"the largest divisor of {what} that fits"
            return size, f"{most}: {gib(need)} of {gib(usable)}"
    return smallest_pass(settings, needs), "not even one row leaves a tenth of the memory free"


def gib(number: float) -> str:
    """Bytes in GiB, or a little in MiB, for people."""
    return f"{number / GIB:.1f} GiB" if number >= GIB / 10 else f"{number / (1 << 20):.0f} MiB"
