"""What training keeps between two steps: weights, gradients, optimizer state, averages.

In: the tuned model and the settings. Out: parts, in bytes. No activation is counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from recipec.plan.memory.layers import Layer
from recipec.plan.memory.settings import BYTES, MemorySettings, Part
from recipec.plan.memory.tuned import Tuned

NF4_BLOCK, SCALE_BLOCK = 64, 256
"""Weights to a scale, and scales to a scale of their own (QLoRA, arXiv:2305.14314, section 3)."""
STATE_BLOCK, SMALL_STATE = 256, 4096
"""bitsandbytes' 8-bit optimizers: elements to a scale; tensors below this keep 32-bit states
(bitsandbytes/optim/optimizer.py)."""

OPTIMIZERS = {
    "adamw": (8, "AdamW: mean and square of the gradient, 4 bytes each (arXiv:1711.05101)"),
    "lion": (4, "Lion: one mean of the gradient (arXiv:2302.06675)"),
    "sgd": (4, "SGD: one momentum"),
}
"""Bytes of state for a 32-bit weight, and why."""


def weights(tuned: Tuned, settings: MemorySettings) -> Part:
    """The model as it is loaded, packed or not."""
    size = sum(_size(layer, tuned, settings) for layer in tuned.model.layers)
    words = f"{tuned.model.size:,} weights in {settings.dtype}"
    if tuned.quantized:
        packed = sum(tuned.by_name[name].size for name in tuned.quantized)
        words += f", {packed:,} of them packed ({settings.method.quantization})"
    return Part(name="weights", bytes=size, reason=words)


def _size(layer: Layer, tuned: Tuned, settings: MemorySettings) -> int:
    width = BYTES[settings.dtype]
    if layer.name not in tuned.quantized:
        return layer.size * width
    count = layer.size - layer.bias
    if settings.method.quantization == "int8":
        return count + 4 * layer.shape[0] + layer.bias * width  # a scale for each output
    blocks = -(-count // NF4_BLOCK)
    if settings.method.double_quantization:
        scales = blocks + 4 * -(-blocks // SCALE_BLOCK) + 4 * 256
    else:
        scales = 4 * blocks
    return -(-count // 2) + scales + 4 * 16 + layer.bias * width


def added(tuned: Tuned, settings: MemorySettings) -> Part:
    """What the method adds to the model."""
    size = tuned.copies * BYTES[settings.dtype] + tuned.added * 4
    words = f"{tuned.added:,} weights of {settings.method.type} in float32"
    if tuned.copies:
        words += f", {tuned.copies:,} in trained copies of whole layers"
    return Part(name="adapter", bytes=size, reason=words)


def trained_bytes(tuned: Tuned, settings: MemorySettings) -> int:
    """Bytes of all trained weights: as much as their gradients take."""
    width = BYTES[settings.dtype]
    return (tuned.own + tuned.copies) * width + tuned.added * 4


def gradients(tuned: Tuned, settings: MemorySettings) -> Part:
    """One for each trained weight, in its type."""
    return Part(
        name="gradients",
        bytes=trained_bytes(tuned, settings),
        reason=f"of {tuned.trainable:,} trained weights, in their type",
    )


def optimizer(tuned: Tuned, settings: MemorySettings) -> Part:
    """The optimizer's state, from the first step on."""
    kind = settings.optimizer
    if kind == "adamw-8bit":
        size, words = (
            sum(_state_8bit(count) for count, _ in trained_tensors(tuned)),
            ("AdamW in 8 bits: 2 bytes a weight and scales (arXiv:2110.02861)"),
        )
    elif kind == "adafactor":
        size, words = (
            sum(_factored(shape) for _, shape in trained_tensors(tuned)),
            ("Adafactor: a mean for each row and column of a matrix (arXiv:1804.04235)"),
        )
    else:
        each, words = OPTIMIZERS[kind]
        if kind == "sgd" and not settings.momentum:
            each, words = 0, "SGD without momentum keeps nothing"
        size = trained_bytes(tuned, settings) * each // 4
    return Part(name="optimizer", bytes=size, reason=words)


def _state_8bit(count: int) -> int:
    if count < SMALL_STATE:
        return 8 * count
    return 2 * count + 2 * 4 * -(-count // STATE_BLOCK)


def _factored(shape: tuple[int, ...]) -> int:
    if len(shape) < 2:
        return 4 * shape[0]
    return 4 * prod(shape[:-2]) * (shape[-2] + shape[-1])


def averages(tuned: Tuned, settings: MemorySettings) -> Part:
    """The moving average of the trained weights (recipec_runtime.ema)."""
    return Part(
        name="ema",
        bytes=trained_bytes(tuned, settings),
        reason="a moving average of every trained weight",
    )


def trained_tensors(tuned: Tuned) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Elements and shape of every trained tensor."""
    for layer in tuned.model.layers:
        for name, shape in layer.parameters():
            if name in tuned.trained or layer.name in tuned.copied:
                yield prod(shape), shape
    for name in tuned.adapters:
        yield from ((prod(shape), shape) for shape in _adapter_shapes(tuned, name))
    if tuned.virtual:
        yield tuned.virtual, (1, tuned.virtual)


def _adapter_shapes(tuned: Tuned, name: str) -> Iterator[tuple[int, ...]]:
    adapter = tuned.adapters[name]
    if adapter.behind:
        hidden = (adapter.size - adapter.behind) // (2 * adapter.behind + 1)
        yield from ((adapter.behind, hidden), (adapter.behind,), (hidden, adapter.behind))
        yield (hidden,)
    elif adapter.scales:
        yield (adapter.size, 1) if adapter.scales == "output" else (1, adapter.size)
    else:
        layer = tuned.by_name[name]
        count = layer.shape[0] if layer.kind == "experts" else 1
        inputs, outputs = layer.shape[1:] if layer.kind == "experts" else layer.sides
        yield (adapter.rank * count, inputs)
        yield (outputs, adapter.rank * count)
        if adapter.dora:
            yield (outputs,)


def largest_trained(tuned: Tuned) -> int:
    """Elements of the largest trained tensor."""
    return max((count for count, _ in trained_tensors(tuned)), default=0)
