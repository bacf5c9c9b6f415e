"""Models from a folder: what counts as one, and what its config says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipec.errors import RecipeError
from recipec.pins.models import (
    PinnedModel,
    family_of,
    license_of_card,
    read_folder,
    refuse_pickles,
    select,
)
from recipec.store import Store, sha256

T5 = {"model_type": "t5", "is_encoder_decoder": True}


def model(project: Path, files: dict[str, bytes], config: object = T5) -> Path:
    folder = project / "m"
    folder.mkdir()
    for name, data in {"config.json": json.dumps(config).encode(), **files}.items():
        (folder / name).write_bytes(data)
    return folder


def read(project: Path, store: Store) -> PinnedModel:
    return read_folder("path:m", project=project, store=store)


def refusal(project: Path, store: Store) -> str:
    with pytest.raises(RecipeError) as caught:
        read(project, store)
    return caught.value.diagnostics[0].render()


def test_files_config_and_licence(tmp_path: Path, store: Store) -> None:
    folder = model(
        tmp_path,
        {
            "model.safetensors": b"w",
            "tokenizer.json": b"{}",
            "LICENSE": b"l",
            "README.md": b"---\ntags: [a]\nlicense: CC0-1.0\n---\n# Model\n",
            ".gitattributes": b"",
            "events.out.tfevents": b"",
        },
    )
    (folder / "onnx").mkdir()
    found = read(tmp_path, store)
    assert [file.path for file in found.model.files] == [
        "LICENSE",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert found.model.license == "CC0-1.0"
    assert found.model.commit is None
    assert found.facts.model_type == "t5"
    assert found.facts.family == "encoder-decoder"
    assert found.facts.config == T5
    assert found.sources[sha256(b"w")] == folder / "model.safetensors"


def test_shards(tmp_path: Path, store: Store) -> None:
    shard = "model-00001-of-00002.safetensors"
    index = {"weight_map": {"a": shard, "b": "model-00002-of-00002.safetensors"}}
    folder = model(
        tmp_path,
        {
            shard: b"1",
            "model.safetensors.index.json": json.dumps(index).encode(),
            "tokenizer.json": b"{}",
        },
    )
    assert "a part of the weights is missing: model-00002-of-00002" in refusal(tmp_path, store)
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"2")
    assert len(read(tmp_path, store).model.files) == 5


def test_no_folder(tmp_path: Path, store: Store) -> None:
    assert refusal(tmp_path, store) == (
        "m: error: no such folder\n"
        "  hint: `architecture.model` names a folder relative to the project, such as"
        " path:models/tiny-t5"
    )


def test_no_config(tmp_path: Path, store: Store) -> None:
    model(tmp_path, {"model.safetensors": b"w"})
    (tmp_path / "m" / "config.json").unlink()
    assert refusal(tmp_path, store) == (
        "m: error: the model has no config.json\n"
        "  hint: a model folder is what `save_pretrained` writes: config.json, model.safetensors"
        " and the tokenizer's files"
    )


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "optimizer.pkl"])
def test_pickles(tmp_path: Path, store: Store, name: str) -> None:
    model(tmp_path, {"model.safetensors": b"w", name: b"p"})
    assert refusal(tmp_path, store).startswith(
        f"m/{name}: error: pickled weights are refused: opening them can run code\n"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**T5, "auto_map": {}}, "the model brings its own code (`auto_map`), which is never run"),
        ({"a": 1}, "it has no `model_type`"),
        ([], "not a JSON object"),
        (
            {"model_type": "novel"},
            "it does not say whether a novel model is an encoder, a decoder or both",
        ),
    ],
)
def test_configs(tmp_path: Path, store: Store, config: object, message: str) -> None:
    model(tmp_path, {"model.safetensors": b"w", "tokenizer.json": b"{}"}, config)
    assert refusal(tmp_path, store).startswith(f"m/config.json: error: {message}\n")


def test_a_tokenizer_with_code(tmp_path: Path, store: Store) -> None:
    model(tmp_path, {"model.safetensors": b"w", "tokenizer_config.json": b'{"auto_map": {}}'})
    assert refusal(tmp_path, store).startswith("m/tokenizer_config.json: error: the model brings")


def test_broken_json(tmp_path: Path, store: Store) -> None:
    model(tmp_path, {"model.safetensors": b"w"})
    (tmp_path / "m" / "config.json").write_bytes(b"{")
    assert refusal(tmp_path, store).startswith("m/config.json: error: not JSON: ")


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "bart", "is_encoder_decoder": True}, "encoder-decoder"),
        ({"model_type": "x", "architectures": ["LlamaForCausalLM"]}, "decoder-only"),
        ({"model_type": "x", "architectures": ["GPT2LMHeadModel"]}, "decoder-only"),
        ({"model_type": "x", "architectures": ["BertForMaskedLM"]}, "encoder-only"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "encoder-only"),
        ({"model_type": "llama", "architectures": ["LlamaModel"]}, "decoder-only"),
    ],
)
def test_families(config: dict[str, Any], family: str) -> None:
    assert family_of(config, where="m") == family


def test_pickles_where_they_are_allowed(tmp_path: Path, store: Store) -> None:
    model(tmp_path, {"pytorch_model.bin": b"p", "training_args.bin": b"x", "tokenizer.json": b"{}"})
    found = read_folder("path:m", project=tmp_path, store=store, allow=("pickle",))
    paths = [file.path for file in found.model.files]
    assert paths == ["config.json", "pytorch_model.bin", "tokenizer.json"]
    refuse_pickles(found.model.files, ("pickle",), where="path:m")
    with pytest.raises(RecipeError) as caught:
        refuse_pickles(found.model.files, (), where="hub:a/b")
    assert caught.value.diagnostics[0].render() == (
        "hub:a/b: error: the model has pickled weights only\n"
        "  hint: it needs model.safetensors, or model.safetensors.index.json and its shards;"
        " `architecture.allow: [pickle]` takes pickled weights, which can run code when they are"
        " opened"
    )


def test_pickled_shards_and_something_better(tmp_path: Path, store: Store) -> None:
    shards = {f"pytorch_model-0000{n}-of-00002.bin": b"p" for n in (1, 2)}
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    files = {**shards, "pytorch_model.bin.index.json": index, "tokenizer.json": b"{}"}
    folder = model(tmp_path, files)

    def paths() -> list[str]:
        found = read_folder("path:m", project=tmp_path, store=store, allow=("pickle",))
        return [file.path for file in found.model.files]

    assert paths() == sorted([*files, "config.json"])
    (folder / "model.safetensors").write_bytes(b"w")
    assert paths() == ["config.json", "model.safetensors", "tokenizer.json"]


def test_code_is_refused_whatever_is_allowed(tmp_path: Path, store: Store) -> None:
    model(tmp_path, {"model.safetensors": b"w", "tokenizer.json": b"{}"}, {**T5, "auto_map": {}})
    with pytest.raises(RecipeError, match="brings its own code"):
        read_folder("path:m", project=tmp_path, store=store, allow=("pickle",))


def test_hub_repositories_carry_much_else() -> None:
    names = {"config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "README.md"}
    assert select(names, where="hub:a/b") == ("config.json", "model.safetensors")
    with pytest.raises(RecipeError, match="the model has pickled weights only"):
        select({"config.json", "pytorch_model.bin"}, where="hub:a/b")


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ('---\nlicense: "apache-2.0" # x\n---\n', "apache-2.0"),
        ("# no front matter\nlicense: mit\n", None),
        ("---\ntags: x\n---\n", None),
    ],
)
def test_licences(card: str, license: str | None) -> None:
    assert license_of_card(card) == license
