"""What autograd keeps of a forward pass, operation by operation.

In: the operations of a block, in the order in which transformers calls them. Out: the bytes of
every distinct tensor that is kept for the backward pass. No tensor is made: a `Value` has a size,
not a content. What an operation keeps is what its formula in PyTorch's
tools/autograd/derivatives.yaml names (`linear`: its input if the weight is trained; `softmax`: its
result; ...), and a tensor that two operations keep counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from recipec.plan.memory.settings import BYTES, MemorySettings
from recipec.plan.memory.tuned import Tuned


class Value(NamedTuple):
    """A tensor that an operation makes or takes."""

    number: int
    """Tensors that share their memory share their number."""
    elements: int
    width: int
    """Bytes of an element."""
    grad: bool
    """Whether a gradient flows back through it."""

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.elements * self.width


@dataclass
class Tape:
    """The operations of a forward pass and what they keep. Sizes are of the whole micro-batch."""

    tuned: Tuned
    settings: MemorySettings
    kept: dict[int | str, int] = field(default_factory=dict)
    """Bytes by tensor; by the layer's name for its weight in another type."""
    largest: int = 0
    """Bytes of the largest tensor that was made."""
    made: int = 0
    """Bytes of all tensors that were made, kept or not."""
    _next: int = 0

    @property
    def bytes(self) -> int:
        """All that is kept."""
        return sum(self.kept.values())

    @property
    def width(self) -> int:
        """Bytes of an element of the model's own type."""
        return BYTES[self.settings.dtype]

    @property
    def cuda(self) -> bool:
        """Whether it runs on a GPU."""
        return self.settings.device == "cuda"

    @property
    def mixed(self) -> bool:
        """Whether matrices are multiplied in 16 bits while the weights have 32."""
        return self.settings.mixed_precision != "none"

    def new(self, elements: int, *, grad: bool = True, width: int | None = None) -> Value:
        """Another tensor."""
        self._next += 1
        made = Value(self._next, elements, self.width if width is None else width, grad)
        self.largest = max(self.largest, made.bytes)
        self.made += made.bytes
        return made

    def keep(self, *values: Value) -> None:
        """These are needed in the backward pass."""
        self.kept |= {value.number: value.bytes for value in values}

    def cast(self, value: Value, width: int) -> Value:
        """In another type: a copy, or the same if it is of that type."""
        if value.width == width:
            return value
        return self.new(value.elements, grad=value.grad, width=width)

    def linear(self, value: Value, name: str) -> Value:
        """A linear layer with what the method put beside or behind it."""
        layer = self.tuned.by_name[name]
        inputs, outputs = layer.sides
        adapter = self.tuned.adapters.get(name)
        rows = value.elements // inputs
        taken = value
        if adapter is not None and adapter.scales == "input":
            taken = self._scaled(value)
        fed = self.cast(taken, 2) if self.mixed else taken
        if self.tuned.trains(name):
            self.keep(fed)
        if self.mixed and fed.grad and name not in self.tuned.quantized:
            self.kept[name] = 2 * layer.size  # the weight in 16 bits
        grad = fed.grad or self.tuned.trains(name)
        made = self.new(rows * outputs, grad=grad, width=fed.width)
        if adapter is None:
            return made
        if adapter.rank:
            made = self._low_rank(value, made, name, rows, adapter.dora, adapter.rank)
        if adapter.scales == "output":
            made = self._scaled(made)
        return self.behind(made, name)

    def _low_rank(
        self, value: Value, made: Value, name: str, rows: int, dora: bool, rank: int
    ) -> Value:
        """B(A(x)), added to the layer's result; A and B are float32 (peft's autocast)."""
        x = self.cast(value, 4) if not self.mixed else value
        if self.settings.method.dropout:
            x = self.dropout(x, self.settings.method.dropout)
        x = self.cast(x, 2) if self.mixed else x
        low = self.new(rows * rank, width=x.width)
        self.keep(x, low)
        update = self.new(made.elements, width=x.width)
        self.new(made.elements, width=x.width)  # times alpha / rank
        if dora:
            # peft/tuners/lora/dora.py: both products with the magnitude keep their other factor,
            # and B A is made as a whole matrix, by products with the identity
            layer = self.tuned.by_name[name]
            inputs, outputs = layer.sides
            eye, low = self.new(inputs * inputs, width=4), self.new(inputs * rank, width=4)
            lengths = self.new(3 * outputs, width=4)
            self.keep(self.new(made.elements, width=4), update, eye, low, lengths)
            if layer.kind == "conv1d":
                self.keep(self.new(inputs * outputs, width=4))  # turned
        return self.new(made.elements, width=made.width)

    def _scaled(self, value: Value) -> Value:
        """IA3: the product with a trained vector keeps the other factor."""
        self.keep(value)
        return self.new(value.elements, width=value.width)

    def behind(self, value: Value, name: str) -> Value:
        """The bottleneck behind a module, if there is one (recipec_runtime.bottleneck)."""
        adapter = self.tuned.adapters.get(name)
        if adapter is None or not adapter.behind:
            return value
        hidden = (adapter.size - adapter.behind) // (2 * adapter.behind + 1)
        x = self.dropout(value, self.settings.method.dropout)
        x = self.cast(x, 4)
        down = self.new(value.elements // hidden * adapter.behind, width=4)
        up = self.new(down.elements, width=4)
        self.keep(x, down, up)
        return self.new(value.elements, width=value.width)

    def dropout(self, value: Value, probability: float) -> Value:
        """Keeps its mask: as wide as the value on CPUs, a byte an element on GPUs."""
        if not probability:
            return value
        self.keep(self.new(value.elements, grad=False, width=1 if self.cuda else value.width))
        return self.new(value.elements, grad=value.grad, width=value.width)

    def layer_norm(self, value: Value, name: str) -> Value:
        """Keeps its input, and mean and deviation of each row."""
        if not value.grad and not self.tuned.trains(name):
            return self.new(value.elements, grad=False, width=value.width)
        size = self.tuned.by_name[name].shape[0]
        self.keep(value, self.new(2 * value.elements // size, width=4))
        return self.new(value.elements, width=value.width)

    def rms_norm(self, value: Value, name: str, *, both: bool = False) -> Value:
        """As transformers writes it out: the square and the product keep the input in float32.

        `both`: the product keeps it as it came (T5).
        """
        trains = self.tuned.trains(name)
        if not value.grad and not trains:
            return self.new(value.elements, grad=False, width=value.width)
        wide = self.cast(value, 4)
        size = self.tuned.by_name[name].shape[0]
        if value.grad:
            self.keep(wide, self.new(value.elements // size, width=4))
            if both:
                self.keep(value)
        scaled = self.new(value.elements, width=4)
        narrow = self.cast(scaled, value.width)
        if trains:
            self.keep(narrow)
        return self.new(value.elements, width=value.width)

    def add(self, value: Value, other: Value) -> Value:
        """Keeps nothing."""
        width = max(value.width, other.width)
        return self.new(value.elements, grad=value.grad or other.grad, width=width)

    def product(self, value: Value, other: Value) -> Value:
        """Keeps each factor for the other's gradient."""
        if other.grad:
            self.keep(value)
        if value.grad:
            self.keep(other)
        width = max(value.width, other.width)
        return self.new(value.elements, grad=value.grad or other.grad, width=width)

    def activation(self, value: Value, kind: str) -> Value:
        """The functions of transformers' ACT2FN, by their names in config.json."""
        made = self.new(value.elements, grad=value.grad, width=value.width)
        if not value.grad:
            return made
        if kind == "relu":
            self.keep(made)
        elif kind in ("gelu_new", "gelu_fast"):
            # written out with power and tanh: input, tanh, and both factors of the last product
            self.keep(value, *(self.new(value.elements, width=value.width) for _ in range(3)))
        elif kind == "quick_gelu":
            self.keep(value, self.new(value.elements, width=value.width))
        else:
            self.keep(value)
        return made


def fork(tape: Tape) -> Tape:
    """A tape of the same run with nothing on it."""
    return replace(tape, kept={}, largest=0, made=0)
