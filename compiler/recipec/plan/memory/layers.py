"""The layers of a model: names, shapes and kinds, and what of them a recipe's words mean.

In: what `encoders`, `decoders` and `seq2seq` list. Out: parameters by name, as transformers names
them. It knows no architecture and opens no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple

Kind = Literal[
    "linear",
    "conv1d",
    "conv",
    "norm",
    "embedding",
    "positions",
    "sinusoids",
    "router",
    "experts",
    "bare",
]
"""What a layer is: `linear` and `conv1d` (GPT-2's, whose weight lies transposed) are matrices that
adapters may stand beside; `sinusoids` are positions that are never trained; `experts` is one fused
parameter of all experts; `bare` a lone vector."""


class Layer(NamedTuple):
    """A module with weights of its own, or (`experts`, `bare`) a lone parameter."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    """Of `weight`, as torch holds it: (outputs, inputs) of a linear layer."""
    bias: int = 0
    """Elements of `bias`; 0 for none."""

    @property
    def size(self) -> int:
        """Elements of the layer's parameters."""
        return prod(self.shape) + self.bias

    @property
    def sides(self) -> tuple[int, int]:
        """Inputs and outputs of a matrix."""
        if self.kind == "conv1d":
            return self.shape[0], self.shape[1]
        return self.shape[-1], self.shape[-2]

    def parameters(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the layer's parameters."""
        if self.kind in ("experts", "bare"):
            yield self.name, self.shape
            return
        yield f"{self.name}.weight", self.shape
        if self.bias:
            yield f"{self.name}.bias", (self.bias,)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Every layer of a model with its head; what shares another layer's weights is left out."""

    layers: tuple[Layer, ...]
    prefix: str
    """The name of the model below its head, which is no head; "" where the base has no name."""
    output: str = ""
    """The layer that makes the logits of a vocabulary, which may be an embedding; "" for others."""

    @property
    def size(self) -> int:
        """Elements of all parameters, shared ones counted once."""
        return sum(layer.size for layer in self.layers)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape by its name."""
        return {name: shape for layer in self.layers for name, shape in layer.parameters()}


class Config:
    """A config.json with the defaults of its type, which transformers fills in too."""

    def __init__(self, values: Mapping[str, object], defaults: Mapping[str, object]) -> None:
        """`values` are config.json's."""
        self._values, self._defaults = values, defaults

    def __getitem__(self, key: str) -> Any:
        """The value, or the type's default where config.json has none or null."""
        found = self._values.get(key)
        return self._defaults.get(key) if found is None else found

    def get(self, *keys: str) -> Any:
        """The first of the keys that has a value."""
        return next((self[key] for key in keys if self[key] is not None), None)


def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Layer:
    """A linear layer."""
    return Layer(name, "linear", (outputs, inputs), outputs if bias else 0)


def norm(name: str, size: int, *, bias: bool = True) -> Layer:
    """A normalisation layer; `bias` is False for those that only scale."""
    return Layer(name, "norm", (size,), size if bias else 0)


def embedding(name: str, rows: int, size: int) -> Layer:
    """An embedding of tokens or token types."""
    return Layer(name, "embedding", (rows, size))


def positions(name: str, rows: int, size: int) -> Layer:
    """A table of trained positions or relative biases."""
    return Layer(name, "positions", (rows, size))


def ends(name: str, words: Iterable[str]) -> bool:
    """Whether a module's name is one of the words or ends with one, as peft matches names."""
    return any(name == word or name.endswith(f".{word}") for word in words)


def meant(model: Model, words: Sequence[str]) -> set[str]:
    """Names of the parameters that roles or regular expressions mean.

    As `recipec_runtime.trainable.matching` finds them in the module tree.
    """
    return {name for word in words for name in _matching(model, word)}


_ROLES = {
    "norms": ("norm",),
    "embeddings": ("embedding",),
    "positions": ("positions", "sinusoids"),
}
_GATES = ("gate", "router", "shared_expert_gate")


def _matching(model: Model, word: str) -> Iterator[str]:
    for layer in model.layers:
        if word == "head":
            found = layer.name == model.output if model.output else is_head(model, layer)
        elif word == "gates":
            found = layer.kind == "router" or not {*_GATES}.isdisjoint(layer.name.split("."))
        elif word in _ROLES:
            found = layer.kind in _ROLES[word]
        else:
            yield from (name for name, _ in layer.parameters() if re.search(word, name))
            continue
        if found:
            yield from (name for name, _ in layer.parameters())


def is_head(model: Model, layer: Layer) -> bool:
    """Whether a layer stands beside the base model: a task's head."""
    return bool(model.prefix) and not layer.name.startswith(f"{model.prefix}.")
