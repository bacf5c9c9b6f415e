"""What a process takes before it has a model, and what an allocator wastes.

In: settings. Out: parts. These are the only numbers of the memory model that were fitted to
measurements; docs/memory.md names the measurements.
"""

from __future__ import annotations

from recipec.plan.memory.settings import MemorySettings, Part, Phase
from recipec.plan.memory.tuned import Tuned

CPU = 400_000_000
"""Resident after Python, torch, transformers and peft have been imported and a step computed."""
CUDA = 600_000_000
"""A CUDA context with torch's and cuBLAS' kernels; not measured."""
CUDA_SLACK = 0.05
"""Of what a phase takes; not measured."""
HOLES = 0.6
"""Of what a step makes and drops on a CPU, how much leaves a hole that nothing fits into again."""


def base(settings: MemorySettings) -> Part:
    """The process without a model."""
    if settings.device == "cuda":
        return Part(name="base", bytes=CUDA, reason="a CUDA context with its kernels")
    return Part(name="base", bytes=CPU, reason="Python, torch, transformers and peft")


def mapped(tuned: Tuned, settings: MemorySettings, *, width: int) -> list[Part]:
    """Experts lie apart in a model's files, which stay mapped after they have been fused."""
    size = width * sum(layer.size for layer in tuned.model.layers if layer.kind == "experts")
    if not size or settings.device == "cuda":
        return []
    reason = "the model's files, whose experts are copied when they are fused"
    return [Part(name="files", bytes=size, reason=reason)]


def slack(phase: Phase, settings: MemorySettings) -> Phase:
    """The phase with what a GPU's allocator wastes in it; a CPU's heap is counted by its holes."""
    if settings.device == "cpu":
        return phase
    size = int(CUDA_SLACK * phase.bytes)
    wasted = Part(name="slack", bytes=size, reason="what the allocator cannot use again")
    return Phase(name=phase.name, parts=(*phase.parts, wasted))
