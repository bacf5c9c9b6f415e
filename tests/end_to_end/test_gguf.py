"""Training on a model that lies in a GGUF file: the same bytes again, also after a kill."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import gguf_files
from tests.support.settings import CAUSAL, outputs, place_recipe, vary
from tests.support.training import base, read, run, start, trained, wait_for

LAYERS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
LLAMA = vary(CAUSAL, model__type="llama", method__target_modules=LAYERS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama as llama.cpp's converter would write it."""
    folder = tmp_path_factory.mktemp("gguf")
    program = [sys.executable, gguf_files.__file__, "llama", str(folder)]
    subprocess.run(program, check=True, capture_output=True)
    return folder / "model.gguf"


def place(root: Path, file: Path, method: str) -> Path:
    shutil.copytree(base("llama") / "data", root / "data")
    (root / "model").mkdir()
    shutil.copyfile(file, root / "model/model.gguf")
    return place_recipe(root, vary(LLAMA, method__type=method))


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_a_gguf_is_trained_and_measured(method: str, file: Path, tmp_path: Path) -> None:
    root = place(tmp_path / "root", file, method)
    first = trained(root, tmp_path / "a")
    assert first == trained(root, tmp_path / "b")
    # nothing of the unpacked model stays, and the tokenizer goes with the tuned one
    assert not list((tmp_path / "a").glob(".*"))
    assert {"model/tokenizer.json", "model/chat_template.jinja"} <= first.keys()
    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    metrics = read(tmp_path / "e/metrics.json")["test"]
    assert metrics["tuned"]["perplexity"] < metrics["untuned"]["perplexity"]


@pytest.mark.slow
def test_killed_and_resumed(file: Path, tmp_path: Path) -> None:
    root = place(tmp_path / "root", file, "lora")
    whole = trained(root, tmp_path / "a")
    process = start(root, tmp_path / "b")
    wait_for(process, "10/20")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "b/.base.part/model.safetensors").is_file()
    assert trained(root, tmp_path / "b") == whole
    assert outputs(tmp_path / "b") == outputs(tmp_path / "a")
    assert not (tmp_path / "b/.base.part").exists()
