"""The layers of decoders, by `model_type`: names and shapes as transformers 5.23 has them.

In: a config.json and the kind of head. Out: `Model`. tests/unit/plan/test_memory_weights.py holds
every type and head against transformers' own modules, name by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipec.plan.memory.encoders import Head
from recipec.plan.memory.layers import (
    Config,
    Layer,
    Model,
    embedding,
    linear,
    norm,
    positions,
)

SCORES = ("score", False)
"""The head of most decoders for a label a row: no bias."""


def _model(
    config: Config,
    head: Head,
    labels: int,
    *,
    prefix: str,
    base: list[Layer],
    words: str,
    tagger: tuple[str, bool] = ("score", True),
    bias: bool = False,
    inputs: int | None = None,
) -> Model:
    """Base and head together; `words` is the embedding, `tagger` the head for tokens."""
    hidden = inputs or config.get("n_embd", "hidden_size")
    output, layers = "", list(base)
    if head == "causal-lm":
        output = words
        if not config["tie_word_embeddings"]:
            output = "lm_head"
            layers.append(linear(output, hidden, config["vocab_size"], bias=bias))
        elif bias:
            layers.append(Layer("lm_head.bias", "bare", (config["vocab_size"],)))
    elif head == "sequence-classification":
        layers.append(linear(SCORES[0], hidden, labels, bias=SCORES[1]))
    else:
        layers.append(linear(tagger[0], hidden, labels, bias=tagger[1]))
    return Model(layers=tuple(layers), prefix=prefix, output=output)


def gpt2(config: Config, head: Head, labels: int) -> Model:
    """GPT-2."""
    hidden = config["n_embd"]
    inner = config["n_inner"] or 4 * hidden
    base = [
        embedding("transformer.wte", config["vocab_size"], hidden),
        positions("transformer.wpe", config["n_positions"], hidden),
    ]
    for number in range(config["n_layer"]):
        at = f"transformer.h.{number}"
        base += [norm(f"{at}.ln_1", hidden), _conv1d(f"{at}.attn.c_attn", hidden, 3 * hidden)]
        base += [_conv1d(f"{at}.attn.c_proj", hidden, hidden), norm(f"{at}.ln_2", hidden)]
        base += [_conv1d(f"{at}.mlp.c_fc", hidden, inner)]
        base += [_conv1d(f"{at}.mlp.c_proj", inner, hidden)]
    base += [norm("transformer.ln_f", hidden)]
    return _model(
        config,
        head,
        labels,
        prefix="transformer",
        base=base,
        words="transformer.wte",
        tagger=("classifier", True),
    )


def _conv1d(name: str, inputs: int, outputs: int) -> Layer:
    return Layer(name, "conv1d", (inputs, outputs), outputs)


def gpt_neox(config: Config, head: Head, labels: int) -> Model:
    """GPT-NeoX and Pythia."""
    hidden, inner, bias = (
        config["hidden_size"],
        config["intermediate_size"],
        config["attention_bias"],
    )
    base = [embedding("gpt_neox.embed_in", config["vocab_size"], hidden)]
    for number in range(config["num_hidden_layers"]):
        at = f"gpt_neox.layers.{number}"
        base += [norm(f"{at}.input_layernorm", hidden)]
        base += [norm(f"{at}.post_attention_layernorm", hidden)]
        base += [linear(f"{at}.attention.query_key_value", hidden, 3 * hidden, bias=bias)]
        base += [linear(f"{at}.attention.dense", hidden, hidden, bias=bias)]
        base += [linear(f"{at}.mlp.dense_h_to_4h", hidden, inner)]
        base += [linear(f"{at}.mlp.dense_4h_to_h", inner, hidden)]
    base += [norm("gpt_neox.final_layer_norm", hidden)]
    return _model(
        config,
        head,
        labels,
        prefix="gpt_neox",
        base=base,
        words="gpt_neox.embed_in",
        tagger=("classifier", True),
    )


def bloom(config: Config, head: Head, labels: int) -> Model:
    """BLOOM."""
    hidden = config["hidden_size"]
    base = [
        embedding("transformer.word_embeddings", config["vocab_size"], hidden),
        norm("transformer.word_embeddings_layernorm", hidden),
    ]
    for number in range(config["n_layer"]):
        at = f"transformer.h.{number}"
        base += [norm(f"{at}.input_layernorm", hidden)]
        base += [linear(f"{at}.self_attention.query_key_value", hidden, 3 * hidden)]
        base += [linear(f"{at}.self_attention.dense", hidden, hidden)]
        base += [norm(f"{at}.post_attention_layernorm", hidden)]
        base += [linear(f"{at}.mlp.dense_h_to_4h", hidden, 4 * hidden)]
        base += [linear(f"{at}.mlp.dense_4h_to_h", 4 * hidden, hidden)]
    base += [norm("transformer.ln_f", hidden)]
    return _model(
        config,
        head,
        labels,
        prefix="transformer",
        base=base,
        words="transformer.word_embeddings",
        tagger=("classifier", True),
    )


def opt(config: Config, head: Head, labels: int) -> Model:
    """OPT."""
    hidden, inner, bias = config["hidden_size"], config["ffn_dim"], config["enable_bias"]
    size = config["word_embed_proj_dim"] or hidden
    scaled = config["layer_norm_elementwise_affine"]
    base = [
        embedding("model.decoder.embed_tokens", config["vocab_size"], size),
        positions("model.decoder.embed_positions", config["max_position_embeddings"] + 2, hidden),
    ]
    if size != hidden:
        base += [linear("model.decoder.project_out", hidden, size, bias=False)]
        base += [linear("model.decoder.project_in", size, hidden, bias=False)]
    if config["do_layer_norm_before"] and not config["_remove_final_layer_norm"] and scaled:
        base += [norm("model.decoder.final_layer_norm", hidden)]
    for number in range(config["num_hidden_layers"]):
        at = f"model.decoder.layers.{number}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            base += [linear(f"{at}.self_attn.{name}", hidden, hidden, bias=bias)]
        base += [linear(f"{at}.fc1", hidden, inner, bias=bias)]
        base += [linear(f"{at}.fc2", inner, hidden, bias=bias)]
        if scaled:
            base += [norm(f"{at}.self_attn_layer_norm", hidden)]
            base += [norm(f"{at}.final_layer_norm", hidden)]
    return _model(
        config,
        head,
        labels,
        prefix="model",
        base=base,
        words="model.decoder.embed_tokens",
        inputs=size,
    )


_BIASED = {"qwen2": ("q_proj", "k_proj", "v_proj"), "phi": ("q_proj", "k_proj", "v_proj")}
_EXTRA_NORMS = ("gemma2", "gemma3_text")
_HEAD_NORMS = ("qwen3", "qwen3_moe", "gemma3_text")


def llama(config: Config, head: Head, labels: int) -> Model:
    """Llama and its kin: Mistral, Mixtral, Qwen, Gemma, Phi."""
    kind, hidden = config["model_type"], config["hidden_size"]
    biased = kind == "phi"
    base = [embedding("model.embed_tokens", config["vocab_size"], hidden)]
    for number in range(config["num_hidden_layers"]):
        at = f"model.layers.{number}"
        base += _attention(config, f"{at}.self_attn")
        base += _experts(config, f"{at}.mlp") if is_sparse(config, number) else _dense(config, at)
        base += [norm(f"{at}.input_layernorm", hidden, bias=biased)]
        names: tuple[str, ...] = () if biased else ("post_attention_layernorm",)
        if kind in _EXTRA_NORMS:
            names += ("pre_feedforward_layernorm", "post_feedforward_layernorm")
        base += [norm(f"{at}.{name}", hidden, bias=False) for name in names]
    base += [norm("model.final_layernorm" if biased else "model.norm", hidden, bias=biased)]
    words = "model.embed_tokens"
    return _model(config, head, labels, prefix="model", base=base, words=words, bias=biased)


def head_size(config: Config) -> int:
    """Elements of one attention head's query."""
    if config["model_type"] not in ("phi", "phi3") and config["head_dim"]:
        return int(config["head_dim"])
    return int(config["hidden_size"] // config["num_attention_heads"])


def _attention(config: Config, at: str) -> Iterator[Layer]:
    kind, hidden, size = config["model_type"], config["hidden_size"], head_size(config)
    heads = config["num_attention_heads"]
    keys = config["num_key_value_heads"] or heads
    if kind == "phi3":
        yield linear(f"{at}.o_proj", heads * size, hidden, bias=False)
        yield linear(f"{at}.qkv_proj", hidden, (heads + 2 * keys) * size, bias=False)
        return
    outward = bool(config["attention_bias"]) or kind == "phi"
    inward = outward or kind == "qwen2" or bool(config["qkv_bias"])
    for name, count in (("q_proj", heads), ("k_proj", keys), ("v_proj", keys)):
        yield linear(f"{at}.{name}", hidden, count * size, bias=inward)
    last = "dense" if kind == "phi" else "o_proj"
    yield linear(f"{at}.{last}", heads * size, hidden, bias=outward)
    if kind in _HEAD_NORMS:
        yield norm(f"{at}.q_norm", size, bias=False)
        yield norm(f"{at}.k_norm", size, bias=False)
    if kind == "phi" and config["qk_layernorm"]:
        yield norm(f"{at}.q_layernorm", size)
        yield norm(f"{at}.k_layernorm", size)


def _dense(config: Config, at: str) -> Iterator[Layer]:
    kind, hidden, inner = config["model_type"], config["hidden_size"], config["intermediate_size"]
    bias = bool(config["mlp_bias"])
    if kind == "phi":
        yield linear(f"{at}.mlp.fc1", hidden, inner)
        yield linear(f"{at}.mlp.fc2", inner, hidden)
    elif kind == "phi3":
        yield linear(f"{at}.mlp.gate_up_proj", hidden, 2 * inner, bias=False)
        yield linear(f"{at}.mlp.down_proj", inner, hidden, bias=False)
    else:
        yield from _gated(f"{at}.mlp", hidden, inner, bias=bias)


def _gated(at: str, hidden: int, inner: int, *, bias: bool = False) -> Iterator[Layer]:
    yield linear(f"{at}.gate_proj", hidden, inner, bias=bias)
    yield linear(f"{at}.up_proj", hidden, inner, bias=bias)
    yield linear(f"{at}.down_proj", inner, hidden, bias=bias)


def is_sparse(config: Config, number: int) -> bool:
    """Whether a layer has experts."""
    if not number_of_experts(config):
        return False
    if number in (config["mlp_only_layers"] or ()):
        return False
    return (number + 1) % int(config["decoder_sparse_step"] or 1) == 0


def number_of_experts(config: Config) -> int:
    """Experts of a layer; 0 for a dense model."""
    return int(config.get("num_local_experts", "num_experts") or 0)


def expert_size(config: Config) -> int:
    """Inner size of one expert."""
    return int(config.get("moe_intermediate_size", "intermediate_size"))


def _experts(config: Config, at: str) -> Iterator[Layer]:
    hidden, inner, count = config["hidden_size"], expert_size(config), number_of_experts(config)
    yield Layer(f"{at}.gate", "router", (count, hidden))
    yield Layer(f"{at}.experts.gate_up_proj", "experts", (count, 2 * inner, hidden))
    yield Layer(f"{at}.experts.down_proj", "experts", (count, hidden, inner))
    if shared := config["shared_expert_intermediate_size"]:
        yield from _gated(f"{at}.shared_expert", hidden, shared)
        yield linear(f"{at}.shared_expert_gate", hidden, 1, bias=False)
