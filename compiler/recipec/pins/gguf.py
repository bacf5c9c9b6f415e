"""What the header of a GGUF file says of the model in it.

In: a .gguf file, which has weights, tokenizer and metadata in one. Out: the metadata, and the keys
of config.json that it stands for, by transformers' names. It reads no weight and needs no numpy.
The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipec.errors import Diagnostic, RecipeError

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""Type of a value to its struct code."""
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_ENTRIES = 1 << 20
_MOST_DIMENSIONS = 4

TYPES = ("llama", "phi3", "qwen2", "qwen3")
"""Architectures that transformers 5.23 rebuilds as they were, by the same name in both. It loses
what makes Gemma's attention its own, and the sizes of experts."""
_QWEN3_HEAD = 128
"""Size of Qwen3's attention heads, which transformers does not read: it takes this one."""

_KEYS = {
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "vocab_size": "vocab_size",
}
"""Keys of the metadata, behind the architecture's name, to those of config.json."""

_TOKENS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """The metadata of a GGUF file and the names of its tensors."""

    values: Mapping[str, Any]
    """Texts, numbers and truth values by key."""
    lengths: Mapping[str, int]
    """Number of elements of what is an array, by key."""
    tensors: tuple[str, ...]

    @property
    def license(self) -> str | None:
        """The licence that the metadata names."""
        found = self.values.get("general.license")
        return found if isinstance(found, str) and found else None


def read_header(path: Path, *, where: str) -> Header:
    """The header of the file. Raises RecipeError at `where` when it is no GGUF of today."""
    try:
        with path.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise _refused(where, "not a GGUF file", "name a file that llama.cpp wrote")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).header()
    except (struct.error, ValueError, IndexError) as error:
        raise _refused(
            where, f"the GGUF file's header is broken ({error})", "copy the file there again"
        ) from error


def config_of(header: Header, *, where: str) -> dict[str, Any]:
    """The keys of config.json that the compiler looks at.

    Raises RecipeError for a model that transformers does not rebuild as it was.
    """
    architecture = str(header.values.get("general.architecture"))
    reason = _not_rebuilt(header, architecture)
    if reason is not None:
        raise _refused(
            where,
            f"a GGUF file of architecture {architecture}{reason} does not turn back into its model",
            f"use the model's safetensors, or a GGUF of: {', '.join(TYPES)}",
        )
    scaling = header.values.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or any(name.startswith("rope_f") for name in header.tensors):
        raise _refused(
            where,
            "the model scales its rotary positions, which is lost on the way back from GGUF",
            "use the model's safetensors",
        )
    if "tokenizer.ggml.tokens" not in header.lengths:
        raise _refused(where, "the GGUF file has no tokenizer", "use the model's safetensors")
    config: dict[str, Any] = {"model_type": architecture}
    for key, name in _KEYS.items():
        if (value := header.values.get(f"{architecture}.{key}")) is not None:
            config[name] = value
    config.setdefault("vocab_size", header.lengths["tokenizer.ggml.tokens"])
    for key, name in _TOKENS.items():
        if (value := header.values.get(key)) is not None:
            config[name] = value
    config["tie_word_embeddings"] = "output.weight" not in header.tensors
    return dict(sorted(config.items()))


def _not_rebuilt(header: Header, architecture: str) -> str | None:
    """What stands in the way, to follow the architecture's name; None if nothing does."""
    if architecture not in TYPES:
        return ""
    if header.values.get(f"{architecture}.expert_count"):
        return " with experts"
    if header.values.get(f"{architecture}.attention.sliding_window"):
        return " with a sliding window"
    head = header.values.get(f"{architecture}.attention.key_length", _QWEN3_HEAD)
    if architecture == "qwen3" and head != _QWEN3_HEAD:
        return f" with heads of {head}"
    return None


@dataclass
class _Reader:
    """A place in the file; every read moves it on."""

    data: mmap.mmap
    position: int = 4  # behind the magic
    values: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)

    def header(self) -> Header:
        version = self.number("I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} is not one of {_VERSIONS}")
        tensors, entries = self.number("Q"), self.number("Q")
        if max(tensors, entries) > _MOST_ENTRIES:
            raise ValueError(f"{max(tensors, entries)} entries")
        for _ in range(entries):
            key = self.text()
            self.entry(key, self.number("I"))
        names = tuple(self.tensor() for _ in range(tensors))
        if self.position > len(self.data):
            raise ValueError("it ends too early")
        return Header(values=self.values, lengths=self.lengths, tensors=names)

    def entry(self, key: str, kind: int) -> None:
        if kind == _STRING:
            self.values[key] = self.text()
        elif kind == _ARRAY:
            self.lengths[key] = self.array()
        elif kind in _SCALARS:
            self.values[key] = self.number(_SCALARS[kind])
        else:
            raise ValueError(f"{key} is of unknown type {kind}")

    def array(self) -> int:
        """Pass over an array; its length."""
        kind, length = self.number("I"), int(self.number("Q"))
        if kind == _STRING:
            unpack, data, position = struct.Struct("<Q").unpack_from, self.data, self.position
            for _ in range(length):
                position += 8 + unpack(data, position)[0]
            self.position = position
        elif kind in _SCALARS:
            self.position += length * struct.calcsize(f"<{_SCALARS[kind]}")
        else:
            raise ValueError(f"an array of unknown type {kind}")
        if self.position > len(self.data):
            raise ValueError("it ends too early")
        return length

    def tensor(self) -> str:
        """Pass over what is said of a tensor; its name."""
        name, dimensions = self.text(), self.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"{name} has {dimensions} dimensions")
        self.position += dimensions * 8 + 4 + 8  # the shape, the type, the offset
        return name

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.position)
        self.position += struct.calcsize(f"<{code}")
        return value

    def text(self) -> str:
        length = self.number("Q")
        if self.position + length > len(self.data):
            raise ValueError("it ends too early")
        found = self.data[self.position : self.position + length]
        self.position += length
        return found.decode("utf-8")


def _refused(file: str, message: str, hint: str) -> RecipeError:
    return RecipeError([Diagnostic(file=file, line=0, column=0, message=message, hint=hint)])
