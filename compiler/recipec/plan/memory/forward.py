"""What a forward pass of a whole model keeps, and what its loss takes.

In: a config, the tuned model and the settings. Out: `Forward`: bytes by part. Blocks that are alike
are gone through once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from recipec.plan.memory import decoders
from recipec.plan.memory.blocks import BLOCKS
from recipec.plan.memory.context import Batch, Block, Context
from recipec.plan.memory.layers import Config
from recipec.plan.memory.settings import MemorySettings
from recipec.plan.memory.tape import Tape, Value, fork
from recipec.plan.memory.tuned import Tuned

_HIDDEN = ("n_embd", "d_model", "dim", "hidden_size")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
_DECODER_LAYERS = ("num_decoder_layers", "decoder_layers", "num_layers")


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Bytes of one micro-batch."""

    blocks: int
    """What all blocks keep; with checkpointing, their inputs."""
    block: int
    """What the largest block keeps."""
    ends: int
    """What embeddings and head keep."""
    largest: int
    """The largest tensor of a block."""
    logits: int
    """Of the vocabulary, in the type they are computed in; 0 for other heads."""
    made: int
    """Kept tensors, in number."""
    dropped: int
    """What the blocks made and did not keep."""
    made_bytes: int
    """What they made, kept or not."""


def hidden_size(config: Config) -> int:
    """Elements of a token between the blocks."""
    return int(config.get(*_HIDDEN))


def number_of_layers(config: Config, *, decoder: bool = False) -> int:
    """Blocks of the model, or of its decoder."""
    return int(config.get(*(_DECODER_LAYERS if decoder else _LAYERS)))


def forward(config: Config, tuned: Tuned, settings: MemorySettings, *, rows: int) -> Forward:
    """A forward pass over `rows` rows of the longest length, with gradients."""
    tape = Tape(tuned=tuned, settings=settings)
    stacks = BLOCKS[config["model_type"]]
    prompt = tuned.tokens if settings.method.type == "prompt" else 0
    prefix = tuned.tokens if settings.method.type == "prefix" else 0
    length, target = settings.length + prompt, settings.target_length
    masked = rows > 1
    if settings.packing:
        rows, length = 1, rows * length  # end to end, with a mask that keeps the texts apart
    batches = [Batch(rows=rows, length=length, masked=masked, prefix=prefix)]
    if len(stacks) > 1:
        batches.append(Batch(rows=rows, length=target, other=length, masked=masked, prefix=prefix))
    hidden = hidden_size(config)
    kept, block, largest, made, dropped, total = [], 0, 0, 0, 0, 0
    for number, (stack, batch) in enumerate(zip(stacks, batches, strict=True)):
        value = tape.new(batch.rows * batch.length * hidden, grad=_embeds(tuned, prompt))
        count = number_of_layers(config, decoder=bool(number))
        sizes = _stack(Context(tape=tape, config=config, batch=batch), stack, count, value)
        inputs = value.bytes * count
        whole = sum(size for size, _, _, _ in sizes)
        total += whole
        kept.append(inputs if settings.gradient_checkpointing else whole)
        block = max(block, *(size for size, _, _, _ in sizes))
        largest = max(largest, *(size for _, size, _, _ in sizes))
        made += sum(count for _, _, count, _ in sizes)
        dropped += sum(size for _, _, _, size in sizes)
    last = batches[-1]
    tokens = last.rows * last.length
    logits = _logits(config, tuned, settings, tokens)
    # Gemma 2 divides the logits, keeps their tanh and multiplies it
    capped = logits if config["final_logit_softcapping"] else 0
    dropped += 2 * capped
    return Forward(
        blocks=sum(kept),
        block=block,
        ends=_ends(config, tape, settings, tokens, batches) + capped,
        largest=largest,
        logits=logits,
        made=made,
        dropped=dropped,
        made_bytes=dropped + total,
    )


def _embeds(tuned: Tuned, prompt: int) -> bool:
    """Whether a gradient flows back to the embeddings."""
    return prompt > 0 or any(
        tuned.trains(layer.name)
        for layer in tuned.model.layers
        if layer.kind in ("embedding", "positions")
    )


def _stack(
    context: Context, block: Block, count: int, value: Value
) -> list[tuple[int, int, int, int]]:
    """Bytes kept by each block, its largest tensor, and how many tensors it keeps."""
    sizes: list[tuple[int, int, int, int]] = []
    alike = _alike(context)
    for number in range(count):
        if number > 2 and alike:
            sizes += [sizes[-1]] * (count - number)
            break
        tape = fork(context.tape)
        made = block(replace(context, tape=tape), number, value)
        tape.kept.pop(0, None)
        sizes.append((tape.bytes, tape.largest, len(tape.kept), max(0, tape.made - tape.bytes)))
        value = _carried(tape, made)
    return sizes


def _carried(tape: Tape, value: Value) -> Value:
    """The value as the next block's input, whose tape is another."""
    return tape.new(value.elements, grad=value.grad, width=value.width)


def _alike(context: Context) -> bool:
    """Whether all blocks but the first three are like the third."""
    method = context.tape.settings.method
    config = context.config
    named = any(word not in _SAME for word in (*method.also_train, *method.freeze))
    mixed = bool(config["mlp_only_layers"]) or int(config["decoder_sparse_step"] or 1) > 1
    return not (named or mixed or method.ranks)


_SAME = ("head", "norms", "embeddings", "positions", "gates")


def _ends(
    config: Config, tape: Tape, settings: MemorySettings, tokens: int, batches: list[Batch]
) -> int:
    """Norms and dropout behind the embeddings, the last norm, and a head's own layers."""
    hidden, width = hidden_size(config), tape.width
    each = 0
    for batch in batches:
        size = batch.rows * batch.length * hidden * width
        each += 3 * size  # the embeddings' norm and dropout, the last norm
        each += 2 * 8 * batch.rows * batch.length  # the tokens' numbers
        if batch.masked or settings.attention == "eager":
            each += batch.rows * batch.length**2 * width
    if settings.head == "masked-lm":
        each += 3 * tokens * hidden * width
    return each


def _logits(config: Config, tuned: Tuned, settings: MemorySettings, tokens: int) -> int:
    if not tuned.model.output:
        return 0
    width = 2 if settings.mixed_precision != "none" else 4
    if settings.dtype != "float32":
        width = 2
    return int(tokens * config["vocab_size"] * width)


def prefix_size(config: Config) -> int:
    """Elements of a virtual key or value (peft/utils/other.py, _prepare_prompt_learning_config)."""
    return keys_of(config) if config["num_key_value_heads"] else hidden_size(config)


def keys_of(config: Config) -> int:
    """Elements of all key heads of a token, in one layer."""
    heads = config.get("num_key_value_heads", "num_attention_heads", "n_head", "n_heads")
    if config["d_kv"]:
        return int(config["num_heads"] * config["d_kv"])
    if config["num_key_value_heads"]:
        return int(heads * decoders.head_size(config))
    return hidden_size(config)
