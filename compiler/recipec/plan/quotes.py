"""A run on the machines that clouds rent: what it costs there, and the least that takes it.

In: the outlooks of a run, the catalogue's machines, prices. Out: `Quote`s in the order of their
cost, `Smallest`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from recipec.catalog.hardware import Accelerator, Machine, accelerators, machines, machines_with
from recipec.catalog.prices import Offer
from recipec.plan.changes import NODES
from recipec.plan.cost import Cost, cost_of
from recipec.plan.layout import ROOM, Layout, divisors, gib
from recipec.plan.outlook import Outlook, Outlooks, Run
from recipec.recipe.rules import cuda
from recipec.recipe.schema import Recipe

TOO_LITTLE = "it has too little memory"


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A run on machines of one type."""

    machine: Machine
    outlook: Outlook
    count: int = 1
    """Accelerators of a machine that are used; processes on CPUs."""
    nodes: int = 1
    """Machines."""
    on_demand: Cost | None = None
    """Of all of them."""
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


def quotes(
    outlooks: Outlooks, prices: Mapping[str, Offer], among: Iterable[Machine]
) -> tuple[Quote, ...]:
    """The run, with its own number of processes, on machines; the cheapest first.

    What cannot run it comes last, with the reason.
    """
    hardware = outlooks.run.settings.hardware
    shape = (hardware.processes, hardware.nodes)
    found = [_quote(outlooks, machine, shape, prices) for machine in among]
    return tuple(sorted(found, key=lambda quote: quote.rank))


def compared(
    outlooks: Outlooks, prices: Mapping[str, Offer], among: Iterable[Machine] | None = None
) -> tuple[Quote, ...]:
    """The run on machines, of whose GPUs it takes as many as can share its batch.

    Where one machine has too little memory it takes several. The order is that of `quotes`.
    """
    everywhere = machines().values() if among is None else among
    found = [_quote(outlooks, one, _shape(outlooks, one), prices) for one in everywhere]
    return tuple(sorted(found, key=lambda quote: quote.rank))


def _shape(outlooks: Outlooks, machine: Machine) -> tuple[int, int]:
    """Processes of a machine, and machines: the fewest machines on which the run fits."""
    run, own = outlooks.run, outlooks.run.settings.hardware
    accelerator = accelerators()[machine.accelerator]
    if accelerator.kind != "gpu":
        alike = own.device == "cpu"
        return (own.processes, own.nodes) if alike else (1, 1)
    first: tuple[int, int] | None = None
    for nodes in (one for one in (1, *NODES) if one >= own.nodes):
        rows, left = divmod(run.settings.training.batch_size, nodes)
        if left:
            continue
        shape = (next(n for n in divisors(rows) if n <= machine.count), nodes)
        first = first or shape
        found = outlooks.shaped(accelerator, *shape, machine.network_gbits)
        if found is None or found.fits is not False:
            return shape
    return first or (own.processes, own.nodes)


def _quote(
    outlooks: Outlooks, machine: Machine, shape: tuple[int, int], prices: Mapping[str, Offer]
) -> Quote:
    (count, nodes), offer = shape, prices.get(machine.name, Offer())
    accelerator = accelerators()[machine.accelerator]
    outlook = outlooks.shaped(accelerator, count, nodes, machine.network_gbits)
    assert outlook is not None, "the shape was chosen for the batch"
    refused = _refusal(outlooks.run, machine, outlook, count)
    took = outlook.duration if not refused else None
    return Quote(
        machine=machine,
        outlook=outlook,
        count=count,
        nodes=nodes,
        on_demand=cost_of(took, offer.on_demand, nodes) if took and offer.on_demand else None,
        spot=cost_of(took, offer.spot, nodes) if took and offer.spot else None,
        refused=refused,
    )


def _refusal(run: Run, machine: Machine, outlook: Outlook, count: int) -> str:
    one, memory = outlook.accelerator, outlook.memory
    threads = run.settings.hardware.threads * count
    if one.kind == "tpu":
        return "this version does not train on TPUs"
    if one.kind == "gpu" and (broken := next(_broken(run.recipe, one), "")):
        return broken
    if one.kind == "gpu" and machine.count < count:
        return f"it has {machine.count} of the {count} GPUs"
    if one.kind == "cpu" and machine.vcpus < threads:
        return f"it has {machine.vcpus} vCPUs"
    if one.kind == "cpu" and memory is not None and memory.bytes * count > machine.memory_bytes:
        return TOO_LITTLE
    if outlook.loading_bytes > machine.memory_bytes:
        read = f"{gib(outlook.loading_bytes)} while its {count} processes read the model"
        return f"it has {gib(machine.memory_bytes)} of memory, which must hold {read}"
    return TOO_LITTLE if outlook.fits is False else ""


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


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """The least that one can rent and that takes a run."""

    accelerator: Accelerator
    count: int
    nodes: int
    layout: Layout
    machine: Machine


def smallest(outlooks: Outlooks) -> Smallest | None:
    """The GPUs with the least memory in all that take the run; None if none in the catalogue do.

    One machine comes before several, and of equal memory fewer GPUs come first. A run that is only
    just thought to fit does not count. Raises CannotEstimate for a model that is not known.
    """
    shapes = {
        (accelerators()[one.accelerator], one.count)
        for one in machines().values()
        if accelerators()[one.accelerator].kind == "gpu"
    }
    by_memory = sorted(
        shapes, key=lambda one: ((one[0].usable_bytes or 0) * one[1], one[1], one[0].name)
    )
    recipe = outlooks.run.recipe
    for nodes in (1, *NODES):
        for one, count in by_memory:
            room = ROOM * (one.usable_bytes or 0)
            if (
                outlooks.needs_least(count, nodes) <= room
                and next(_broken(recipe, one), None) is None
            ):
                outlook = outlooks.shaped(one, count, nodes)
                assert outlook is not None, "it has room, so its processes share the batch"
                assert outlook.layout is not None, "its memory is known"
                return Smallest(
                    accelerator=one,
                    count=count,
                    nodes=nodes,
                    layout=outlook.layout,
                    machine=machines_with(one.name, count)[0],
                )
    return None
