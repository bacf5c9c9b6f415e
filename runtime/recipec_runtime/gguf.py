"""A model in a GGUF file, turned into the folder that every script expects.

In: a model folder that may hold model.gguf. Out: a folder with config.json, model.safetensors and
the tokenizer, in 32-bit floats. transformers reads the file and dequantizes it; this module writes
down what it read, because a model that was loaded from a GGUF cannot be saved by itself.

Dequantizing is a multiplication and an addition for each weight, so the result is the same on every
machine. torch and transformers are imported inside, after the environment is pinned.
"""

from __future__ import annotations

import functools
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from recipec_runtime import files
from recipec_runtime.errors import TrainingFailed

NAME = "model.gguf"
"""The file's name in the model folder of every image."""
WORK = ".base.part"
"""The folder under the output folder while a run lasts; a killed run's is removed by the next."""


@contextmanager
def usable(model: Path, output: Path) -> Iterator[Path]:
    """The folder to load the model from: `model` itself, or a converted one under `output`.

    It lies on the output's disk, not in /tmp, which is memory in a container. It is gone on
    leaving. Raises TrainingFailed when the file's weights are not those of its architecture.
    """
    source = model / NAME
    if not source.is_file():
        yield model
        return
    folder = output / WORK
    try:
        with files.disk(output):
            folder.mkdir()
            convert(source, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def convert(source: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of a GGUF file to `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    # a progress bar that no setting turns off would drown the run's own lines
    with _each_made_once(), redirect_stderr(io.StringIO()):
        AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
        loaded, report = AutoModelForCausalLM.from_pretrained(
            **place, dtype=torch.float32, output_loading_info=True
        )
    if report["missing_keys"]:
        raise TrainingFailed(
            f"the GGUF file lacks weights of the model: {sorted(report['missing_keys'])[0]}",
            hint="use the model's safetensors",
        )
    config = loaded.config
    del config.quantization_config  # what made the loaded model one that cannot be saved
    config.__dict__.pop("_model_name_or_path", None)  # the file's title, which names no place
    with torch.device("meta"):
        model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(folder)


@contextmanager
def _each_made_once() -> Iterator[None]:
    """Let the gguf package make a reader for each file and a name map for each architecture once.

    transformers makes three readers, at 5 s each for a vocabulary of 50,000, and a map for each
    module of the model, where one would do: 12 s in place of 30 for 135M parameters.
    """
    import gguf

    names: tuple[str, ...] = ("GGUFReader", "get_tensor_name_map")
    before: dict[str, Any] = {name: getattr(gguf, name) for name in names}
    try:
        for name, made in before.items():
            setattr(gguf, name, functools.cache(made))
        yield
    finally:
        for name, made in before.items():
            setattr(gguf, name, made)
