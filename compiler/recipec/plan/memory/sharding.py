"""What several processes change: DDP's buckets, FSDP's shares and what it gathers.

In: parts of one process alone. Out: parts of one process among many. Not measured yet.
"""

from __future__ import annotations

from dataclasses import replace

from recipec.plan.memory.settings import BYTES, MemorySettings, Part, Phase
from recipec.plan.memory.states import trained_bytes
from recipec.plan.memory.tuned import Tuned

_DIVIDED = ("weights", "adapter", "optimizer", "ema", "gradients", "table")
GATHERED = 2
"""Blocks whose weights are whole at a time: the one that is computed, and the next."""


def shared(part: Part, settings: MemorySettings) -> Part:
    """A process' share of a part (FSDP: Zhao et al. 2023, arXiv:2304.11277, section 3)."""
    if settings.sharding != "fsdp" or part.name not in _DIVIDED:
        return part
    count = settings.world_size
    return replace(
        part, bytes=-(-part.bytes // count), reason=f"{part.reason}; one of {count} shares"
    )


def shared_phase(phase: Phase, settings: MemorySettings) -> Phase:
    """A phase with its parts shared."""
    return Phase(name=phase.name, parts=tuple(shared(part, settings) for part in phase.parts))


def between(tuned: Tuned, settings: MemorySettings, *, blocks: int) -> list[Part]:
    """What is there because there are other processes. `blocks` is how many the model has."""
    if settings.sharding == "ddp":
        # Li et al. 2020, arXiv:2006.15704, section 3.2.3: gradients are copied into buckets
        words = "DDP's buckets: a copy of every gradient"
        return [Part(name="buckets", bytes=trained_bytes(tuned, settings), reason=words)]
    if settings.sharding == "fsdp":
        outer = sum(x.size for x in tuned.model.layers if x.kind == "embedding")
        block = (tuned.model.size - outer) // max(1, blocks)
        size = (GATHERED * block + outer) * BYTES[settings.dtype]
        gradient = block * trained_bytes(tuned, settings) // max(1, tuned.model.size)
        words = f"{GATHERED} blocks and the embeddings, whole, and a block's gradients"
        return [Part(name="gathered", bytes=size + gradient, reason=words)]
    return []
