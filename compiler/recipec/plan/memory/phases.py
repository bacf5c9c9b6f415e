"""The phases of a training process and what each takes beside what is always there.

In: what the other modules count. Out: `Phase`s. A step's peak lies at the loss, or at the end of
its backward pass: in between, activations go as gradients come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from recipec.plan.memory import states
from recipec.plan.memory.base import HOLES
from recipec.plan.memory.decoders import is_sparse
from recipec.plan.memory.forward import Forward, hidden_size, keys_of, number_of_layers
from recipec.plan.memory.layers import Config
from recipec.plan.memory.settings import BYTES, MemorySettings, Part, Phase
from recipec.plan.memory.tuned import Tuned

LOSS, SMOOTH_LOSS, CPU_LOSS = 3, 4, 4
"""Tensors as large as the logits at the peak of the loss: the logarithm of the softmax, and the
gradients of both of its steps (torch/nn/functional.py, cross_entropy); one more for smoothing. On a
CPU the room of the logits themselves, which are gone by then, is not used again."""


TEMPORARY = {"adafactor": 2, "lion": 3, "adamw-8bit": 3}
"""Tensors of a weight's size that the optimizer makes (torch/optim/adafactor.py,
pytorch_optimizer/optimizer/lion.py, bitsandbytes/backends/cpu); the fused ones make none."""


def step(tuned: Tuned, settings: MemorySettings, found: Forward) -> Iterator[Phase]:
    """Forward, loss, backward and update of a step.

    A GPU's caching allocator gives what activations leave to gradients. The C library's heap does
    so hardly at all: there the parts of all three add up. DDP's buckets are there all the time.
    """
    gradients = states.gradients(tuned, settings)
    forward = _forward(tuned, settings, found)
    update = _update(tuned, settings)
    if settings.heap:
        again = 4 * states.largest_trained(tuned)
        words = "the largest gradient, whose room the next step's activations have taken"
        table = Part(name="table", bytes=again, reason=words)
        parts = (*forward, gradients, table, update, _holes(settings, found))
        yield Phase(name="step", parts=parts)
        return
    stay = settings.accumulation > 1 or settings.sharding == "ddp"
    earlier = gradients if stay else replace(gradients, bytes=0)
    yield Phase(name="forward", parts=(*forward, earlier))
    yield Phase(name="backward", parts=_backward(tuned, settings, found))
    yield Phase(name="update", parts=(gradients, update))


def _forward(tuned: Tuned, settings: MemorySettings, found: Forward) -> tuple[Part, ...]:
    """Up to the loss' gradient, or that of the head's weight."""
    inside = found.block if settings.gradient_checkpointing else 0
    kept = found.blocks + found.ends
    many = SMOOTH_LOSS if settings.label_smoothing else LOSS
    loss = (CPU_LOSS if settings.heap else many) * found.logits
    head = found.logits + _head_gradient(tuned, settings)
    block = inside + 2 * found.largest
    activations = Part(name="activations", bytes=kept, reason=_words(settings, found))
    if max(loss, head) >= block:
        words = "the logits' logarithm and gradients, or the head's gradient"
        return (activations, Part(name="loss", bytes=max(loss, head), reason=words))
    words = "the largest tensors of a block, twice"
    if inside:
        words = "a block's activations, which are computed again"
    return (activations, Part(name="block", bytes=block, reason=words))


def _holes(settings: MemorySettings, found: Forward) -> Part:
    """What glibc's heap loses to holes: large blocks that small ones have been cut from.

    With checkpointing a first forward pass drops all that it makes, and the block that is computed
    again lies in that room.
    """
    size = int(HOLES * found.dropped)
    if settings.gradient_checkpointing:
        size = max(0, int(HOLES * found.made_bytes) - found.block - 2 * found.largest)
    words = "holes of the heap, of tensors that are made and dropped"
    return Part(name="holes", bytes=size, reason=words)


def _backward(tuned: Tuned, settings: MemorySettings, found: Forward) -> tuple[Part, ...]:
    """At the end of the backward pass: every gradient, and the first block's activations."""
    table = _table_gradient(tuned, settings)
    words = "the embedding's gradient, before it is added to the head's"
    block = found.ends + found.block + 2 * found.largest
    return (
        states.gradients(tuned, settings),
        Part(name="block", bytes=block, reason="the last block's activations"),
        Part(name="table", bytes=table, reason=words),
    )


def _words(settings: MemorySettings, found: Forward) -> str:
    each = f"{settings.micro_batch_size} rows of {settings.length} tokens"
    if settings.target_length:
        each += f" and {settings.target_length}"
    if settings.gradient_checkpointing:
        return f"{each}: the blocks' inputs and one block at a time"
    return f"{each}, {settings.attention} attention: {found.made:,} tensors"


def _head_gradient(tuned: Tuned, settings: MemorySettings) -> int:
    """The gradient of what makes the logits."""
    name = tuned.model.output
    if not name or not tuned.trains(name):
        return 0
    return tuned.by_name[name].size * BYTES[settings.dtype]


def _table_gradient(tuned: Tuned, settings: MemorySettings) -> int:
    """The gradient of the word embeddings, if it is added to that of a head that shares them."""
    name = tuned.model.output
    if not name or tuned.by_name[name].kind != "embedding" or not tuned.trains(name):
        return 0
    return tuned.by_name[name].size * BYTES[settings.dtype]


def _update(tuned: Tuned, settings: MemorySettings) -> Part:
    """What the optimizer computes with, a tensor after the other."""
    many = TEMPORARY.get(settings.optimizer, 0)
    size = many * 4 * states.largest_trained(tuned)
    words = f"{many} tensors as large as the largest trained weight" if many else "in place"
    return Part(name="update", bytes=size, reason=words)


def evaluate(config: Config, tuned: Tuned, settings: MemorySettings) -> Iterator[Phase]:
    """Evaluation while training; none where there is nothing to evaluate on."""
    rows = settings.evaluation_batch_size
    if not rows:
        return
    width = BYTES[settings.dtype]
    last = settings.target_length or settings.length
    hidden = hidden_size(config)
    logits = rows * last * config["vocab_size"] * width if tuned.model.output else 0
    longest = max(settings.length, settings.target_length)
    block = rows * longest * width * _widest(config, hidden)
    if settings.attention == "eager":
        block += (
            3
            * 4
            * rows
            * (config.get("num_attention_heads", "n_head", "num_heads") or 1)
            * (longest**2)
        )
    parts = [
        Part(name="block", bytes=block, reason=f"{rows} rows in one block, nothing is kept"),
        Part(name="logits", bytes=2 * logits, reason="of every token, and their logarithm"),
    ]
    if settings.max_new_tokens:
        cache = _cache(config, settings, rows)
        # the loss is behind when texts are written; only a CPU's heap has not its room again
        keeps = settings.heap
        parts[1:] = [parts[1], cache] if keeps else [max(parts[1], cache, key=_bytes)]
    yield Phase(name="evaluate", parts=tuple(parts))


def _bytes(part: Part) -> int:
    return part.bytes


def _widest(config: Config, hidden: int) -> int:
    """Elements of a token that a block has at once without gradients."""
    inner = config.get("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "encoder_ffn_dim")
    wide = int(inner or config["n_inner"] or 4 * hidden)
    if is_sparse(config, 0):
        wide *= int(config["num_experts_per_tok"])
    return 3 * wide + 4 * hidden


def _cache(config: Config, settings: MemorySettings, rows: int) -> Part:
    """Keys and values of every layer and beam; on a CPU, where copies leave holes, twice.

    A growing cache is copied as it grows, and beams are copied over one another
    (transformers/cache_utils.py).
    """
    beams, width = settings.num_beams, BYTES[settings.dtype]
    layers = number_of_layers(config, decoder=bool(settings.target_length))
    tokens = settings.max_new_tokens + settings.length
    size = 2 * layers * keys_of(config) * tokens * rows * beams * width
    logits = rows * beams * config["vocab_size"] * 4 * 3
    return Part(
        name="cache",
        bytes=(2 if settings.heap else 1) * size + logits,
        reason=f"keys and values of {layers} layers, {beams} beams, {tokens} tokens",
    )
