"""The rules of `hardware`: names, keys of GPUs, and the promise that no GPU can give."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from recipec.recipe.promise import promise_of
from recipec.recipe.rules.parallelism import WITHOUT_FSDP, Undivided
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


def test_a_key_of_gpus_on_cpus() -> None:
    assert only(hardware={"driver": "580.95.05"}) == (
        "hardware.driver",
        "`hardware.driver` does nothing on CPUs",
        "remove it, or name a GPU in `hardware.accelerator`",
    )


@pytest.mark.parametrize(
    ("name", "count", "nodes", "held", "hint"),
    [
        ("nvidia-l4", 16, 1, "1, 2, 4 or 8", "count: 8, nodes: 2"),
        ("nvidia-h100", 12, 2, "1, 2, 4 or 8", "count: 8, nodes: 3"),
        ("nvidia-b200-180gb", 9, 1, "8", "count: 8, nodes: 2"),
    ],
)
def test_more_gpus_than_any_machine_has(
    name: str, count: int, nodes: int, held: str, hint: str
) -> None:
    path, message, said = only(hardware={"accelerator": name, "count": count, "nodes": nodes})
    assert path == "hardware.count"
    assert message.startswith(f"no machine that is known has {count} x {name}")
    assert message.endswith(f": they have {held}")
    assert said == f"take several machines: `hardware: {{{hint}}}`"


@pytest.mark.parametrize(
    "hardware",
    [
        {"count": 2},
        {"nodes": 3, "count": 4, "parallelism": "ddp"},
        {"nodes": 2, "parallelism": "fsdp"},
        {"accelerator": "nvidia-l4", "count": 4},
        {"accelerator": "nvidia-l4", "count": 3},
        {"accelerator": "nvidia-rtx-4090", "count": 10},
        {"accelerator": "nvidia-h100", "count": 8, "nodes": 16, "parallelism": "fsdp"},
    ],
)
def test_several_processes(hardware: dict[str, Any]) -> None:
    assert broken(hardware=hardware) == []


@pytest.mark.parametrize("value", ["ddp", "fsdp"])
def test_one_process_shares_nothing(value: str) -> None:
    assert only(hardware={"parallelism": value}) == (
        "hardware.parallelism",
        "`hardware.parallelism` does nothing with one process",
        "remove it, or set `hardware.count` or `hardware.nodes`",
    )


@pytest.mark.parametrize("one", WITHOUT_FSDP, ids=lambda one: one.value)
def test_what_fsdp_cannot_do(one: Undivided) -> None:
    sections: dict[str, Any] = {one.section: {one.key: one.value}}
    if one.value == "sgd":
        sections["training"]["learning_rate"] = 0.1
    if one.value == "adamw-8bit":
        sections["reproducibility"] = "bitwise"
    path, message, hint = only(**sections, hardware={"count": 2, "parallelism": "fsdp"})
    assert path == "hardware.parallelism"
    assert message == f"fsdp does not go with `{one.section}.{one.key}: {one.value}`: {one.why}"
    assert hint == f"set `parallelism: ddp`, or {one.instead}"
    assert broken(**sections, hardware={"count": 2, "parallelism": "ddp"}) == []


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
