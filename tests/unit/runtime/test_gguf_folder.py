"""A GGUF file becomes the model folder that it was made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipec.pins import gguf as header
from recipec.pins.lockfile import GGUF
from recipec_runtime import gguf
from tests.support import gguf_files


def there_and_back(model_type: str, folder: Path) -> dict[str, Any]:
    program = [sys.executable, gguf_files.__file__, model_type, str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(name, marks=[] if name == "llama" else [pytest.mark.slow])
        for name in gguf_files.TYPES
    ],
)
def test_the_model_that_comes_back(model_type: str, tmp_path: Path) -> None:
    found = there_and_back(model_type, tmp_path)
    assert found["error"] == 0.0
    assert found["tokens"] == found["tokens_back"]
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    # what the compiler reads from the header is what the model's config has
    read = header.read_header(tmp_path / "model.gguf", where="model.gguf")
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    named = header.config_of(read, where="model.gguf")
    assert {key: config.get(key) for key in named} == named
    assert "_model_name_or_path" not in config


def test_every_type_that_the_compiler_takes_is_tried() -> None:
    assert header.TYPES == gguf_files.TYPES
    assert GGUF == gguf.NAME


def test_a_model_that_is_no_gguf_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with gguf.usable(tmp_path / "model", tmp_path) as folder:
        assert folder == tmp_path / "model"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nothing_is_left_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / gguf.NAME).write_bytes(b"GGUF")

    def broken(source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise ValueError(source.name)

    monkeypatch.setattr(gguf, "convert", broken)
    with pytest.raises(ValueError, match=r"model\.gguf"), gguf.usable(tmp_path, tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [gguf.NAME]
