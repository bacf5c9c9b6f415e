"""Which lister makes which `model_type`'s layers, and the defaults of transformers' configs.

In: a config.json. Out: `Model`. A config.json may leave out what is transformers' default; the
tests hold the defaults here against transformers' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from recipec.errors import RecipecError
from recipec.plan.memory import decoders, encoders, seq2seq
from recipec.plan.memory.encoders import Head
from recipec.plan.memory.layers import Config, Model

_BERT = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "tie_word_embeddings": True,
}
_ROBERTA = {**_BERT, "vocab_size": 50265}
_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
}
_QWEN = {**_LLAMA, "vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32}
_GEMMA = {**_LLAMA, "vocab_size": 256000, "head_dim": 256, "tie_word_embeddings": True}
_GEMMA2 = {
    **_GEMMA,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
_QWEN_MOE = {**_QWEN, "hidden_size": 2048, "num_hidden_layers": 24, "decoder_sparse_step": 1}
_T5 = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "dropout_rate": 0.1,
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
}
_BART = {
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 12,
    "decoder_ffn_dim": 4096,
    "decoder_attention_heads": 16,
    "d_model": 1024,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "tie_word_embeddings": True,
}
DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": {**_BERT, "vocab_size": 30522},
    "distilbert": {
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "n_layers": 6,
        "n_heads": 12,
        "dim": 768,
        "hidden_dim": 3072,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "tie_word_embeddings": True,
    },
    "deberta-v2": {
        **_BERT,
        "vocab_size": 128100,
        "hidden_size": 1536,
        "num_hidden_layers": 24,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
        "type_vocab_size": 0,
        "relative_attention": False,
        "position_biased_input": True,
    },
    "electra": {
        **_BERT,
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    "modernbert": {
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "norm_bias": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "local_attention": 128,
        "embedding_dropout": 0.0,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "decoder_bias": True,
        "classifier_bias": False,
        "tie_word_embeddings": True,
    },
    "gpt2": {
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "tie_word_embeddings": True,
    },
    "gpt_neox": {
        "vocab_size": 50432,
        "hidden_size": 6144,
        "num_hidden_layers": 44,
        "num_attention_heads": 64,
        "intermediate_size": 24576,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "attention_bias": True,
        "tie_word_embeddings": False,
    },
    "opt": {
        "vocab_size": 50272,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "ffn_dim": 3072,
        "max_position_embeddings": 2048,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "num_attention_heads": 12,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "tie_word_embeddings": True,
    },
    "bloom": {
        "vocab_size": 250880,
        "hidden_size": 64,
        "n_layer": 2,
        "n_head": 8,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
    },
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8},
    "qwen2": _QWEN,
    "qwen3": {**_QWEN, "head_dim": 128},
    "gemma": {
        **_GEMMA,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    },
    "gemma2": {**_GEMMA2, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3_text": {**_GEMMA2, "vocab_size": 262208},
    "phi": {
        **_LLAMA,
        "vocab_size": 51200,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "qk_layernorm": False,
    },
    "phi3": {
        **_LLAMA,
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
    },
    "mixtral": {
        **_LLAMA,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "num_experts_per_tok": 2,
        "num_local_experts": 8,
    },
    "qwen2_moe": {
        **_QWEN_MOE,
        "intermediate_size": 5632,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "num_experts_per_tok": 4,
        "num_experts": 60,
        "qkv_bias": True,
    },
    "qwen3_moe": {
        **_QWEN_MOE,
        "intermediate_size": 6144,
        "num_key_value_heads": 4,
        "moe_intermediate_size": 768,
        "num_experts_per_tok": 8,
        "num_experts": 128,
    },
    "t5": _T5,
    "mt5": {
        **_T5,
        "vocab_size": 250112,
        "d_ff": 1024,
        "num_layers": 8,
        "num_heads": 6,
        "feed_forward_proj": "gated-gelu",
    },
    "bart": _BART,
    "mbart": _BART,
    "pegasus": _BART,
    "marian": {**_BART, "vocab_size": 58101},
}
"""What transformers 5.23 takes for a key that config.json lacks, by `model_type`."""

_LISTERS: Mapping[str, Callable[[Config, Head, int], Model]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), encoders.bert),
    "distilbert": encoders.distilbert,
    "deberta-v2": encoders.deberta,
    "modernbert": encoders.modernbert,
    "gpt2": decoders.gpt2,
    "gpt_neox": decoders.gpt_neox,
    "opt": decoders.opt,
    "bloom": decoders.bloom,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma"), decoders.llama),
    **dict.fromkeys(("gemma2", "gemma3_text", "phi", "phi3"), decoders.llama),
    **dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe"), decoders.llama),
}
_WRITERS: Mapping[str, Callable[[Config], Model]] = {
    **dict.fromkeys(("t5", "mt5"), seq2seq.t5),
    **dict.fromkeys(("bart", "mbart", "pegasus", "marian"), seq2seq.bart),
}
"""Encoder-decoders: they have the head that writes text alone."""


class CannotEstimate(RecipecError):
    """The model is of a type that is not in the catalogue, or its config.json is unusual."""


def configured(values: Mapping[str, object]) -> Config:
    """The config with its type's defaults. Raises CannotEstimate for an unknown type."""
    kind = str(values.get("model_type"))
    if kind not in DEFAULTS:
        raise CannotEstimate(
            f"the memory of a {kind} model is not known beforehand",
            hint="recipec knows these: " + ", ".join(sorted(DEFAULTS)),
        )
    return Config(values, DEFAULTS[kind])


def layers_of(values: Mapping[str, object], head: Head, labels: int = 2) -> Model:
    """Every layer of the model with a head of that kind; `labels` are the outputs of a new one.

    Raises CannotEstimate for a type that is not in the catalogue and for a config.json whose
    numbers are none.
    """
    config, kind = configured(values), str(values["model_type"])
    try:
        if kind in _WRITERS:
            return _WRITERS[kind](config)
        return _LISTERS[kind](config, head, labels)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise CannotEstimate(
            f"the model's config.json cannot be read as a {kind}: {error}",
            hint="compare it with the one that its makers publish",
        ) from error


def known(values: Mapping[str, object]) -> bool:
    """Whether the memory of such a model can be estimated."""
    return str(values.get("model_type")) in DEFAULTS
