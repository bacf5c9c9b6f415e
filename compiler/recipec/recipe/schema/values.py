"""The values that keys of a recipe may have: names, patterns, bounded numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

TaskType = Literal[
    "causal-lm",
    "masked-lm",
    "span-corruption",
    "instruction",
    "sequence-classification",
    "token-classification",
    "question-answering",
    "summarization",
    "translation",
    "text-to-text",
]
MethodType = Literal["full", "layernorm", "lora", "qlora", "bottleneck", "prefix", "prompt", "ia3"]
Attention = Literal[
    "eager",
    "sdpa",
    "flex_attention",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
]
Dtype = Literal["float32", "bfloat16", "float16"]
Schedule = Literal[
    "linear",
    "cosine",
    "constant",
    "polynomial",
    "inverse-sqrt",
    "warmup-stable-decay",
]
Optimizer = Literal["adamw", "adamw-8bit", "adafactor", "sgd", "lion"]
Parallelism = Literal["ddp", "fsdp"]
Reproducibility = Literal["portable", "bitwise", "seeded"]
Metric = Literal[
    "rouge1",
    "rouge2",
    "rougeL",
    "bleu",
    "chrf",
    "accuracy",
    "f1",
    "precision",
    "recall",
    "exact_match",
    "perplexity",
]

END = r"$(?!\n)"
"""The end of a pattern: in Python, `$` alone would let one more newline through."""
NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?" + END
DEBIAN_PACKAGE = r"^[a-z0-9][a-z0-9+.-]+" + END
DRIVER = r"^[0-9]{3}(\.[0-9]{1,3}){0,2}" + END
_HOST = (
    r"(([A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9-]*)+|localhost|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?"
    r"|[A-Za-z0-9][A-Za-z0-9-]*:[0-9]{1,5})"
)
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
BASE = (
    rf"^(debian-12|debian-13|{_HOST}(/{_PART})+(:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?"
    r"(@sha256:[0-9a-f]{64})?)" + END
)
"""A Debian release, or an image of a registry; that it has a digest is a rule."""
DATE_OR_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?" + END
MODEL_SOURCE = (
    r"^(path:.+|hub:[^/@\s]+/[^/@\s]+(@[0-9A-Za-z._-]+)?|wheel:[^=\s]+==[^/\s]+/.+)" + END
)

Text = Annotated[str, Meta(min_length=1)]
Texts = Annotated[list[Text], Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Probability = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
