"""What a run would take, as `recipec plan` prints it: for people, and as plain values for `--json`.

In: outlooks and quotes. Out: tables and plain values. It computes nothing but units.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from recipec.cli.console import table
from recipec.plan.cost import Cost, Duration, RunWork
from recipec.plan.layout import gib
from recipec.plan.memory import MemoryEstimate
from recipec.plan.outlook import Outlook
from recipec.plan.plan import HardwareSettings, Settings
from recipec.plan.quotes import Quote, Smallest

_PARTS = 4
"""Parts of the memory that are shown: the largest."""
_SHOWN = 5
"""Machines that a plan shows."""
_TIMES = (("days", 86400.0, 3.0), ("h", 3600.0, 1.5), ("min", 60.0, 1.5))
"""Units of time, their seconds, and from how many of them on they are used."""


def outlook_table(outlook: Outlook, settings: Settings, least: Smallest | None) -> str:
    """What the run takes on its own devices, and the least that would take it."""
    rows, hardware = [], settings.hardware
    if outlook.work is not None:
        rows += _work_rows(outlook.work)
    if outlook.memory is not None:
        rows.append(_memory_row(outlook, outlook.memory))
    if outlook.layout is not None:
        layout = outlook.layout
        size = f"{layout.micro_batch_size} rows, {layout.accumulation} passes a step"
        rows.append(("micro-batch", size, layout.micro_batch_reason))
    rows += _shared_rows(outlook, hardware)
    if outlook.duration is not None:
        rows.append(("time", _time_range(outlook.duration), _speed(outlook)))
    if least is not None:
        rows.append(_least_row(least))
    if outlook.unknown:
        rows.append(("unknown", "-", outlook.unknown))
    return table(f"what {settings.name} takes on {_devices(outlook, hardware)}", rows)


def _devices(outlook: Outlook, hardware: HardwareSettings) -> str:
    """The devices of a run in words."""
    title, count, nodes = outlook.accelerator.title, hardware.processes, hardware.nodes
    if hardware.world_size == 1:
        return f"one {title}"
    if outlook.accelerator.kind == "cpu":
        where = "one CPU machine" if nodes == 1 else f"each of {nodes} CPU machines"
        return f"{count} process{'es' if count > 1 else ''} on {where}"
    return f"{count} x {title}" if nodes == 1 else f"{nodes} machines, each with {count} x {title}"


def _shared_rows(outlook: Outlook, hardware: HardwareSettings) -> list[tuple[str, str, str]]:
    """What only several processes have."""
    rows: list[tuple[str, str, str]] = []
    layout, sent = outlook.layout, outlook.exchange
    if layout is not None and layout.world_size > 1:
        rows.append(("parallelism", layout.parallelism, layout.parallelism_reason))
    if sent is not None:
        many = hardware.world_size
        words = f"that each of {many} processes sends and receives in a step: {sent.words}"
        rows.append(("exchange", gib(sent.bytes * (many - 1) / many), words))
    if outlook.loading_bytes:
        words = f"of each machine's memory, while {hardware.processes} processes read the model"
        rows.append(("loading", gib(outlook.loading_bytes), words))
    return rows


def _least_row(least: Smallest) -> tuple[str, str, str]:
    machines = f"{least.nodes} machines with " if least.nodes > 1 else ""
    layout, machine = least.layout, least.machine
    how = f", {layout.parallelism}" if layout.world_size > 1 else ""
    return (
        "smallest",
        f"{machines}{least.count} x {least.accelerator.name}",
        f"takes it{how}: {gib(layout.memory.bytes)} of {gib(layout.usable_bytes)}"
        f"{' in each process' if layout.world_size > 1 else ''}, such as {machine.name}"
        f" ({machine.cloud})",
    )


def _work_rows(work: RunWork) -> list[tuple[str, str, str]]:
    few, some, many = (f"{count:,.0f}" for count in work.tokens)
    epochs = "epoch" if work.epochs == 1 else "epochs"
    guess = f"padding counted; {few} to {many}: a token has 5 to 3 bytes of text"
    return [
        ("tokens", f"about {some}", f"{work.epochs:.3g} {epochs}, {guess}"),
        ("work", f"{work.flops[1]:.2g} FLOPs", f"{work.per_token:.2g} a token: {work.formula}"),
    ]


def _memory_row(outlook: Outlook, memory: MemoryEstimate) -> tuple[str, str, str]:
    largest = sorted(memory.parts, key=lambda part: -part.bytes)[:_PARTS]
    why = ", ".join(f"{part.name} {gib(part.bytes)}" for part in largest)
    layout = outlook.layout
    if layout is None:
        return "memory", gib(memory.bytes), why
    said = "tight, may not fit: " if layout.tight else ""
    return "memory", f"{gib(memory.bytes)} of {gib(layout.usable_bytes)}", f"{said}{why}"


def _speed(outlook: Outlook) -> str:
    took = outlook.duration
    assert took is not None, "only asked where there is one"
    share = took.efficiency
    if outlook.accelerator.kind == "cpu":
        low, high = (f"{share_ * took.peak / 1e9:.0f}" for share_ in (share.low, share.high))
        return f"{low} to {high} GFLOP/s in {took.precision} ({share.source})"
    peak = f"{took.peak / 1e12:.3g} TFLOP/s in {took.precision}"
    return f"{share.low:.2g} to {share.high:.2g} of {peak} ({share.source})"


def machines_table(quotes: Sequence[Quote]) -> str:
    """The cheapest machines that have the device."""
    return table("machines", [_row(quote) for quote in shown_of(quotes)], head=_HEAD)


def shown_of(quotes: Sequence[Quote]) -> list[Quote]:
    """The machines that a plan shows: the cheapest that can run it."""
    return [quote for quote in quotes if not quote.refused][:_SHOWN]


def deploy_table(quotes: Mapping[str, Quote], most: Mapping[str, float]) -> str:
    """The machines that `deploy` names, by target; `most` are the hours that each may take."""
    rows = [(target, *_row(quote), _ends(quote, most[target])) for target, quote in quotes.items()]
    return table("deploy", rows, head=("target", *_HEAD, "ends"))


def _ends(quote: Quote, hours: float) -> str:
    """Whether the run ends before its target stops it."""
    if quote.refused:
        return quote.refused
    took = quote.outlook.duration
    if took is None or took.high <= hours * 3600:
        return "yes" if took else "?"
    said = f"max_hours is {hours:g}"
    return f"no: {said}" if took.low > hours * 3600 else f"perhaps: {said}"


def compare_table(name: str, quotes: Sequence[Quote]) -> str:
    """Machines of all clouds in the order of what the run costs there."""
    able = [quote for quote in quotes if not quote.refused]
    lines = [table(f"where {name} could train", [_row(quote) for quote in able], head=_HEAD)]
    refused = [quote for quote in quotes if quote.refused]
    if refused:
        reasons = dict.fromkeys((q.outlook.accelerator.title, q.refused) for q in refused)
        rows = list(reasons)
        lines.append(table("not on", rows))
    return "\n\n".join([*lines, footnote(able)])


_HEAD = ("machine", "cloud", "device", "memory", "time", "on demand", "spot")


def _row(quote: Quote) -> tuple[str, ...]:
    one, machine = quote.outlook, quote.machine
    used = f"{quote.count} of {machine.count} {one.accelerator.short}" if machine.count > 1 else ""
    memory = gib(one.memory.bytes) if one.memory is not None else "?"
    took = _time_range(one.duration) if one.duration is not None else "?"
    return (
        f"{quote.nodes} x {machine.name}" if quote.nodes > 1 else machine.name,
        machine.cloud,
        used or one.accelerator.short,
        memory,
        took,
        _money(quote.on_demand),
        _money(quote.spot),
    )


def footnote(quotes: Sequence[Quote], *, targets: Collection[str] = ()) -> str:
    """What times and prices mean, and where the prices are from."""
    costs = [cost for quote in quotes for cost in (quote.on_demand, quote.spot) if cost is not None]
    said = sorted({(c.price.source, c.price.region, c.price.date) for c in costs})
    lines = [", ".join(part for part in one if part) for one in said]
    counted = "time is training alone: renting, pulling the image and evaluation come on top"
    notes = [counted, *(f"prices: {line}" for line in lines)]
    if "sagemaker" in targets:
        notes.append("SageMaker asks more than EC2 does, whose prices these are")
    return "\n".join(f"  {note}" for note in notes)


def _money(cost: Cost | None) -> str:
    if cost is None:
        return "-"
    low, high = (f"{dollars:,.2f}" for dollars in (cost.low, cost.high))
    if high == "0.00":
        return "under $0.01"
    return f"${low}" if low == high else f"${low} to {high}"


def _time_range(took: Duration) -> str:
    low, high = _time(took.low), _time(took.high)
    return high if low == high else f"{low} to {high}"


def _time(seconds: float) -> str:
    for unit, length, least in _TIMES:
        if seconds >= length * least:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds >= 1 else "under 1 s"


def outlook_plain(outlook: Outlook) -> dict[str, Any]:
    """An outlook as `--json` prints it."""
    plain = asdict(outlook)
    plain["accelerator"] = outlook.accelerator.name
    if outlook.memory is not None:
        plain["memory"]["bytes"] = outlook.memory.bytes
    if outlook.layout is not None:
        plain["layout"]["accelerator"] = outlook.accelerator.name
        plain["layout"]["fits"] = outlook.layout.fits
        del plain["layout"]["memory"]
    return plain


def smallest_plain(least: Smallest | None) -> dict[str, Any] | None:
    """The least that takes the run, as `--json` prints it."""
    if least is None:
        return None
    layout = least.layout
    return {
        "accelerator": least.accelerator.name,
        "count": least.count,
        "nodes": least.nodes,
        "parallelism": layout.parallelism,
        "micro_batch_size": layout.micro_batch_size,
        "memory_bytes": layout.memory.bytes,
        "usable_bytes": layout.usable_bytes,
        "machine": least.machine.name,
    }


def quote_plain(quote: Quote) -> dict[str, Any]:
    """A quote as `--json` prints it: what is the same on all machines of a device is not there."""
    return {
        "machine": asdict(quote.machine),
        "accelerators_used": min(quote.count, quote.machine.count),
        "nodes": quote.nodes,
        "memory_bytes": quote.outlook.memory.bytes if quote.outlook.memory is not None else None,
        "fits": quote.outlook.fits,
        "duration": asdict(quote.outlook.duration) if quote.outlook.duration is not None else None,
        "on_demand": asdict(quote.on_demand) if quote.on_demand is not None else None,
        "spot": asdict(quote.spot) if quote.spot is not None else None,
        "refused": quote.refused,
        "unknown": quote.outlook.unknown,
    }
