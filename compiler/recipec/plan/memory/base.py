"""What a process takes before it has a model, and what an allocator wastes.

In: settings. Out: parts. These are the only numbers of the memory model that were fitted to
measurements; docs/memory.md names the measurements.
"""

from __future__ import annotations

from recipec.plan.memory.settings import MemorySettings, Part, Phase
from recipec.plan.memory.tuned import Tuned

MIB = 1 << 20
CPU = 340 * MIB
"""Resident after Python, torch and transformers have been imported and a step has been computed."""
CPU_QUANTIZED = 60 * MIB
"""More with bitsandbytes."""
CUDA = 600 * MIB
"""A CUDA context with torch's and cuBLAS' kernels; not measured here."""
SLACK = 0.05
"""Of what a phase takes: freed blocks between others that no request fits into."""
CPU_SLACK_16 = 0.40
"""The same on a CPU that computes in 16 bits: the libraries make copies in 32."""


def base(tuned: Tuned, settings: MemorySettings) -> Part:
    """The process without a model."""
    if settings.device == "cuda":
        return Part(name="base", bytes=CUDA, reason="a CUDA context with its kernels")
    size = CPU + (CPU_QUANTIZED if tuned.quantized else 0)
    return Part(name="base", bytes=size, reason="Python, torch and transformers")


def slack(phase: Phase, settings: MemorySettings) -> Phase:
    """The phase with what the allocator wastes in it."""
    low = settings.dtype != "float32" or settings.mixed_precision != "none"
    share = CPU_SLACK_16 if low and settings.device == "cpu" else SLACK
    wasted = Part(
        name="slack", bytes=int(share * phase.bytes), reason="what the allocator cannot use again"
    )
    return Phase(name=phase.name, parts=(*phase.parts, wasted))
