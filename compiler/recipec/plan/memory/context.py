"""What every block of a model shares: batch, config, tape, and ways of attention.

In: values on a `Tape`. Out: values. It knows no architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from recipec.plan.memory.attention import Attention, attend
from recipec.plan.memory.layers import Config
from recipec.plan.memory.tape import Tape, Value

DROPOUTS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "dropout",
    "dropout_rate",
    "embd_pdrop",
    "hidden_dropout_prob",
    "resid_pdrop",
)
"""What architecture.dropout sets, as recipec_runtime.modeling.set_dropout does."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows and lengths of a forward pass. Lengths are in tokens of a row."""

    rows: int
    length: int
    """Of the stack that the block is in."""
    other: int = 0
    """Of the encoder's text, which a decoder's block of an encoder-decoder looks at."""
    masked: bool = True
    prefix: int = 0
    """Virtual tokens among the keys."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every block of a model shares."""

    tape: Tape
    config: Config
    batch: Batch

    def probability(self, key: str) -> float:
        """A dropout of the config, or what the recipe put in its place."""
        own = self.config[key]
        given = self.tape.settings.dropout
        if given is not None and key in DROPOUTS and own is not None:
            return given
        return float(own or 0.0)

    def attention(self, **more: Any) -> Attention:
        """Self-attention over the batch."""
        batch = self.batch
        shape = {"rows": batch.rows, "queries": batch.length, "masked": batch.masked}
        return Attention(**{**shape, "keys": batch.length + batch.prefix, **more})

    def self_attention(self, value: Value, names: tuple[str, str, str], **more: Any) -> Value:
        """Three linear layers and attention."""
        tape = self.tape
        query, key, found = (tape.linear(value, name) for name in names)
        return attend(
            tape, query, self.kept_keys(key), self.kept_keys(found), self.attention(**more)
        )

    def kept_keys(self, value: Value) -> Value:
        """Keys or values with the virtual ones before them."""
        prefix = self.batch.prefix
        if not prefix:
            return value
        longer = value.elements * (self.batch.length + prefix) // self.batch.length
        return self.tape.new(longer, width=value.width)

    def split(self, value: Value, parts: int) -> list[Value]:
        """Views of one tensor: they share its memory."""
        return [value._replace(elements=value.elements // parts) for _ in range(parts)]


Block = Callable[[Context, int, Value], Value]


def gate(tape: Tape, one: Value, two: Value, both: Value, kind: str) -> Value:
    """act(one) * two, where both are halves of one tensor."""
    made = tape.activation(one, kind)
    found = tape.product(made, two)
    if both.grad:
        tape.keep(both)
    return found


def fused_attention(context: Context, fused: Value, **more: Any) -> Value:
    """Attention over queries, keys and values that one layer made: a fused kernel keeps it once."""
    tape, size = context.tape, fused.elements // 3
    shape = context.attention(**more)
    query, key, value = (fused._replace(elements=size) for _ in range(3))
    made = attend(tape, query, context.kept_keys(key), context.kept_keys(value), shape)
    if fused.number in tape.kept:
        tape.kept[fused.number] = fused.bytes  # a view keeps the whole
    return made


def turned_attention(context: Context, fused: Value, **more: Any) -> Value:
    """The same where queries and keys are turned by their positions, which makes them new."""
    tape, size = context.tape, fused.elements // 3
    query, key = (tape.new(size, grad=fused.grad, width=fused.width) for _ in range(2))
    value = fused._replace(elements=size)
    shape = context.attention(**more)
    made = attend(tape, query, context.kept_keys(key), context.kept_keys(value), shape)
    if fused.number in tape.kept:
        tape.kept[fused.number] = fused.bytes  # a view keeps the whole
    return made


def crossing(context: Context, shape: Attention) -> Attention:
    """The same over the encoder's text."""
    return replace(shape, keys=context.batch.other + context.batch.prefix)
