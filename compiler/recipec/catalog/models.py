"""Reader of models.toml: what the parts of each architecture are called, and what they can do.

In: the data file beside this module. Out: frozen values. It never opens a model: the file is held
against transformers' own classes by the tests.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

WRITING_HEADS = ("causal-lm", "masked-lm", "seq2seq-lm")
"""Kinds of head that a pre-trained model brings; the others are made new for a task."""


@dataclass(frozen=True, kw_only=True)
class ModelNames:
    """What the parts of one architecture are called, and what they can do.

    A name is the last part, or the last parts, of a module's dotted name, as peft matches
    `target_modules`: `wo` and `DenseReluDense.wo` both mean `encoder.block.0.layer.1.DenseReluDense
    .wo`. All are sorted. Not every name is in every model of the type (T5 has `wi` or `wi_0` and
    `wi_1`).
    """

    family: str
    """encoder-only, decoder-only or encoder-decoder, where config.json says too little."""
    linear: tuple[str, ...]
    """The linear layers of the blocks: what lora and qlora adapt. Fused experts are not modules:
    see `experts`."""
    norms: tuple[str, ...]
    """The normalisation layers, those of a head not counted."""
    embeddings: tuple[str, ...]
    """The embeddings of tokens and token types; a head may share their weights."""
    positions: Literal["learned", "sinusoidal", "rotary", "relative", "alibi"]
    """How the model knows where a token stands."""
    position_names: tuple[str, ...] = ()
    """The modules that hold trained positions or relative biases; none for computed positions."""
    position_limit: str = ""
    """The key of config.json that holds the longest input in tokens; "" if there is no limit."""
    position_offset: str = ""
    """A key of config.json whose value + 1 is taken off the limit (RoBERTa counts positions from
    behind the padding token's id); "" if none is."""
    packing: bool = False
    """Whether documents that are flattened into one row, with their own position_ids, without a
    mask and without a cache, are computed as if each were alone. False also for every family that
    is not packed at all."""
    gates: tuple[str, ...] = ()
    """The routers of a mixture of experts."""
    experts: tuple[str, ...] = ()
    """The fused *parameters* of all experts of a layer, as peft matches `target_parameters`."""
    ia3: tuple[str, ...] = ()
    """The layers whose output ia3 scales: keys and values, or the layer that computes both."""
    feedforward: tuple[str, ...] = ()
    """The layers whose input ia3 scales: the second of the feed-forward network. ia3's
    target_modules are `ia3` and `feedforward` together."""
    blocks: tuple[str, ...] = ()
    """The lists of blocks (`encoder.layer` holds `encoder.layer.0`, `encoder.layer.1`, ...)."""
    attention_outputs: str = ""
    """Regular expression: `re.search` finds it in the names of the modules whose output is what
    attention adds to the residual stream. A bottleneck adapter goes behind them."""
    feedforward_outputs: str = ""
    """The same for the feed-forward network; for a mixture of experts, the whole of it."""
    attention: tuple[str, ...]
    """The attention implementations that transformers has for it, by transformers' names."""
    heads: Mapping[str, tuple[str, ...]]
    """Kind of task head to the names of its modules: causal-lm, masked-lm, seq2seq-lm,
    question-answering, sequence-classification, token-classification. A kind that is not there is
    one that transformers has no class for."""
    renamed: Mapping[str, str]
    """Kind of task head to the name of the base model in its class, where that is not the name in
    the checkpoints of the type, which is `model`. Loading the class then needs
    `from_pretrained(..., key_mapping={r"^model\\.": "NAME."})`: without it the whole model is
    silently made new."""

    @property
    def head(self) -> tuple[str, ...]:
        """The modules that any task head makes new, sorted: trained and saved whole."""
        new = {n for kind, names in self.heads.items() if kind not in WRITING_HEADS for n in names}
        return tuple(sorted(new))


@cache
def models() -> Mapping[str, ModelNames]:
    """The architectures whose parts are known, by `model_type`, in the order of the file."""
    text = (Path(__file__).parent / "models.toml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = {}
    for name, row in tomllib.loads(text).items():
        rows[name] = rows.get(row.pop("like", ""), {}) | row
    return {name: _names(row) for name, row in rows.items()}


def _names(row: Mapping[str, Any]) -> ModelNames:
    known = {field.name for field in fields(ModelNames)}
    assert row.keys() <= known, f"models.toml: {sorted(row.keys() - known)}"
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
    }
    values["heads"] = {kind: tuple(names) for kind, names in row["heads"].items()}
    return ModelNames(**{"renamed": {}, **values})
