"""models/tiny-t5: the committed files fit each other. Read without torch or transformers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

MODEL = Path(__file__).resolve().parents[3] / "models" / "tiny-t5"


def load(name: str) -> Any:
    return json.loads((MODEL / name).read_text(encoding="utf-8"))


def tensors() -> dict[str, Any]:
    """The header of model.safetensors: name -> dtype, shape, offsets."""
    with (MODEL / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header


def test_the_directory_holds_what_auto_classes_load_and_nothing_else() -> None:
    assert sorted(path.name for path in MODEL.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_weights_are_small_complete_and_single_precision() -> None:
    size = (MODEL / "model.safetensors").stat().st_size
    assert 4_000_000 < size < 8_000_000
    header = tensors()
    assert {entry["dtype"] for entry in header.values()} == {"F32"}
    config = load("config.json")
    assert header["shared.weight"]["shape"] == [config["vocab_size"], config["d_model"]]
    encoder = {name.split(".")[2] for name in header if name.startswith("encoder.block.")}
    assert len(encoder) == config["num_layers"]


def test_tokenizer_has_the_ids_of_t5_and_as_many_pieces_as_the_model() -> None:
    tokenizer, config = load("tokenizer.json"), load("config.json")
    vocabulary = [piece for piece, _ in tokenizer["model"]["vocab"]]
    assert vocabulary[:3] == ["<pad>", "</s>", "<unk>"]
    assert vocabulary[-1] == "<extra_id_0>"
    assert vocabulary[-100] == "<extra_id_99>"
    assert len(vocabulary) == len(set(vocabulary)) == config["vocab_size"]
    assert (config["pad_token_id"], config["eos_token_id"]) == (0, 1)
    assert config["decoder_start_token_id"] == 0
    assert set(map(chr, range(0x21, 0x7F))) <= set(vocabulary)


def test_configuration_names_no_place_on_the_machine_that_made_it() -> None:
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        assert "/" not in (MODEL / name).read_text(encoding="utf-8").replace("</s>", "")
    assert load("config.json")["model_type"] == "t5"
