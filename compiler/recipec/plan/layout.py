"""How a run lies on one accelerator: whether it fits, in which micro-batches, and what would help.

In: a plan's settings, the model's config.json, an accelerator of the catalogue. Out: `Layout`, and
for a run that does not fit the nearest changes that would make it fit, each with its numbers. The
emitted script runs on one device, so nothing here shards: a run is laid on one GPU or not at all.
Pure; memory is `recipec.plan.memory`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from recipec.catalog import support
from recipec.catalog.hardware import GIB, Accelerator, accelerators, machines_with
from recipec.errors import TooLarge
from recipec.plan.ledger import Ledger
from recipec.plan.memory import MemoryEstimate, MemorySettings, estimate, settings_of
from recipec.plan.method import plan_method
from recipec.plan.plan import Settings
from recipec.recipe.schema import Recipe
from recipec.recipe.schema.method import Method

PARTS = 3
"""Parts of the memory that a refusal names: the largest."""
CHANGES = 3
"""Changes that are offered at most."""
Cheaper = Literal["lora", "qlora"]
_CHEAPER: Mapping[Cheaper, tuple[str, ...]] = {"lora": ("full",), "qlora": ("full", "lora")}
"""Methods at whose place each of them saves memory."""
_CHECKPOINTING = "`architecture.gradient_checkpointing: true`"
DOUBT = 0.1
"""By how much of itself the estimate may be off (docs/memory.md)."""
ROOM = 1 - DOUBT
"""Of the memory that a process finds, the share that a plan fills by its own choice. What the
recipe itself asks for is refused only beyond doubt."""


class DoesNotFit(TooLarge):
    """The device has too little memory for the run; the hint says what would help."""

    def __init__(self, layout: Layout) -> None:
        one, need = layout.accelerator, gib(layout.memory.bytes)
        parts = sorted(layout.memory.parts, key=lambda part: -part.bytes)[:PARTS]
        most = ", ".join(f"{part.name} {gib(part.bytes)}" for part in parts)
        super().__init__(
            f"the run needs about {need}, and a process finds {gib(layout.usable_bytes)} on an"
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
    """A run on one accelerator."""

    accelerator: Accelerator
    usable_bytes: int
    micro_batch_size: int
    accumulation: int
    micro_batch_reason: str
    memory: MemoryEstimate
    """With that micro-batch."""
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
    recipe: Recipe, settings: Settings, needs: Needs, accelerator: Accelerator
) -> Layout | None:
    """The run on one such GPU; None for a device whose memory is not known, as of CPUs.

    Where the recipe leaves the micro-batch open, it is the largest divisor of the batch that fits.
    Raises CannotEstimate for a model whose layers are not known.
    """
    usable = accelerator.usable_bytes
    if usable is None:
        return None
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
    )
    if found.fits:
        return found
    return replace(found, changes=_nearest(recipe, chosen, needs, accelerator))


def with_micro_batch(settings: Settings, size: int) -> Settings:
    """The same batch in passes of `size` rows of each process."""
    passes = _share(settings) // size
    training = replace(settings.training, micro_batch_size=size, accumulation=passes)
    return replace(settings, training=training)


def _share(settings: Settings) -> int:
    """Rows of a step that each process takes."""
    return settings.training.batch_size // settings.hardware.world_size


def _divisors(number: int) -> list[int]:
    return [size for size in range(number, 0, -1) if number % size == 0]


def _largest(settings: Settings, needs: Needs, usable: int) -> tuple[int, str]:
    """The largest micro-batch that leaves room, or 1 with the reason why not more."""
    share = _share(settings)
    for size in _divisors(share):
        need = needs(with_micro_batch(settings, size)).bytes
        if need <= ROOM * usable:
            many = settings.hardware.world_size > 1
            what = "a process' share of the batch" if many else "the batch"
            whole = "all of a process' share" if many else "the whole batch"
            most = whole if size == share else f"the largest divisor of {what} that fits"
            return size, f"{most}: {gib(need)} of {gib(usable)}"
    return 1, "not even one row leaves a tenth of the memory free"


def _nearest(
    recipe: Recipe, settings: Settings, needs: Needs, accelerator: Accelerator
) -> tuple[Change, ...]:
    """The changes that make it fit: single ones, and on top of the two that alter no result."""
    larger = list(_larger(settings, needs, accelerator))
    room = CHANGES - len(larger)
    found = list(_that_fit(_single(recipe, settings, accelerator, needs), accelerator, needs))
    if len(found) < room:
        several = _several(recipe, settings, accelerator, needs)
        found += _that_fit(several, accelerator, needs)
    return (*found[:room], *larger)


def _several(
    recipe: Recipe, settings: Settings, accelerator: Accelerator, needs: Needs
) -> Iterator[tuple[str, Settings]]:
    """Smaller passes with checkpointing, alone and with each other change."""
    words = []
    if not settings.model.gradient_checkpointing:
        settings, words = _checkpointed(settings), [_CHECKPOINTING]
    if settings.training.micro_batch_size > 1:
        size = _largest_smaller(settings, needs, accelerator)
        settings = with_micro_batch(settings, size)
        words.insert(0, f"`training.micro_batch_size: {size}`")
    if len(words) == 2:
        yield " and ".join(words), settings
    for also, changed in _single(recipe, settings, accelerator, needs):
        if "micro_batch_size" not in also:
            yield f"{', '.join(words)} and {also}" if words else also, changed


def _largest_smaller(settings: Settings, needs: Needs, accelerator: Accelerator) -> int:
    """The largest smaller micro-batch that fits, or else 1."""
    before, usable = settings.training.micro_batch_size, accelerator.usable_bytes or 0
    smaller = (n for n in _divisors(_share(settings)) if n < before)
    return next((n for n in smaller if needs(with_micro_batch(settings, n)).bytes <= usable), 1)


def _that_fit(
    changes: Iterable[tuple[str, Settings]], accelerator: Accelerator, needs: Needs
) -> Iterator[Change]:
    usable = accelerator.usable_bytes or 0
    for words, changed in changes:
        need = needs(changed).bytes
        if need <= usable:
            yield Change(words=words, bytes=need, usable_bytes=usable)


def _checkpointed(settings: Settings) -> Settings:
    return replace(settings, model=replace(settings.model, gradient_checkpointing=True))


def _single(
    recipe: Recipe, settings: Settings, accelerator: Accelerator, needs: Needs
) -> Iterator[tuple[str, Settings]]:
    """One change at a time, what alters the result least first."""
    training = settings.training
    usable = accelerator.usable_bytes or 0
    if training.micro_batch_size > 1:
        size = _largest_smaller(settings, needs, accelerator)
        yield f"`training.micro_batch_size: {size}`", with_micro_batch(settings, size)
    if not settings.model.gradient_checkpointing:
        yield _CHECKPOINTING, _checkpointed(settings)
    if accelerator.bfloat16 and settings.model.dtype == "float32":
        halved = replace(settings.model, dtype="bfloat16")
        yield "`architecture.dtype: bfloat16`", replace(settings, model=halved)
    yield from _shorter(settings, usable, needs)
    for method in _CHEAPER:
        changed = _with_method(recipe, settings, needs.config, method)
        if changed is not None:
            yield f"`method: {{type: {method}}}`", changed


def _shorter(settings: Settings, usable: int, needs: Needs) -> Iterator[tuple[str, Settings]]:
    """The longest power of two of tokens that fits."""
    training = settings.training
    name = "max_length" if training.max_length else "max_source_length"
    length = 1 << ((getattr(training, name) - 1).bit_length() - 1)
    while length >= 32:
        changed = replace(settings, training=replace(training, **{name: length}))
        if needs(changed).bytes <= usable:
            yield f"`training.{name}: {length}`", changed
            return
        length //= 2


def _with_method(
    recipe: Recipe, settings: Settings, config: Mapping[str, Any], method: Cheaper
) -> Settings | None:
    """The settings with another method at its defaults, where that saves memory."""
    saves = _CHEAPER[method]
    kind = settings.model.type
    cell = support.cell(settings.task.type, settings.model.family, method)
    if settings.method.type not in saves or not cell.supported:
        return None
    if method == "qlora" and settings.model.experts:
        return None  # fused experts are no linear layers: nothing would be packed
    other = replace(recipe, method=Method(type=method))
    made = plan_method(other, Ledger(), model_type=kind, config=config)
    return replace(settings, method=made)


def _larger(settings: Settings, needs: Needs, accelerator: Accelerator) -> Iterator[Change]:
    """The smallest other GPU that one can rent and that it fits on."""
    need = needs(settings).bytes
    able = [
        one
        for one in accelerators().values()
        if one.kind == "gpu"
        and (one.usable_bytes or 0) >= need
        and (one.bfloat16 or not accelerator.bfloat16)
        and machines_with(one.name)
    ]
    if able:
        best = min(able, key=lambda one: one.usable_bytes or 0)
        words = f"`hardware.accelerator: {best.name}`"
        yield Change(words=words, bytes=need, usable_bytes=best.usable_bytes or 0)


def gib(number: float) -> str:
    """Bytes in GiB, or a little in MiB, for people."""
    return f"{number / GIB:.1f} GiB" if number >= GIB / 10 else f"{number / (1 << 20):.0f} MiB"
