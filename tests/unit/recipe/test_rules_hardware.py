"""The rules of `hardware`: names, keys of GPUs, and the promise that no GPU can give."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from recipec.recipe.promise import promise_of
from tests.unit.recipe.test_rules import broken, only, recipe


@pytest.mark.parametrize(
    "hardware",
    [
        {},
        {"accelerator": "cpu", "threads": 4, "count": 1},
        {"accelerator": "nvidia-h100-80gb"},
        {"accelerator": "nvidia-h100", "driver": "580"},
        {"accelerator": "nvidia-t4", "driver": "595.10.2", "count": 1},
    ],
)
def test_what_goes_together(hardware: dict[str, Any]) -> None:
    assert broken(hardware=hardware) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("h100", "did you mean `nvidia-h100-80gb` or `nvidia-h100-nvl-94gb`?"),
        ("nvidia-rtx-4900", "did you mean `nvidia-rtx-4090`?"),
        ("NVIDIA-L4", "did you mean `nvidia-l4`?"),
    ],
)
def test_a_name_that_the_catalogue_does_not_have(name: str, hint: str) -> None:
    message = f"no accelerator called {name!r} is known"
    assert only(hardware={"accelerator": name}) == ("hardware.accelerator", message, hint)


def test_a_name_like_no_other_is_answered_with_all() -> None:
    _, _, hint = only(hardware={"accelerator": "abacus"})
    assert hint.startswith("known: cpu, nvidia-t4, ")


def test_what_is_neither_cpu_nor_gpu() -> None:
    path, message, _ = only(hardware={"accelerator": "google-tpu-v5e"})
    assert path == "hardware.accelerator"
    assert message.startswith("this version trains on CPUs and NVIDIA GPUs, and Google")
    assert message.endswith(" is neither")


@pytest.mark.parametrize(("key", "value"), [("count", 2), ("driver", "580.95.05")])
def test_a_key_of_gpus_on_cpus(key: str, value: object) -> None:
    assert only(hardware={key: value}) == (
        f"hardware.{key}",
        f"`hardware.{key}` does nothing on CPUs",
        "remove it, or name a GPU in `hardware.accelerator`",
    )


def test_several_gpus() -> None:
    assert only(hardware={"accelerator": "nvidia-l4", "count": 4}) == (
        "hardware.count",
        "the training script runs on one GPU, and this asks for 4: the others would be paid for and"
        " do nothing",
        "remove it; for more memory name a larger GPU, or set"
        " `architecture.gradient_checkpointing`",
    )


def test_no_gpu_is_portable() -> None:
    gpu = {"accelerator": "nvidia-l4"}
    assert only(hardware=gpu, reproducibility="portable") == (
        "reproducibility",
        "GPUs of two models compute different bytes, so the run cannot be portable",
        "leave it out for `bitwise`: the same bytes on every machine with this GPU",
    )
    assert broken(hardware=gpu, reproducibility="seeded") == []
    assert promise_of(recipe(hardware=gpu)) == "bitwise"
    assert promise_of(recipe()) == "portable"


def test_a_recipe_for_cpus_pays_for_no_catalogue_of_gpus() -> None:
    script = (
        "import sys\n"
        "from tests.unit.recipe.test_rules import broken\n"
        "print(broken(), 'recipec.catalog.hardware' in sys.modules)\n"
        "print(broken(hardware={'accelerator': 'nvidia-l4'}),"
        " 'recipec.catalog.hardware' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] False\n[] True\n"
