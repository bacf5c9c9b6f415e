"""The layers of encoder-decoders, by `model_type`: as transformers 5.23 has them.

In: a config.json. Out: `Model` with the head that writes text, the only one that recipec trains.
tests/unit/plan/test_memory_weights.py holds every type against transformers' own modules.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipec.plan.memory.layers import (
    Config,
    Kind,
    Layer,
    Model,
    embedding,
    linear,
    norm,
    positions,
)


def t5(config: Config) -> Model:
    """T5, Flan-T5 and mT5."""
    words, hidden = config["vocab_size"], config["d_model"]
    layers = [embedding("shared", words, hidden)]
    layers += _t5_stack(config, "encoder", config["num_layers"])
    layers += _t5_stack(config, "decoder", config["num_decoder_layers"] or config["num_layers"])
    if not config["tie_word_embeddings"]:
        layers.append(linear("lm_head", hidden, words, bias=False))
    output = "shared" if config["tie_word_embeddings"] else "lm_head"
    return Model(layers=tuple(layers), prefix="", output=output)


def is_gated(config: Config) -> bool:
    """Whether a T5's feed-forward network has a gate, as since version 1.1."""
    return str(config["feed_forward_proj"]).startswith("gated")


def _t5_stack(config: Config, stack: str, count: int) -> Iterator[Layer]:
    hidden = config["d_model"]
    for number in range(count):
        at, first = f"{stack}.block.{number}.layer", number == 0
        yield from _t5_attention(config, f"{at}.0.SelfAttention", biased=first)
        yield norm(f"{at}.0.layer_norm", hidden, bias=False)
        last = 1
        if stack == "decoder":
            last = 2
            yield from _t5_attention(config, f"{at}.1.EncDecAttention", biased=False)
            yield norm(f"{at}.1.layer_norm", hidden, bias=False)
        inward = ("wi_0", "wi_1") if is_gated(config) else ("wi",)
        for name in inward:
            yield linear(f"{at}.{last}.DenseReluDense.{name}", hidden, config["d_ff"], bias=False)
        yield linear(f"{at}.{last}.DenseReluDense.wo", config["d_ff"], hidden, bias=False)
        yield norm(f"{at}.{last}.layer_norm", hidden, bias=False)
    yield norm(f"{stack}.final_layer_norm", hidden, bias=False)


def _t5_attention(config: Config, at: str, *, biased: bool) -> Iterator[Layer]:
    hidden, heads = config["d_model"], config["num_heads"]
    wide = heads * config["d_kv"]
    for name in "qkv":
        yield linear(f"{at}.{name}", hidden, wide, bias=False)
    yield linear(f"{at}.o", wide, hidden, bias=False)
    if biased:
        buckets = config["relative_attention_num_buckets"]
        yield positions(f"{at}.relative_attention_bias", buckets, heads)


_MORE_POSITIONS = {"bart": 2, "mbart": 2}
"""Rows of BART's position tables before the first position."""
_EMBEDDING_NORM = ("bart", "mbart")
_LAST_NORM = ("mbart", "pegasus")


def bart(config: Config) -> Model:
    """BART, mBART, Pegasus and Marian."""
    kind, hidden = config["model_type"], config["d_model"]
    words = config["vocab_size"]
    layers = [embedding("model.shared", words, hidden)]
    if not config["tie_word_embeddings"]:
        stacks = ("encoder", "decoder")
        layers += [embedding(f"model.{stack}.embed_tokens", words, hidden) for stack in stacks]
        layers += [linear("lm_head", hidden, words, bias=False)]
    rows = config["max_position_embeddings"] + _MORE_POSITIONS.get(kind, 0)
    for stack in ("encoder", "decoder"):
        kind_of_table: Kind = "positions" if kind in _MORE_POSITIONS else "sinusoids"
        layers += [Layer(f"model.{stack}.embed_positions", kind_of_table, (rows, hidden))]
        for number in range(config[f"{stack}_layers"]):
            layers += _bart_block(config, stack, f"model.{stack}.layers.{number}")
        if kind in _EMBEDDING_NORM:
            layers += [norm(f"model.{stack}.layernorm_embedding", hidden)]
        if kind in _LAST_NORM:
            layers += [norm(f"model.{stack}.layer_norm", hidden)]
    output = "model.shared" if config["tie_word_embeddings"] else "lm_head"
    return Model(layers=tuple(layers), prefix="model", output=output)


def _bart_block(config: Config, stack: str, at: str) -> Iterator[Layer]:
    hidden, inner = config["d_model"], config[f"{stack}_ffn_dim"]
    for attention in ("self_attn", "encoder_attn")[: 2 if stack == "decoder" else 1]:
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield linear(f"{at}.{attention}.{name}", hidden, hidden)
        yield norm(f"{at}.{attention}_layer_norm", hidden)
    yield linear(f"{at}.fc1", hidden, inner)
    yield linear(f"{at}.fc2", inner, hidden)
    yield norm(f"{at}.final_layer_norm", hidden)
