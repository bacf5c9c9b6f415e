"""What a run would take on a device or a machine: does it fit, how long is it, what does it cost?

In: a recipe, its plan, the model's config.json, a sample of the rows, a device or the catalogue's
machines with prices. Out: `Outlook`, and `Quote`s in the order of their cost. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recipec.catalog.hardware import Accelerator, Machine, accelerators, machines
from recipec.catalog.prices import Offer
from recipec.plan.cost import Cost, Duration, RunWork, cost_of, duration_on, precision_of, run_work
from recipec.plan.layout import Layout, Needs, lay_out, with_micro_batch
from recipec.plan.lengths import RowText
from recipec.plan.memory import CannotEstimate, MemoryEstimate, estimate, settings_of
from recipec.plan.plan import Settings
from recipec.recipe.rules import cuda
from recipec.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class Run:
    """A planned run, and what its time and memory follow from."""

    recipe: Recipe
    settings: Settings
    config: Mapping[str, Any]
    """The model's config.json."""
    sample: tuple[RowText, ...]
    """Some training rows, in the file's order."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A run on one device. What is None is not known; `unknown` says why."""

    accelerator: Accelerator
    memory: MemoryEstimate | None = None
    layout: Layout | None = None
    """Of GPUs."""
    work: RunWork | None = None
    duration: Duration | None = None
    unknown: str = ""

    @property
    def fits(self) -> bool | None:
        """Whether the device has the memory; None where that is not known."""
        return None if self.layout is None else self.layout.fits


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A run on one machine, of whose accelerators it uses one."""

    machine: Machine
    outlook: Outlook
    on_demand: Cost | None = None
    spot: Cost | None = None
    refused: str = ""
    """Why it cannot run there; empty where it can."""

    @property
    def rank(self) -> tuple[bool, bool, float, float, int, str]:
        """What runs first, by what it costs in the middle of its range, then by time."""
        cost, took = self.on_demand, self.outlook.duration
        middle = (cost.low * cost.high) ** 0.5 if cost is not None else 0.0
        seconds = (took.low * took.high) ** 0.5 if took is not None else 0.0
        one = self.machine
        return (bool(self.refused), cost is None, middle, seconds, one.count, one.name)


def outlook_on(run: Run, accelerator: Accelerator, needs: Needs | None = None) -> Outlook:
    """The run on one such device; `needs` are kept for other devices."""
    try:
        layout = None
        settings = run.settings
        if accelerator.kind == "gpu":
            layout = lay_out(run.recipe, settings, needs or Needs(run.config), accelerator)
        if layout is not None:
            settings = with_micro_batch(settings, layout.micro_batch_size)
        asked = settings_of(settings)
        memory = layout.memory if layout is not None else estimate(run.config, asked)
        work = run_work(
            settings,
            run.config,
            run.sample,
            head=asked.head,
            trainable=memory.trainable,
        )
    except CannotEstimate as error:
        return Outlook(accelerator=accelerator, unknown=error.message)
    duration = duration_on(work, settings, accelerator)
    unknown = (
        "" if duration else f"the catalogue has no {precision_of(settings, accelerator)} peak of it"
    )
    return Outlook(
        accelerator=accelerator,
        memory=memory if accelerator.kind != "tpu" else None,
        layout=layout,
        work=work,
        duration=duration,
        unknown=unknown,
    )


def quotes(
    run: Run, prices: Mapping[str, Offer], among: Iterable[Machine] | None = None
) -> tuple[Quote, ...]:
    """The run on machines, the cheapest first; what cannot run it comes last, with the reason."""
    needs = Needs(run.config)
    outlooks: dict[str, Outlook] = {}
    found = []
    for machine in machines().values() if among is None else among:
        if machine.accelerator not in outlooks:
            one = accelerators()[machine.accelerator]
            outlooks[machine.accelerator] = outlook_on(run, one, needs)
        found.append(_quote(run, machine, outlooks[machine.accelerator], prices))
    return tuple(sorted(found, key=lambda quote: quote.rank))


def _quote(run: Run, machine: Machine, outlook: Outlook, prices: Mapping[str, Offer]) -> Quote:
    offer, refused = prices.get(machine.name, Offer()), _refusal(run, machine, outlook)
    took = outlook.duration if not refused else None
    return Quote(
        machine=machine,
        outlook=outlook,
        on_demand=cost_of(took, offer.on_demand) if took and offer.on_demand else None,
        spot=cost_of(took, offer.spot) if took and offer.spot else None,
        refused=refused,
    )


def _refusal(run: Run, machine: Machine, outlook: Outlook) -> str:
    one, memory = outlook.accelerator, outlook.memory
    if one.kind == "tpu":
        return "this version does not train on TPUs"
    if one.kind == "gpu" and (broken := next(_broken(run.recipe, one), "")):
        return broken
    if one.kind == "cpu" and machine.vcpus < run.settings.hardware.threads:
        return f"it has {machine.vcpus} vCPUs"
    if one.kind == "cpu" and memory is not None and memory.bytes > machine.memory_bytes:
        return "it has too little memory"
    return "it has too little memory" if outlook.fits is False else ""


def _broken(recipe: Recipe, gpu: Accelerator) -> Iterator[str]:
    """What `check` would say of the recipe if it named that GPU."""
    hardware = replace(recipe.hardware, accelerator=gpu.name)
    yield from (found.message for found in cuda.rules(replace(recipe, hardware=hardware)))


def best_of_each(found: Sequence[Quote]) -> tuple[Quote, ...]:
    """The first quote for each accelerator of each cloud, in the order given."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for quote in found:
        key = (quote.machine.cloud, quote.machine.accelerator)
        if key not in seen:
            seen.add(key)
            kept.append(quote)
    return tuple(kept)
