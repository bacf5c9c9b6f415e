"""Which weights a method trains, adds, copies and packs: the counts behind the bytes.

In: the layers of a model and the plan's method. Out: `Tuned`, which the activations ask about
single layers and the states about sums. The counts are those of `recipec_runtime.trainable` and of
peft 0.21, to the weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from recipec.catalog import support
from recipec.plan.memory.layers import Layer, Model, ends, is_head, meant
from recipec.plan.memory.settings import MemorySettings

_NEW_HEADS = ("question-answering", "sequence-classification", "token-classification")


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What stands beside one layer. Sizes are in elements."""

    rank: int = 0
    """Of a low-rank update."""
    dora: bool = False
    scales: str = ""
    """ia3: `input` or `output`."""
    behind: int = 0
    """Inner size of a bottleneck behind the layer."""
    size: int = 0
    """Trained elements."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A model and what a method makes of it."""

    model: Model
    trained: frozenset[str]
    """Names of the model's own parameters that are trained in place."""
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    """By the layer's name, or by the name of a module that is no layer."""
    copied: frozenset[str] = frozenset()
    """Layers of which a trained copy stands beside the frozen one (peft's modules_to_save)."""
    virtual: int = 0
    """Trained elements of prefix or prompt."""
    tokens: int = 0
    """Virtual tokens that every layer sees as keys (prefix) or that lengthen the text (prompt)."""
    quantized: frozenset[str] = frozenset()
    """Layers whose weight is packed."""

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """Every layer by its name."""
        return {layer.name: layer for layer in self.model.layers}

    @cached_property
    def own(self) -> int:
        """Elements of the model's own weights that are trained in place."""
        return sum(self.trained_of(layer) for layer in self.model.layers)

    @cached_property
    def copies(self) -> int:
        """Elements of the trained copies of whole layers."""
        return sum(self.by_name[name].size for name in self.copied)

    @cached_property
    def added(self) -> int:
        """Elements that the method adds and trains, copies left out."""
        return sum(adapter.size for adapter in self.adapters.values()) + self.virtual

    @property
    def trainable(self) -> int:
        """Trained elements."""
        return self.own + self.copies + self.added

    def trains(self, layer: str) -> bool:
        """Whether the layer's weight gets a gradient."""
        found = self.by_name[layer]
        return layer in self.copied or next(found.parameters())[0] in self.trained

    def trained_of(self, layer: Layer) -> int:
        """Elements of one of the model's layers that are trained in place."""
        names = [name for name, _ in layer.parameters()]
        if all(name in self.trained for name in names):
            return layer.size
        return sum(
            layer.size - layer.bias if name == names[0] else layer.bias
            for name in names
            if name in self.trained
        )


def tune(model: Model, settings: MemorySettings, *, model_type: str, shape: Shape) -> Tuned:
    """The model with the method's weights."""
    method = settings.method
    everything = {
        name
        for layer in model.layers
        if layer.kind != "sinusoids"
        for name, _ in layer.parameters()
    }
    new = _new_layers(model, settings)
    if method.type == "full":
        return Tuned(model=model, trained=frozenset(everything - meant(model, method.freeze)))
    if method.type == "layernorm":
        chosen = meant(model, ("norms", *method.also_train)) | _parameters(model, new)
        return Tuned(model=model, trained=frozenset(chosen - meant(model, method.freeze)))
    if method.type == "bottleneck":
        chosen = meant(model, method.also_train) | _parameters(model, new)
        return Tuned(
            model=model,
            trained=frozenset(chosen),
            adapters=dict(_bottlenecks(model, settings, shape)),
        )
    also = meant(model, method.also_train)
    copied = {layer.name for layer in model.layers if also & {n for n, _ in layer.parameters()}}
    more = {
        "lora": _low_rank,
        "qlora": _low_rank,
        "ia3": _scales,
    }
    adapters = dict(more[method.type](model, settings)) if method.type in more else {}
    return Tuned(
        model=model,
        trained=frozenset(),
        adapters=adapters,
        copied=frozenset(copied | new),
        virtual=_virtual(settings, shape),
        tokens=method.virtual_tokens if method.type in ("prefix", "prompt") else 0,
        quantized=frozenset(_packed(model, model_type)) if method.quantization else frozenset(),
    )


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes that adapters are made after."""

    hidden: int
    embedding: int
    """Elements of a token's embedding."""
    layers: int
    """Of one stack: that of the decoder in an encoder-decoder."""
    keys: int
    """Elements of all key heads of a token, as peft reckons them."""


def _parameters(model: Model, layers: set[str]) -> set[str]:
    return {
        name for layer in model.layers if layer.name in layers for name, _ in layer.parameters()
    }


def _new_layers(model: Model, settings: MemorySettings) -> set[str]:
    """Layers that the model's files lack: a task's new head, and a pooler below it."""
    if settings.head not in _NEW_HEADS:
        return set()
    return {
        layer.name
        for layer in model.layers
        if is_head(model, layer) or layer.name.endswith("pooler.dense")
    }


def _low_rank(model: Model, settings: MemorySettings) -> Iterator[tuple[str, Adapter]]:
    method = settings.method
    targets = method.target_modules
    for layer in model.layers:
        if layer.kind == "experts" and ends(layer.name, method.target_parameters):
            count, wide, narrow = layer.shape
            rank = _rank(layer.name, settings)
            size = rank * count * (wide + narrow)
            yield layer.name, Adapter(rank=rank, size=size)
        elif layer.kind in ("linear", "conv1d") and (
            ends(layer.name, targets) if targets else not is_head(model, layer)
        ):
            rank, (inputs, outputs) = _rank(layer.name, settings), layer.sides
            size = rank * (inputs + outputs) + (outputs if method.dora else 0)
            yield layer.name, Adapter(rank=rank, dora=method.dora, size=size)


def _rank(name: str, settings: MemorySettings) -> int:
    """The rank of a layer, as peft's `rank_pattern` gives it."""
    for pattern, rank in settings.method.ranks:
        if re.match(rf"(.*\.)?({pattern})$", name):
            return rank
    return settings.method.rank


def _scales(model: Model, settings: MemorySettings) -> Iterator[tuple[str, Adapter]]:
    method = settings.method
    for layer in model.layers:
        if layer.kind in ("linear", "conv1d") and ends(layer.name, method.target_modules):
            inputs, outputs = layer.sides
            if ends(layer.name, method.feedforward_modules):
                yield layer.name, Adapter(scales="input", size=inputs)
            else:
                yield layer.name, Adapter(scales="output", size=outputs)


def _bottlenecks(
    model: Model, settings: MemorySettings, shape: Shape
) -> Iterator[tuple[str, Adapter]]:
    method = settings.method
    inner = max(1, shape.hidden // method.reduction_factor)
    size = 2 * shape.hidden * inner + inner + shape.hidden
    modules = {
        layer.name.rsplit(".", part)[0]
        for layer in model.layers
        for part in range(layer.name.count("."))
    } | {layer.name for layer in model.layers}
    for name in sorted(modules):
        if any(re.search(pattern, name) for pattern in method.adapted_layers):
            yield name, Adapter(behind=inner, size=size)


def _virtual(settings: MemorySettings, shape: Shape) -> int:
    method, tokens = settings.method, settings.method.virtual_tokens
    if method.type == "prompt":
        return tokens * shape.embedding
    if method.type != "prefix":
        return 0
    wide = 2 * shape.layers * shape.keys
    if not method.projection:
        return tokens * wide
    # a table, and two linear layers (peft/tuners/prefix_tuning/model.py)
    size = shape.keys
    return tokens * size + (size + 1) * size + (size + 1) * wide


def _packed(model: Model, model_type: str) -> Iterator[str]:
    """Linear layers that bitsandbytes packs: all but those that `not_quantized` names.

    transformers matches the names as prefixes, as expressions from the start, and as suffixes
    (quantizers/quantizers_utils.py, should_convert_module).
    """
    names = support.models().get(model_type)
    heads = names.heads.values() if names else ()
    kept = {"lm_head", "pooler.dense", *(name for head in heads for name in head)}
    for layer in model.layers:
        if layer.kind in ("linear", "conv1d") and not any(
            re.match(rf"{name}\.", layer.name)
            or re.match(name, layer.name)
            or layer.name.endswith(name)
            for name in kept
        ):
            yield layer.name
