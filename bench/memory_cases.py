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
    steps: int = 2


_ENCODER = {"hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4}
_ENCODER |= {"intermediate_size": 512, "max_position_embeddings": 514}
_WIDE = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8}
_WIDE |= {"num_key_value_heads": 2, "intermediate_size": 1408, "max_position_embeddings": 1024}
_LLAMA = {"hidden_size": 128, "num_hidden_layers": 8, "num_attention_heads": 4}
_LLAMA |= {"num_key_value_heads": 2, "intermediate_size": 352, "max_position_embeddings": 1024}
_BART = {"d_model": 128, "encoder_layers": 4, "decoder_layers": 4}
_BART |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
_BART |= {"encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 512}
_T5 = {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 4, "num_heads": 4}

MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", _WIDE),
    "llama-long": ("llama", _LLAMA),
    "llama-words": ("llama", {**_LLAMA, "hidden_size": 256, "vocab_size": 40000}),
    "bert": ("bert", {**_ENCODER, "max_position_embeddings": 512}),
    "bert-words": ("bert", {**_ENCODER, "hidden_size": 256, "vocab_size": 60000}),
    "deberta": ("deberta-v2", {**_ENCODER, "position_buckets": 64}),
    "modernbert": ("modernbert", {**_ENCODER, "intermediate_size": 256}),
    "gpt2": ("gpt2", {"n_embd": 128, "n_layer": 6, "n_head": 4, "n_positions": 1024}),
    "opt": ("opt", {**_LLAMA, "ffn_dim": 512, "word_embed_proj_dim": 128}),
    "qwen3": ("qwen3", {**_LLAMA, "head_dim": 64}),
    "gemma2": ("gemma2", {**_LLAMA, "head_dim": 32, "query_pre_attn_scalar": 32}),
    "mixtral": ("mixtral", {**_LLAMA, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "mixtral-wide": (
        "mixtral",
        {**_LLAMA, "hidden_size": 256, "num_local_experts": 16, "num_experts_per_tok": 2},
    ),
    "phi3": ("phi3", {**_LLAMA, "original_max_position_embeddings": 1024}),
    "t5": ("t5", _T5),
    "mt5": ("mt5", _T5),
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
    fields = {
        key: more.pop(key)
        for key in ("validation", "evaluation", "held_out", "steps")
        if key in more
    }
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
    _decoder("llama, full", "llama", FULL, batch=4, length=128, steps=3),
    _decoder("llama, full, SGD", "llama", FULL, batch=4, length=128, optimizer="sgd", steps=3),
    _decoder("llama, full, Lion", "llama", FULL, batch=4, length=128, optimizer="lion", steps=3),
    _decoder(
        "llama, full, Adafactor",
        "llama",
        FULL,
        batch=4,
        length=128,
        optimizer="adafactor",
        steps=3,
    ),
    _decoder(
        "llama, full, 8-bit",
        "llama",
        FULL,
        batch=4,
        length=128,
        optimizer="adamw-8bit",
        steps=3,
    ),
    _decoder("llama, full, average", "llama", FULL, batch=4, length=128, ema_decay=0.99, steps=3),
    _decoder(
        "llama, full, bfloat16", "llama", FULL, batch=8, length=256, dtype="bfloat16", steps=3
    ),
    _decoder("llama, full, 40,000 words", "llama-words", FULL, batch=4, length=64),
    _encoder("bert, full, 60,000 words", "bert-words", FULL, batch=4, length=64),
    _encoder("bert, LoRA, 60,000 words", "bert-words", LORA, batch=4, length=128),
    _decoder("mixtral, full, 16 experts", "mixtral-wide", FULL, batch=2, length=128),
    # what the activations take
    _decoder("llama, full, long", "llama-long", FULL, batch=4, length=512),
    _decoder(
        "llama, full, long, eager", "llama-long", FULL, batch=4, length=512, attention="eager"
    ),
    _decoder(
        "llama, full, smoothing",
        "llama-long",
        FULL,
        batch=4,
        length=384,
        label_smoothing=0.1,
    ),
    _encoder("bert, full", "bert", FULL, batch=8, length=256),
    _encoder("bert, full, no dropout", "bert", FULL, batch=8, length=384, dropout=0.0),
    _decoder("gpt2, full", "gpt2", FULL, batch=4, length=256),
    _decoder("gemma2, full", "gemma2", FULL, batch=4, length=384),
    _decoder("mixtral, full", "mixtral", FULL, batch=4, length=256),
    _encoder("modernbert, full", "modernbert", FULL, batch=8, length=256),
    _both("t5, full", "t5", FULL, batch=8, length=256, target=128),
    _both("bart, full", "bart", FULL, batch=8, length=256, target=128),
    _encoder(
        "bert, full, checkpointing",
        "bert",
        FULL,
        batch=16,
        length=384,
        gradient_checkpointing=True,
    ),
    # adapters
    _decoder("llama, LoRA", "llama-long", LORA, batch=4, length=512),
    _decoder("llama, LoRA, bfloat16", "llama-long", LORA, batch=4, length=512, dtype="bfloat16"),
    _decoder("llama, DoRA", "llama-long", {**LORA, "dora": True}, batch=4, length=384),
    _decoder("llama, qLoRA nf4", "llama-long", {"type": "qlora"}, batch=4, length=512),
    _decoder("llama, prefix", "llama-long", {"type": "prefix"}, batch=4, length=512),
    _decoder("llama, IA3", "llama-long", {"type": "ia3"}, batch=4, length=512),
    _decoder("mixtral, LoRA", "mixtral", LORA, batch=4, length=256),
    _encoder("bert, layernorm", "bert", {"type": "layernorm"}, batch=8, length=256),
    _encoder("bert, bottleneck", "bert", {"type": "bottleneck"}, batch=8, length=256),
    _both("t5, LoRA", "t5", LORA, batch=8, length=256, target=128),
    # evaluation
    _both(
        "bart, bottleneck, beams",
        "bart",
        {"type": "bottleneck"},
        batch=2,
        length=64,
        target=32,
        validation=True,
        evaluation={"batch_size": 32, "num_beams": 4, "max_new_tokens": 32},
    ),
    # chosen and measured after the model was finished
    _decoder("qwen3, full", "qwen3", FULL, batch=4, length=384, held_out=True),
    _decoder("opt, LoRA", "opt", LORA, batch=4, length=384, held_out=True),
    _encoder("deberta, full", "deberta", FULL, batch=4, length=256, held_out=True),
    _both("mt5, full", "mt5", FULL, batch=8, length=128, target=128, held_out=True),
    _both("pegasus, LoRA", "pegasus", LORA, batch=8, length=256, target=128, held_out=True),
    _decoder(
        "llama, LoRA, checkpointing",
        "llama-long",
        LORA,
        batch=8,
        length=512,
        gradient_checkpointing=True,
        held_out=True,
    ),
    _decoder(
        "phi3, full, Lion", "phi3", FULL, batch=4, length=512, optimizer="lion", held_out=True
    ),
    _both(
        "bart, LoRA, eager, no dropout",
        "bart",
        LORA,
        batch=8,
        length=384,
        target=128,
        attention="eager",
        dropout=0.0,
    ),
    _decoder(
        "gpt2, LoRA, eager", "gpt2", LORA, batch=4, length=384, attention="eager", held_out=True
    ),
    _encoder(
        "bert, layernorm, eager, no dropout",
        "bert",
        {"type": "layernorm"},
        batch=8,
        length=384,
        attention="eager",
        dropout=0.0,
        held_out=True,
    ),
    _decoder(
        "qwen3, LoRA, bfloat16",
        "qwen3",
        LORA,
        batch=8,
        length=384,
        dtype="bfloat16",
        held_out=True,
    ),
    _both("t5, IA3", "t5", {"type": "ia3"}, batch=8, length=256, target=128, held_out=True),
)
