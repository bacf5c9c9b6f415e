"""What a run would take on devices: does it fit, and how long is it?

In: a recipe, its plan, the model's config.json, a sample of the rows, a device and how many of it.
Out: `Outlook`. What that costs on machines is in `recipec.plan.quotes`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from recipec.catalog.hardware import Accelerator
from recipec.plan.cost import Duration, RunWork, duration_on, precision_of, run_work
from recipec.plan.exchange import Exchange, exchange_of, seconds_of
from recipec.plan.layout import (
    Layout,
    Needs,
    Parallelism,
    lay_out,
    least_need,
    with_micro_batch,
    with_parallelism,
    with_processes,
)
from recipec.plan.lengths import RowText
from recipec.plan.memory import CannotEstimate, MemoryEstimate, estimate, settings_of
from recipec.plan.memory.settings import BYTES
from recipec.plan.plan import Settings
from recipec.recipe.rules.parallelism import undivided
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
    """A run on one device, or on as many as it has processes. None: not known; see `unknown`."""

    accelerator: Accelerator
    memory: MemoryEstimate | None = None
    """Of one process."""
    layout: Layout | None = None
    """Of GPUs."""
    work: RunWork | None = None
    duration: Duration | None = None
    exchange: Exchange | None = None
    """Of several processes."""
    loading_bytes: int = 0
    """Of each machine's memory, while all of its processes read the whole model."""
    unknown: str = ""

    @property
    def fits(self) -> bool | None:
        """Whether the device has the memory; None where that is not known."""
        return None if self.layout is None else self.layout.fits


class Outlooks:
    """The outlooks of one run, in other shapes too: what they have in common is worked out once."""

    def __init__(self, run: Run) -> None:
        self.run, self.needs = run, Needs(run.config)
        self._least: dict[tuple[int, int], float] = {}
        self._work: dict[tuple[int, int, int], RunWork] = {}
        self._known: dict[tuple[str, int, int, float | None], Outlook] = {}

    def on(self, accelerator: Accelerator, network_gbits: float | None = None) -> Outlook:
        """The run as the recipe has it, on such devices."""
        hardware = self.run.settings.hardware
        found = self.shaped(accelerator, hardware.processes, hardware.nodes, network_gbits)
        assert found is not None, "the rules have seen to it that its processes share the batch"
        return found

    def shaped(
        self, accelerator: Accelerator, count: int, nodes: int, network_gbits: float | None = None
    ) -> Outlook | None:
        """The run on so many devices; None where they cannot share its batch equally."""
        key = (accelerator.name, count, nodes, network_gbits if nodes > 1 else None)
        if key not in self._known:
            run = placed(self.run, count, nodes)
            if run is None:
                return None
            self._known[key] = self._outlook(run, accelerator, key[3])
        return self._known[key]

    def needs_least(self, count: int, nodes: int) -> float:
        """Bytes of one of so many processes at least; infinite where they cannot share the batch.

        Raises CannotEstimate for a model whose layers are not known.
        """
        if (count, nodes) not in self._least:
            self._least[count, nodes] = self._needs_least(count, nodes)
        return self._least[count, nodes]

    def _needs_least(self, count: int, nodes: int) -> float:
        run = placed(self.run, count, nodes)
        if run is None:
            return float("inf")
        recipe, settings = run.recipe, run.settings
        ways: tuple[Parallelism, ...] = ("none",)
        if count * nodes > 1:
            given, divided = recipe.hardware.parallelism, next(undivided(recipe), None) is None
            ways = (given,) if given else ("ddp", "fsdp") if divided else ("ddp",)
        return min(least_need(recipe, with_parallelism(settings, way), self.needs) for way in ways)

    def _outlook(self, run: Run, accelerator: Accelerator, network_gbits: float | None) -> Outlook:
        try:
            layout, settings = None, run.settings
            if accelerator.kind == "gpu":
                layout = lay_out(run.recipe, settings, self.needs, accelerator, changes=False)
            if layout is not None:
                settings = with_parallelism(settings, layout.parallelism)
                settings = with_micro_batch(settings, layout.micro_batch_size)
            memory = (
                layout.memory if layout is not None else estimate(run.config, settings_of(settings))
            )
            work = self._work_of(settings, memory.trainable)
        except CannotEstimate as error:
            return Outlook(accelerator=accelerator, unknown=error.message)
        exchange = exchange_of(settings, memory)
        talk = (0.0, 0.0)
        if exchange is not None:
            talk = seconds_of(exchange, settings, accelerator, network_gbits)
        duration = duration_on(work, settings, accelerator, talk)
        unknown = ""
        if duration is None:
            unknown = f"the catalogue has no {precision_of(settings, accelerator)} peak of it"
        elif settings.hardware.nodes > 1 and not network_gbits:
            unknown = (
                "the network between the machines: what they send each other is not in the time"
            )
        each = memory.parameters * BYTES[settings.model.dtype]
        many = settings.hardware.processes
        return Outlook(
            accelerator=accelerator,
            memory=memory if accelerator.kind != "tpu" else None,
            layout=layout,
            work=work,
            duration=duration,
            exchange=exchange,
            loading_bytes=many * each if many > 1 else 0,
            unknown=unknown,
        )

    def _work_of(self, settings: Settings, trainable: int) -> RunWork:
        """The run's work: it depends on the micro-batch and on how many there are."""
        training = settings.training
        key = (training.micro_batch_size, training.accumulation, trainable)
        if key not in self._work:
            self._work[key] = run_work(
                settings,
                self.run.config,
                self.run.sample,
                head=settings_of(settings).head,
                trainable=trainable,
            )
        return self._work[key]


def placed(run: Run, count: int, nodes: int) -> Run | None:
    """The run with other processes; None where they cannot share its batch equally."""
    recipe, hardware = run.recipe, run.settings.hardware
    if (count, nodes) == (hardware.processes, hardware.nodes):
        return run
    settings = with_processes(run.settings, processes=count, nodes=nodes)
    if settings is None:
        return None
    training = recipe.training
    if training.micro_batch_size is not None:
        training = replace(training, micro_batch_size=settings.training.micro_batch_size)
    parallelism = recipe.hardware.parallelism if count * nodes > 1 else None
    changed = replace(recipe.hardware, count=count, nodes=nodes, parallelism=parallelism)
    recipe = replace(recipe, training=training, hardware=changed)
    return replace(run, recipe=recipe, settings=settings)
