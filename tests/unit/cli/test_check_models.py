"""`recipec check` of recipes whose model is a GGUF file, is pickled, or lacks a tokenizer."""

from __future__ import annotations

from pathlib import Path

from tests.unit.conftest import Workplace
from tests.unit.pins.test_models_gguf import LLAMA, file_of


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


CAUSAL = (
    ("type: summarization", "type: causal-lm"),
    ("{source: clause, target: summary}", "{text: clause}"),
    ("path:models/tiny", "path:models/small.gguf"),
)


def test_a_gguf_file(workplace: Workplace) -> None:
    edit(workplace.recipe, *CAUSAL)
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert done.err == (
        "recipes/legal-t5.yaml:9:10: error: there is no file models/small.gguf\n"
        "    9 |   model: path:models/small.gguf\n"
        "      |          ^^^^^^^^^^^^^^^^^^^^^^\n"
        f"  hint: paths are relative to {workplace.root}\n"
        "\n"
        "1 error\n"
    )
    (workplace.root / "models/small.gguf").write_bytes(file_of(LLAMA))
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0


def test_the_family_of_a_gguf_file(workplace: Workplace) -> None:
    edit(workplace.recipe, CAUSAL[2])
    (workplace.root / "models/small.gguf").write_bytes(file_of(LLAMA))
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert "(path:models/small.gguf is decoder-only)" in done.err


def test_pickled_weights(workplace: Workplace) -> None:
    folder = workplace.root / "models/tiny"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert done.err == (
        "models/tiny/pytorch_model.bin: error: pickled weights are refused: opening them can run"
        " code\n"
        "  hint: save the model with `save_pretrained(..., safe_serialization=True)` and remove"
        " this file, or take the risk by `architecture.allow: [pickle]`\n"
        "\n"
        "1 error\n"
    )
    edit(workplace.recipe, ("path:models/tiny", "path:models/tiny\n  allow: [pickle]"))
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0


def test_no_tokenizer(workplace: Workplace) -> None:
    (workplace.root / "models/tiny/tokenizer.json").unlink()
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert done.err.startswith("models/tiny: error: the model has no tokenizer\n")
