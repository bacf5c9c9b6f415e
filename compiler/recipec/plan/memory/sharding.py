"""What several processes change: DDP's buckets, FSDP's shares and what it gathers.

In: parts and phases of one process alone. Out: those of one process among many. DDP's buckets take
the gradients' place (`gradient_as_bucket_view`; Li et al. 2020, arXiv:2006.15704, section 3.2) and
then stay from step to step (`phases.step`), but for steps of several passes. FSDP2 divides weights,
gradients, states and averages (Zhao et al. 2023, arXiv:2304.11277, section 3) and gathers
every block, and the root with the embeddings and the head, when it is computed
(torch/distributed/fsdp/_fully_shard). docs/memory.md compares both with what runs took.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace

from recipec.plan.memory.settings import BYTES, MemorySettings, Part, Phase
from recipec.plan.memory.states import trained_bytes
from recipec.plan.memory.tuned import Tuned

_DIVIDED = ("weights", "adapter", "optimizer", "ema", "gradients")
_PASSES = ("forward", "backward")
"""Phases of a step in which gradients of several passes add up, whole: they are summed over the
processes in the last one (`set_requires_gradient_sync`)."""
_BLOCK = re.compile(r"^(.*?\.\d+)\.")
"""The block that a layer belongs to, by its name; what matches not is the root's."""
FORWARD_BLOCKS = 3
"""Blocks whose weights are there at a time: the one that is computed, what it was gathered into,
and the same of the block before (`AllGatherState`)."""
BACKWARD_BLOCKS = 3
"""The one that is computed, the next, which is gathered ahead, and what it is gathered into."""
REDUCED_BLOCKS = 3
"""Gradients of a block, whole: the one that is computed, the copy that is reduced, and that of the
block before (`ReduceScatterState`)."""

SENT = 250 << 20
"""Bytes that DDP sends at a time when it begins; two such lots are under way
(torch/nn/parallel/distributed.py; c10d's broadcast_coalesced)."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """Bytes that FSDP gathers at a time, of weights and of their gradients."""

    root: int
    root_gradients: int
    block: int
    """The largest."""
    block_gradients: int


def shared(part: Part, settings: MemorySettings) -> Part:
    """A process' share of a part."""
    if settings.sharding != "fsdp" or part.name not in _DIVIDED:
        return part
    count = settings.world_size
    return replace(
        part, bytes=-(-part.bytes // count), reason=f"{part.reason}; one of {count} shares"
    )


def shared_phase(phase: Phase, tuned: Tuned, settings: MemorySettings) -> Phase:
    """A phase with its parts shared, and with what is gathered in it."""
    if settings.sharding != "fsdp":
        return phase
    adds_up = settings.accumulation > 1 and phase.name in _PASSES
    parts = tuple(
        part if adds_up and part.name == "gradients" else shared(part, settings)
        for part in phase.parts
    )
    gathered = _gathered(phase.name, whole_of(tuned, settings), adds_up=adds_up)
    return Phase(name=phase.name, parts=(*parts, *gathered))


def _gathered(phase: str, whole: Whole, *, adds_up: bool) -> list[Part]:
    """The root is gathered once for a pass, the blocks one after the other.

    Where gradients add up whole, those of the root are among them already.
    """
    if phase == "update":
        return []
    size = whole.root + max(FORWARD_BLOCKS * whole.block, whole.root)
    words = "the embeddings and the head whole, and blocks while they are computed"
    if phase == "backward":
        inside = BACKWARD_BLOCKS * whole.block + REDUCED_BLOCKS * whole.block_gradients
        own = 0 if adds_up else whole.root_gradients
        size = whole.root + own + max(inside, whole.root_gradients)
        words += ", with gradients before they are divided"
    return [Part(name="gathered", bytes=size, reason=words)]


def buckets(tuned: Tuned, settings: MemorySettings) -> list[Part]:
    """DDP's, beside gradients that add up over several passes: only those of the last lie in them.

    The first pass after `zero_grad` makes gradients anew, and sums nothing over the processes.
    """
    if settings.sharding != "ddp" or settings.accumulation == 1:
        return []
    words = "DDP's buckets, beside the gradients of several passes"
    return [Part(name="buckets", bytes=trained_bytes(tuned, settings), reason=words)]


def loading(tuned: Tuned, settings: MemorySettings, always: list[Part]) -> list[Phase]:
    """Until every process has the weights that it trains. `always` are the parts of one alone.

    DDP sends the first process' weights to all others, in two lots at a time. For FSDP every
    process reads the whole model and keeps its share; on a GPU's machine that takes the machine's
    memory, not the device's. Of `always`, the optimizer's state and averages come later.
    """
    if settings.sharding == "none" or (settings.sharding, settings.device) == ("fsdp", "cuda"):
        return []
    size = {part.name: part.bytes for part in always}
    later = size.get("optimizer", 0) + size.get("ema", 0)
    if settings.sharding == "ddp":
        rest = min(2 * SENT, size["weights"]) - later
        words = "weights on their way from the first process to all others"
    else:
        rest = size["weights"] - (size["weights"] + later) // settings.world_size
        words = f"{tuned.model.size:,} weights, before all but a share is dropped"
    return [Phase(name="load", parts=(Part(name="loading", bytes=max(0, rest), reason=words),))]


def whole_of(tuned: Tuned, settings: MemorySettings) -> Whole:
    """What is gathered of the root and of the largest block."""
    width = BYTES[settings.dtype]
    weights: dict[str, int] = defaultdict(int)
    gradients: dict[str, int] = defaultdict(int)
    for layer in tuned.model.layers:
        found = _BLOCK.match(layer.name)
        place = found.group(1) if found else ""
        adapter = tuned.adapters.get(layer.name)
        beside = 4 * adapter.size if adapter is not None else 0
        copied = layer.size * width if layer.name in tuned.copied else 0
        weights[place] += layer.size * width + beside + copied
        gradients[place] += tuned.trained_of(layer) * width + beside + copied
    root, root_gradients = weights.pop("", 0), gradients.pop("", 0)
    return Whole(
        root=root,
        root_gradients=root_gradients,
        block=max(weights.values(), default=0),
        block_gradients=max(gradients.values(), default=0),
    )
