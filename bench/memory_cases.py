"""What `bench.memory` measures: configurations of family, method, batch, length and the rest.

Values only. Sizes are such that what the model decides outweighs Python and torch, and that no run
takes 3 GB. The cases with `held_out` were written down, and measured, after the model of memory was
finished: nothing was fitted to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.models import DECODERS, ENCODERS, SEQ2SEQ

VOCABULARY = 8000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training of a few steps. Lengths are in tokens; every batch has rows that long."""

    name: str
    model: str
    """A key of MODELS."""
    task: str
    method: Mapping[str, Any]
    training: Mapping[str, Any]
    architecture: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    validation: bool = False
    held_out: bool = False


_ENCODER = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8}
_ENCODER |= {"intermediate_size": 2048, "max_position_embeddings": 514}
_LLAMA = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8}
_LLAMA |= {"num_key_value_heads": 2, "intermediate_size": 1408, "max_position_embeddings": 1024}
_BART = {"d_model": 512, "encoder_layers": 4, "decoder_layers": 4}
_BART |= {"encoder_attention_heads": 8, "decoder_attention_heads": 8}
_BART |= {"encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048, "max_position_embeddings": 512}
_SMALL = {**_LLAMA, "num_hidden_layers": 4}

MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("bert", {**_ENCODER, "max_position_embeddings": 512}),
    "roberta": ("roberta", _ENCODER),
    "deberta": ("deberta-v2", {**_ENCODER, "num_hidden_layers": 4, "position_buckets": 64}),
    "modernbert": ("modernbert", {**_ENCODER, "intermediate_size": 1024}),
    "gpt2": ("gpt2", {"n_embd": 512, "n_layer": 6, "n_head": 8, "n_positions": 1024}),
    "opt": ("opt", {**_LLAMA, "ffn_dim": 2048, "word_embed_proj_dim": 512}),
    "llama": ("llama", _LLAMA),
    "llama-words": ("llama", {**_SMALL, "vocab_size": 32000}),
    "qwen3": ("qwen3", {**_SMALL, "head_dim": 128}),
    "gemma2": ("gemma2", {**_SMALL, "head_dim": 64, "query_pre_attn_scalar": 64}),
    "mixtral": (
        "mixtral",
        {**_SMALL, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 704},
    ),
    "qwen3_moe": (
        "qwen3_moe",
        {**_SMALL, "head_dim": 64, "moe_intermediate_size": 352, "num_experts": 16}
        | {"num_experts_per_tok": 4},
    ),
    "phi3": ("phi3", {**_SMALL, "original_max_position_embeddings": 1024}),
    "t5": ("t5", {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 4, "num_heads": 8}),
    "mt5": ("mt5", {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 4, "num_heads": 6}),
    "bart": ("bart", _BART),
    "pegasus": ("pegasus", _BART),
}
"""`model_type` and what of its config is larger than in the tests' models."""


def shape(name: str) -> tuple[str, dict[str, Any]]:
    """The `model_type` of a model and its config's values."""
    kind, values = MODELS[name]
    base = (ENCODERS | DECODERS | SEQ2SEQ)[kind]
    return kind, {"vocab_size": VOCABULARY, **base, **values}


def _decoder(name: str, model: str, method: Mapping[str, Any], **more: Any) -> Case:
    return _case(name, model, "causal-lm", method, **more)


def _encoder(name: str, model: str, method: Mapping[str, Any], **more: Any) -> Case:
    return _case(name, model, "sequence-classification", method, **more)


def _both(name: str, model: str, method: Mapping[str, Any], **more: Any) -> Case:
    length = more.pop("length")
    lengths = {"max_source_length": length, "max_target_length": more.pop("target")}
    return _case(name, model, "text-to-text", method, **lengths, **more)


def _case(name: str, model: str, task: str, method: Mapping[str, Any], **more: Any) -> Case:
    fields = {key: more.pop(key) for key in ("validation", "evaluation", "held_out") if key in more}
    keys = ("attention", "dtype", "dropout", "gradient_checkpointing")
    architecture = {key: more.pop(key) for key in keys if key in more}
    if "length" in more:
        more["max_length"] = more.pop("length")
    batch = more.pop("batch")
    training = {"batch_size": batch, "micro_batch_size": batch, **more}
    return Case(
        name=name,
        model=model,
        task=task,
        method=method,
        training=training,
        architecture=architecture,
        **fields,
    )


FULL = {"type": "full"}
LORA = {"type": "lora", "rank": 16}
CASES = (
    # what the states take
    _decoder("llama, full", "llama", FULL, batch=4, length=128),
    _decoder("llama, full, SGD", "llama", FULL, batch=4, length=128, optimizer="sgd"),
    _decoder("llama, full, Lion", "llama", FULL, batch=4, length=128, optimizer="lion"),
    _decoder("llama, full, Adafactor", "llama", FULL, batch=4, length=128, optimizer="adafactor"),
    _decoder("llama, full, 8-bit", "llama", FULL, batch=4, length=128, optimizer="adamw-8bit"),
    _decoder("llama, full, average", "llama", FULL, batch=4, length=128, ema_decay=0.99),
    _decoder("llama, full, bfloat16", "llama", FULL, batch=8, length=256, dtype="bfloat16"),
    # what the activations take
    _decoder("llama, full, long", "llama", FULL, batch=4, length=512),
    _decoder("llama, full, long, eager", "llama", FULL, batch=4, length=512, attention="eager"),
    _decoder(
        "llama, full, checkpointing",
        "llama",
        FULL,
        batch=8,
        length=512,
        gradient_checkpointing=True,
    ),
    _decoder("llama, full, 32,000 words", "llama-words", FULL, batch=4, length=384),
    _decoder(
        "llama, full, 32,000 words, smoothing",
        "llama-words",
        FULL,
        batch=4,
        length=384,
        label_smoothing=0.1,
    ),
    _decoder("gpt2, full", "gpt2", FULL, batch=4, length=384),
    _decoder("gpt2, full, no dropout", "gpt2", FULL, batch=4, length=384, dropout=0.0),
    _decoder("gemma2, full", "gemma2", FULL, batch=4, length=256),
    _decoder("mixtral, full", "mixtral", FULL, batch=4, length=256),
    # adapters
    _decoder("llama, LoRA", "llama", LORA, batch=4, length=384),
    _decoder("llama, LoRA, bfloat16", "llama", LORA, batch=4, length=384, dtype="bfloat16"),
    _decoder("llama, DoRA", "llama", {**LORA, "dora": True}, batch=4, length=256),
    _decoder("llama, qLoRA nf4", "llama", {"type": "qlora", "rank": 16}, batch=4, length=384),
    _decoder("llama, prefix", "llama", {"type": "prefix"}, batch=4, length=384),
    _decoder("llama, IA3", "llama", {"type": "ia3"}, batch=4, length=384),
    _decoder("mixtral, LoRA", "mixtral", LORA, batch=4, length=256),
    # encoders
    _encoder("bert, full", "bert", FULL, batch=8, length=256),
    _encoder("bert, layernorm", "bert", {"type": "layernorm"}, batch=8, length=256),
    _encoder("bert, bottleneck", "bert", {"type": "bottleneck"}, batch=8, length=256),
    _encoder("bert, LoRA, no dropout", "bert", LORA, batch=8, length=384, dropout=0.0),
    _encoder("modernbert, full", "modernbert", FULL, batch=8, length=256),
    # encoder-decoders
    _both("t5, full", "t5", FULL, batch=8, length=256, target=64),
    _both("t5, LoRA", "t5", LORA, batch=8, length=256, target=64),
    _both("bart, full", "bart", FULL, batch=8, length=256, target=64),
    _both(
        "bart, full, beams",
        "bart",
        FULL,
        batch=2,
        length=64,
        target=64,
        validation=True,
        evaluation={"batch_size": 16, "num_beams": 4, "max_new_tokens": 64},
    ),
    _both("pegasus, bottleneck", "pegasus", {"type": "bottleneck"}, batch=8, length=256, target=64),
)
