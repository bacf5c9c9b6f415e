"""What would make a run fit that does not: changes of its recipe, each with its numbers.

In: a recipe, its settings, how much they need, the GPU that has too little. Out: `Change`s, single
ones first, what alters the result least before the others. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

from recipec.catalog import support
from recipec.catalog.hardware import Accelerator, accelerators, machines_with
from recipec.plan.layout import (
    Change,
    Needs,
    divisors,
    share_of,
    smallest_pass,
    with_micro_batch,
    with_parallelism,
    with_processes,
)
from recipec.plan.ledger import Ledger
from recipec.plan.method import plan_method
from recipec.plan.plan import Settings
from recipec.recipe.rules.parallelism import undivided
from recipec.recipe.schema import Recipe
from recipec.recipe.schema.method import Method

CHANGES = 3
"""Changes that are offered at most."""
NODES = (2, 4, 8, 16, 32)
"""Machines that are tried."""
UNKNOWN_COUNTS = (2, 4, 8)
"""GPUs of a machine that are tried where no cloud of the catalogue rents them."""
Cheaper = Literal["lora", "qlora"]
_CHEAPER: Mapping[Cheaper, tuple[str, ...]] = {"lora": ("full",), "qlora": ("full", "lora")}
"""Methods at whose place each of them saves memory."""
_CHECKPOINTING = "`architecture.gradient_checkpointing: true`"
_DIVIDED = "`hardware.parallelism: fsdp`"


def nearest(
    recipe: Recipe, settings: Settings, needs: Needs, accelerator: Accelerator
) -> tuple[Change, ...]:
    """The changes that make it fit: single ones, and on top of the two that alter no result.

    Those that cost money come last: a larger GPU, and more GPUs where there are several already, or
    where too little else helps.
    """
    larger = [*_larger(settings, needs, accelerator)]
    more = [*_more(recipe, settings, needs, accelerator)]
    dear = [*more[:1], *larger] if settings.hardware.world_size > 1 else larger
    room = CHANGES - len(dear)
    found = [*_that_fit(_single(recipe, settings, accelerator, needs), accelerator, needs)]
    if len(found) < room:
        several = _several(recipe, settings, accelerator, needs)
        found += _that_fit(several, accelerator, needs)
    found = found[:room]
    left = [one for one in more if one not in dear][: room - len(found)]
    return (*found, *left, *dear)


def _more(
    recipe: Recipe, settings: Settings, needs: Needs, accelerator: Accelerator
) -> Iterator[Change]:
    """The fewest GPUs of a machine, and the fewest machines, whose shares of the model fit."""
    if next(undivided(recipe), None) is not None:
        return
    now = settings.hardware
    rented = {machine.count for machine in machines_with(accelerator.name)} or {*UNKNOWN_COUNTS}
    counts = [
        _shaped(recipe, settings, needs, f"`hardware.count: {count}`", count, now.nodes)
        for count in sorted(rented)
        if count > now.processes
    ]
    nodes = [
        _shaped(recipe, settings, needs, f"`hardware.nodes: {many}`", now.processes, many)
        for many in NODES
        if many > now.nodes
    ]
    for shapes in (counts, nodes):
        yield from islice(_that_fit(shapes, accelerator, needs), 1)


def _shaped(
    recipe: Recipe, settings: Settings, needs: Needs, first: str, processes: int, nodes: int
) -> tuple[str, Settings]:
    """The run with its model divided among so many processes, and all that must change for it."""
    words, training, many = [first], settings.training, processes * nodes
    if training.batch_size % many:
        size = -(-training.batch_size // many) * many
        settings = replace(settings, training=replace(training, batch_size=size))
        words.append(f"`training.batch_size: {size}`")
    changed = with_processes(settings, processes=processes, nodes=nodes)
    assert changed is not None, "the batch is a multiple of the processes"
    changed = with_parallelism(changed, "fsdp")
    given, size = recipe.training.micro_batch_size, changed.training.micro_batch_size
    if given is None:
        changed = with_micro_batch(changed, smallest_pass(changed, needs))
    elif given != size:
        words.append(f"`training.micro_batch_size: {size}`")
    if recipe.hardware.parallelism == "ddp":
        words.append(_DIVIDED)
    return _and(words), changed


def _and(words: list[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if words[1:] else words[0]


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
        yield _and(words), settings
    for also, changed in _single(recipe, settings, accelerator, needs):
        if "micro_batch_size" not in also:
            yield _and([*words, also]), changed


def _largest_smaller(settings: Settings, needs: Needs, accelerator: Accelerator) -> int:
    """The largest smaller micro-batch that fits, or else 1."""
    before, usable = settings.training.micro_batch_size, accelerator.usable_bytes or 0
    smaller = (n for n in divisors(share_of(settings)) if n < before)
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
    if settings.hardware.parallelism == "ddp" and next(undivided(recipe), None) is None:
        yield _DIVIDED, with_parallelism(settings, "fsdp")
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
    if method == "qlora" and settings.hardware.parallelism == "fsdp":
        return None  # 4-bit weights are not divided
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
