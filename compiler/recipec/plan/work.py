"""How much a run computes: floating-point operations by the model's own layers.

In: the layers of a model, lengths in tokens. Out: `Work`. A product of a matrix with one token is
two operations for each of its weights (Kaplan et al. 2020, arXiv:2001.08361, section 2.1), scores
and weighted values of attention are four for each element of its width and token looked at
(Narayanan et al. 2021, arXiv:2104.04473, appendix). Backward, gradients of inputs cost as much as
the forward pass, and gradients of weights as much again where weights are trained. Norms,
activations, the optimizer and unpacking quantised weights are left out. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from recipec.plan.lengths import Tokens
from recipec.plan.memory.layers import Config, Layer, Model

_WIDTH = ("hidden_size", "n_embd", "d_model", "dim")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "encoder_attention_heads", "n_heads")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "n_layers")
_DECODER_LAYERS = ("num_decoder_layers", "decoder_layers")
_TOP = ("num_experts_per_tok", "num_selected_experts")
_CROSS = (
    ".EncDecAttention.k",
    ".EncDecAttention.v",
    ".encoder_attn.k_proj",
    ".encoder_attn.v_proj",
)
"""Matrices of a decoder that read the encoder's output."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """FLOPs of one epoch of training, and of one pass over the same rows without gradients."""

    forward: float
    epoch: float
    per_token: float
    """Of `epoch`, for each token that is computed."""
    formula: str
    """How `epoch` follows from `forward`."""


def work_of(
    model: Model,
    config: Config,
    tokens: Tokens,
    *,
    trains_all: bool,
    trainable: int,
    checkpointing: bool,
) -> Work:
    """The work of one epoch; `trainable` weights are trained, of the model itself or beside it."""
    forward = _products(model, config, tokens) + _attention(config, tokens)
    passes = 2 + (1 if trains_all else 0) + (1 if checkpointing else 0)
    beside = 0 if trains_all else 6 * trainable * (tokens.source + tokens.target)
    said = ["forward", "gradients of inputs"]
    said += ["gradients of weights"] if trains_all else []
    said += ["forward again, for checkpointing"] if checkpointing else []
    formula = f"{passes} x forward ({', '.join(said)})"
    if beside:
        formula += f" + 6 x {trainable:,} trained weights x tokens"
    epoch = passes * forward + beside
    return Work(
        forward=forward,
        epoch=epoch,
        per_token=epoch / max(1.0, tokens.source + tokens.target),
        formula=formula,
    )


def _products(model: Model, config: Config, tokens: Tokens) -> float:
    """FLOPs of all products with matrices, forward."""
    return sum(
        2.0 * _weights(layer, model, config) * _tokens(layer, tokens) for layer in model.layers
    )


def _weights(layer: Layer, model: Model, config: Config) -> float:
    """Weights that one token is multiplied with."""
    if layer.kind == "experts":
        share = (config.get(*_TOP) or 1) / layer.shape[0]
        return float(prod(layer.shape) * share)
    if layer.kind in ("linear", "conv1d", "conv", "router") or layer.name == model.output:
        return float(prod(layer.shape))
    return 0.0


def _tokens(layer: Layer, tokens: Tokens) -> float:
    """Tokens that pass a layer: the encoder's, or those of all other layers."""
    if not tokens.target:
        return tokens.source
    encodes = layer.name.startswith(("encoder.", "model.encoder.")) or layer.name.endswith(_CROSS)
    return tokens.source if encodes else tokens.target


def _attention(config: Config, tokens: Tokens) -> float:
    """FLOPs of scores and weighted values, forward; what a mask hides is computed too."""
    heads, hidden = config.get(*_HEADS), config.get(*_WIDTH)
    width = heads * (config.get("head_dim", "d_kv") or hidden // heads)
    layers = config.get(*_LAYERS)
    found: float = 4.0 * layers * width * tokens.source * tokens.row
    if tokens.target:
        seen = tokens.target_row + tokens.row  # its own tokens, and the encoder's
        found += 4.0 * (config.get(*_DECODER_LAYERS) or layers) * width * tokens.target * seen
    return found


def matrices(model: Model) -> int:
    """Products with matrices in one forward pass: what a step takes at least depends on them."""
    return sum(layer.kind in ("linear", "conv1d", "router", "experts") for layer in model.layers)
