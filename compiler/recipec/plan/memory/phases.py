"""The phases of a training process and what each takes beside what is always there.

In: what the other modules count. Out: `Phase`s. A step's peak lies at the end of its forward pass,
at the loss, or at the end of its backward pass: in between, activations go as gradients come.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipec.plan.memory import states
from recipec.plan.memory.decoders import is_sparse
from recipec.plan.memory.forward import Forward, hidden_size, keys_of, number_of_layers
from recipec.plan.memory.layers import Config
from recipec.plan.memory.settings import BYTES, MemorySettings, Part, Phase
from recipec.plan.memory.tuned import Tuned

LOSS, SMOOTH_LOSS = 3, 4
"""Tensors as large as the logits at the peak of the loss: the logarithm of the softmax, and the
gradients of both of its steps (torch/nn/functional.py, cross_entropy); one more for smoothing."""


def step(config: Config, tuned: Tuned, settings: MemorySettings, found: Forward) -> Phase:
    """Forward, loss and backward of the last micro-batch of a step."""
    gradients = states.gradients(tuned, settings)
    earlier = gradients.bytes if settings.accumulation > 1 else 0
    inside = found.block if settings.gradient_checkpointing else 0
    kept = found.blocks + found.ends
    loss = (SMOOTH_LOSS if settings.label_smoothing else LOSS) * found.logits
    head = head_gradient(tuned, settings)
    forward = kept + max(loss, found.logits + head, inside + 2 * found.largest) + earlier
    table = table_gradient(tuned, settings)
    backward = gradients.bytes + table + found.ends + inside + 2 * found.largest
    if forward >= backward:
        return Phase(
            name="step",
            parts=(
                Part(
                    name="activations",
                    bytes=kept + max(0, forward - earlier - kept - loss),
                    reason=_words(settings, found),
                ),
                Part(
                    name="loss",
                    bytes=min(loss, forward - earlier - kept),
                    reason="the logits' logarithm and its gradients",
                ),
                Part(name="gradients", bytes=earlier, reason="of earlier micro-batches"),
            ),
        )
    return Phase(
        name="step",
        parts=(
            gradients,
            Part(
                name="activations", bytes=backward - gradients.bytes - table, reason="of one block"
            ),
            Part(
                name="embedding", bytes=table, reason="the embedding's gradient, before it is added"
            ),
        ),
    )


def _words(settings: MemorySettings, found: Forward) -> str:
    each = f"{settings.micro_batch_size} rows of {settings.length} tokens"
    if settings.target_length:
        each += f" and {settings.target_length}"
    if settings.gradient_checkpointing:
        return f"{each}: the blocks' inputs and one block at a time"
    return f"{each}, {settings.attention} attention: {found.made:,} tensors"


def head_gradient(tuned: Tuned, settings: MemorySettings) -> int:
    """The gradient of what makes the logits."""
    name = tuned.model.output
    if not name or not tuned.trains(name):
        return 0
    return tuned.by_name[name].size * BYTES[settings.dtype]


def table_gradient(tuned: Tuned, settings: MemorySettings) -> int:
    """The gradient of the word embeddings, if it is added to that of a head that shares them."""
    name = tuned.model.output
    if not name or tuned.by_name[name].kind != "embedding" or not tuned.trains(name):
        return 0
    return tuned.by_name[name].size * BYTES[settings.dtype]


def update(tuned: Tuned, settings: MemorySettings) -> Phase:
    """The optimizer's step: gradients, and what it computes with."""
    gradients = states.gradients(tuned, settings)
    many = {"adafactor": 3, "lion": 2, "adamw-8bit": 1}.get(settings.optimizer, 0)
    size = many * 4 * states.largest_trained(tuned)
    parts = [gradients]
    if size:
        reason = f"{many} tensors as large as the largest trained weight"
        parts.append(Part(name="update", bytes=size, reason=reason))
    return Phase(name="update", parts=tuple(parts))


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
        parts[1:] = [_cache(config, settings, rows)]
    yield Phase(name="evaluate", parts=tuple(parts))


def _widest(config: Config, hidden: int) -> int:
    """Elements of a token that a block has at once without gradients."""
    inner = config.get("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "encoder_ffn_dim")
    wide = int(inner or config["n_inner"] or 4 * hidden)
    if is_sparse(config, 0):
        wide *= int(config["num_experts_per_tok"])
    return 3 * wide + 4 * hidden


def _cache(config: Config, settings: MemorySettings, rows: int) -> Part:
    """Keys and values of every layer and beam (a growing cache is copied as it grows)."""
    beams, width = settings.num_beams, BYTES[settings.dtype]
    layers = number_of_layers(config, decoder=bool(settings.target_length))
    tokens = settings.max_new_tokens + settings.length
    size = 2 * layers * keys_of(config) * tokens * rows * beams * width
    logits = rows * beams * config["vocab_size"] * 4 * 3
    return Part(
        name="cache",
        bytes=size + logits,
        reason=f"keys and values of {layers} layers, {beams} beams, {tokens} tokens",
    )
