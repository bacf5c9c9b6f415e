"""GGUF files: what their headers say, and which of them are models that we can take."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from recipec.errors import RecipeError
from recipec.pins import gguf
from recipec.pins.models import place_in_project, read_folder
from recipec.store import Store, sha256

LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.license": "apache-2.0",
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "llama.block_count": 30,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.tokens": ["<s>", "é", "c"],
    "tokenizer.ggml.scores": [0.0, 1.0, 2.0],
    "tokenizer.ggml.eos_token_id": 2,
}
TENSORS = ("token_embd.weight", "blk.0.attn_q.weight")


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(value: Any) -> bytes:
    """A value behind its type."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    items = b"".join(entry(item)[4:] for item in value)
    return struct.pack("<I", 9) + entry(value[0])[:4] + struct.pack("<Q", len(value)) + items


def file_of(
    values: dict[str, Any], tensors: tuple[str, ...] = TENSORS, *, version: int = 3
) -> bytes:
    """A GGUF file with this metadata and these tensors, each of 2 x 2."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    body = b"".join(text(key) + entry(value) for key, value in values.items())
    infos = b"".join(text(name) + struct.pack("<IQQIQ", 2, 2, 2, 0, 0) for name in tensors)
    return head + body + infos + b"\0" * 64


def refusal(project: Path, store: Store, data: bytes) -> str:
    (project / "m.gguf").write_bytes(data)
    with pytest.raises(RecipeError) as caught:
        read_folder("path:m.gguf", project=project, store=store)
    return caught.value.diagnostics[0].render()


@pytest.mark.parametrize("version", [2, 3])
def test_a_file_in_the_project(tmp_path: Path, store: Store, version: int) -> None:
    data = file_of(LLAMA, version=version)
    (tmp_path / "m.gguf").write_bytes(data)
    found = read_folder("path:m.gguf", project=tmp_path, store=store)
    assert [(file.path, file.sha256, file.size) for file in found.model.files] == [
        ("model.gguf", sha256(data), len(data))
    ]
    assert found.model.license == "apache-2.0"
    assert (found.facts.model_type, found.facts.family) == ("llama", "decoder-only")
    assert found.facts.config == {
        "eos_token_id": 2,
        "hidden_size": 576,
        "max_position_embeddings": 8192,
        "model_type": "llama",
        "num_hidden_layers": 30,
        "tie_word_embeddings": True,
        "vocab_size": 3,
    }
    assert found.sources == {sha256(data): tmp_path / "m.gguf"}
    assert place_in_project("path:m.gguf", "model.gguf") == "m.gguf"
    assert place_in_project("path:models/t5/", "config.json") == "models/t5/config.json"


def test_a_file_that_is_not_there(tmp_path: Path, store: Store) -> None:
    with pytest.raises(RecipeError) as caught:
        read_folder("path:none.gguf", project=tmp_path, store=store)
    assert caught.value.diagnostics[0].render().startswith("none.gguf: error: no such file\n")


def test_a_folder_with_a_file(tmp_path: Path, store: Store) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "big.gguf").write_bytes(file_of(LLAMA))
    with pytest.raises(RecipeError) as caught:
        read_folder("path:m", project=tmp_path, store=store)
    assert caught.value.diagnostics[0].render() == (
        "m: error: the model has no config.json\n"
        "  hint: for a GGUF file name the file itself, such as m/big.gguf"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general.architecture": "falcon"}, "architecture falcon does not turn back into its"),
        ({"llama.expert_count": 8}, "architecture llama with experts does not turn back into"),
        ({"llama.attention.sliding_window": 32}, "llama with a sliding window does not turn back"),
        (
            {"general.architecture": "qwen3", "qwen3.attention.key_length": 64},
            "a GGUF file of architecture qwen3 with heads of 64 does not turn back into its model",
        ),
        ({"llama.rope.scaling.type": "yarn"}, "the model scales its rotary positions, which is"),
    ],
)
def test_models_that_would_come_back_as_others(
    tmp_path: Path, store: Store, change: dict[str, Any], message: str
) -> None:
    assert message in refusal(tmp_path, store, file_of(LLAMA | change))


def test_frequencies_among_the_tensors(tmp_path: Path, store: Store) -> None:
    data = file_of(LLAMA, (*TENSORS, "rope_freqs.weight"))
    assert refusal(tmp_path, store, data) == (
        "m.gguf: error: the model scales its rotary positions, which is lost on the way back from"
        " GGUF\n"
        "  hint: use the model's safetensors"
    )


def test_no_tokenizer(tmp_path: Path, store: Store) -> None:
    values = {key: value for key, value in LLAMA.items() if "tokens" not in key}
    message = "m.gguf: error: the GGUF file has no tokenizer\n"
    assert refusal(tmp_path, store, file_of(values)).startswith(message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a GGUF file"),
        (b"GGML" + bytes(40), "not a GGUF file"),
        (file_of(LLAMA, version=1), "header is broken (version 1 is not one of (2, 3))"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), f"header is broken ({1 << 40} entries)"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), "header is broken (it ends too early)"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 77),
            "header is broken (k is of unknown type 77)",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1),
            "header is broken (an array of unknown type 9)",
        ),
    ],
)
def test_broken_headers(tmp_path: Path, store: Store, data: bytes, message: str) -> None:
    assert message in refusal(tmp_path, store, data)


def test_any_cut_is_a_fault_in_words(tmp_path: Path) -> None:
    whole = file_of(LLAMA)[:-64]
    path = tmp_path / "m.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RecipeError):
            gguf.read_header(path, where="m.gguf")
    path.write_bytes(whole)
    assert gguf.read_header(path, where="m.gguf").tensors == TENSORS
