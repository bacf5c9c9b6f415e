"""What the processes of a run send each other, and how long that takes.

In: a plan's settings, what it trains, the links of its devices and machines. Out: bytes and seconds
of a step. DDP sums up gradients: of N processes each sends and receives 2 (N - 1) / N times their
bytes (Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002). FSDP gathers the weights for the
forward and for the backward pass of every micro-batch, and once a step sums up gradients into
shares, each of which takes half of that (Rajbhandari et al. 2020, arXiv:1910.02054, section 7).
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from recipec.catalog.efficiency import link_share
from recipec.catalog.hardware import Accelerator
from recipec.plan.memory import MemoryEstimate
from recipec.plan.memory.settings import BYTES
from recipec.plan.plan import Settings


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What goes between processes in a step."""

    bytes: float
    """That one process would send if there were very many."""
    words: str
    """How they follow."""


def exchange_of(settings: Settings, memory: MemoryEstimate) -> Exchange | None:
    """What a run sends in each step; None for a single process."""
    hardware, width = settings.hardware, BYTES[settings.model.dtype]
    own = settings.method.type in ("full", "layernorm")
    gradients = memory.trainable * (width if own else 4)
    if hardware.parallelism == "none":
        return None
    if hardware.parallelism == "ddp":
        return Exchange(bytes=2.0 * gradients, words="2 x the gradients (ddp)")
    passes = settings.training.accumulation
    size = passes * 2.0 * memory.parameters * width + gradients
    return Exchange(bytes=size, words=f"{2 * passes} x the weights + the gradients (fsdp)")


def seconds_of(
    exchange: Exchange, settings: Settings, accelerator: Accelerator, network_gbits: float | None
) -> tuple[float, float]:
    """The fewest and the most seconds of a step's exchange, over the links that are known.

    Within a machine all GPUs send at once; between machines each sends what all of its GPUs have.
    CPUs of one machine exchange in its memory, which is not counted.
    """
    hardware = settings.hardware
    hops: list[tuple[int, float, str]] = []
    if accelerator.kind == "gpu" and accelerator.link_bandwidth:
        hops.append((hardware.processes, accelerator.link_bandwidth / 2, accelerator.link))
    if network_gbits:
        hops.append((hardware.nodes, network_gbits * 1e9 / 8, "network"))
    fast, slow = 0.0, 0.0
    for many, one_way, link in hops:
        if many > 1:
            part, share = exchange.bytes * (many - 1) / many, link_share(link)
            fast, slow = fast + part / (one_way * share.high), slow + part / (one_way * share.low)
    return fast, slow
