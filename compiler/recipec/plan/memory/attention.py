"""What attention keeps for the backward pass, by implementation.

In: queries, keys and values on a `Tape`. Out: the context. Written out (`eager`) it keeps the
matrix of probabilities, rows x heads x queries x keys; a fused kernel keeps what it was given, its
result and a number per query and head (Dao et al. 2022, FlashAttention, arXiv:2205.14135, section
3.1), and computes the matrix again.
"""

from __future__ import annotations

from dataclasses import dataclass

from recipec.plan.memory.tape import Tape, Value

FUSED = (
    "flex_attention",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
)


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One attention of a block."""

    rows: int
    heads: int
    queries: int
    """Tokens of a row that ask."""
    keys: int
    """Tokens of a row that are asked, virtual ones among them."""
    dropout: float = 0.0
    masked: bool = True
    """Whether a mask is passed: texts of a batch differ in length."""
    bias: bool = False
    """Whether a relative bias of each head is added to the scores (T5)."""
    bias_grad: bool = False
    softcap: bool = False
    upcast: bool = False
    """Whether the softmax is computed in float32."""
    copied: bool = False
    """Whether a fused kernel's result must be copied into the layout that comes next."""
    grouped: int = 1
    """Query heads to a key head."""

    @property
    def scores(self) -> int:
        """Elements of the matrix of probabilities."""
        return self.rows * self.heads * self.queries * self.keys


def attend(tape: Tape, query: Value, key: Value, value: Value, shape: Attention) -> Value:
    """Attention by the run's implementation; the context, as large as the queries."""
    name = tape.settings.attention
    grad = query.grad or key.grad or value.grad
    if not grad:
        return tape.new(query.elements, grad=False, width=query.width)
    written = name == "eager" or (
        # torch/aten/native/transformers: the CPU's fused kernel has neither dropout nor a mask
        # with a gradient; sdpa then falls back to plain matrix products
        name == "sdpa" and not tape.cuda and (shape.dropout > 0 or shape.bias_grad)
    )
    if shape.grouped > 1 and (written or name == "sdpa") and (shape.masked or name == "eager"):
        # integrations/sdpa_attention.py: with a mask, keys and values are repeated for every head
        key = tape.new(key.elements * shape.grouped, grad=key.grad, width=key.width)
        value = tape.new(value.elements * shape.grouped, grad=value.grad, width=value.width)
    return (
        _written(tape, query, key, value, shape)
        if written
        else _fused(tape, query, key, value, shape)
    )


def _written(tape: Tape, query: Value, key: Value, value: Value, shape: Attention) -> Value:
    scores = shape.scores
    grad = query.grad or key.grad or shape.bias_grad
    # sdpa's own plain products are in float32 throughout
    width = query.width if tape.settings.attention == "eager" else 4
    if key.grad:
        tape.keep(tape.new(query.elements, width=width))  # a copy in the product's layout
    if query.grad:
        tape.keep(tape.new(key.elements, width=width))
    if grad and shape.softcap:
        tape.keep(tape.new(scores, width=width))  # the result of tanh
    # made on the way: product, scale, mask; a soft cap divides and multiplies; sdpa adds in place
    eager = 5 if shape.softcap else 3
    for _ in range(eager if tape.settings.attention == "eager" else 2):
        tape.new(scores, width=width)
    wide = tape.new(scores, width=4 if shape.upcast else width, grad=grad)
    if grad:
        tape.keep(wide)
    found = tape.cast(wide, width)
    if shape.dropout:
        found = tape.dropout(found, shape.dropout)
    if value.grad:
        tape.keep(found)
    if grad:
        tape.keep(tape.new(value.elements, width=width))
    return tape.new(query.elements, width=value.width)


def _fused(tape: Tape, query: Value, key: Value, value: Value, shape: Attention) -> Value:
    made = tape.new(query.elements, width=query.width)
    tape.keep(query, key, value, made)
    tape.keep(tape.new(shape.rows * shape.heads * shape.queries, width=4))
    if tape.settings.attention == "sdpa" and (shape.masked or shape.bias):
        each = shape.heads if shape.bias else 1
        rows = shape.rows if shape.masked else 1
        size = rows * each * shape.queries * shape.keys
        tape.keep(tape.new(size, grad=False, width=query.width))
    return tape.new(made.elements, width=made.width) if shape.copied else made
