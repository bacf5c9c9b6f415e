"""The rules of recipes for NVIDIA GPUs: torch's build, the driver, the GPU, what must be there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.recipe.test_rules import broken, only

H100 = {"accelerator": "nvidia-h100"}
T4 = {"accelerator": "nvidia-t4"}
V100 = {"accelerator": "nvidia-v100-16gb"}
OLD = {"versions": {"torch": "2.10.0"}}


@pytest.mark.parametrize(
    "sections",
    [
        {"hardware": H100, "image": {"versions": {"torch": "2.15.0"}}},
        {"hardware": H100, "image": {"versions": {"Torch": "==2.14.1"}}},
        {"hardware": V100, "image": OLD},
        {"hardware": {**V100, "driver": "525.147.05"}, "image": OLD},
        {"hardware": {"accelerator": "nvidia-l4"}},
        {"hardware": {"accelerator": "nvidia-b300"}},
        {"hardware": {"accelerator": "nvidia-rtx-5090"}},
        {"hardware": H100, "training": {"mixed_precision": "bf16"}},
        {"hardware": H100, "architecture": {"dtype": "bfloat16"}},
        {"hardware": T4, "training": {"mixed_precision": "fp16"}},
        {"hardware": H100, "architecture": {"attention": "flex_attention"}, "image": {"jit": True}},
        {"hardware": H100, "method": {"type": "qlora"}},
        {"hardware": H100, "training": {"optimizer": "adamw-8bit"}, "image": OLD},
        {
            "hardware": H100,
            "architecture": {"attention": "flash_attention_2", "dtype": "bfloat16"},
            "image": {"versions": {"flash_attn": "2.8.3"}},
        },
    ],
)
def test_what_goes_together(sections: dict[str, Any]) -> None:
    assert broken(**sections) == []


def test_a_build_without_code_for_the_gpu() -> None:
    assert only(hardware=V100) == (
        "hardware.accelerator",
        "torch 2.13.0 has no code for an NVIDIA V100 SXM2 16 GB: it is built for sm_75, sm_80,"
        " sm_86, sm_90, sm_100, sm_120, and that GPU has compute capability 7.0",
        "take torch 2.10.0, built with CUDA 12.8: `image: {versions: {torch: 2.10.0}}`",
    )


def test_a_chosen_build_without_code_for_the_gpu() -> None:
    path, message, _ = only(hardware=V100, image={"versions": {"torch": "2.15.0"}})
    assert path == "image.versions.torch"
    assert message.startswith("torch 2.15.0 has no code for an NVIDIA V100")


@pytest.mark.parametrize(
    ("driver", "hint"),
    [
        ("579.99", "update the driver, or take torch 2.10.0, built with CUDA 12.8:"),
        ("525.147.05", "update the driver, or take torch 2.10.0, built with CUDA 12.8:"),
        ("524.1", "update the driver"),
    ],
)
def test_a_driver_that_is_too_old(driver: str, hint: str) -> None:
    path, message, said = only(hardware={**H100, "driver": driver})
    assert path == "hardware.driver"
    assert message == (
        "torch 2.13.0 brings CUDA 13.0, which needs an NVIDIA driver from 580 on; this one is"
        f" {driver}"
    )
    assert said.startswith(hint)
    assert ("torch" in said) == ("torch" in hint)


@pytest.mark.parametrize("version", ["2.12.99", ">=2.13", "*", "2.13.0+cu126"])
def test_a_build_of_which_nothing_is_known(version: str) -> None:
    path, message, hint = only(hardware=H100, image={"versions": {"torch": version}})
    assert path == "image.versions.torch"
    assert message == f"which GPUs and drivers torch {version} is built for is not known"
    assert hint.startswith("remove it, or name one of: 2.15.0, 2.14.1, ")


def test_a_build_for_cpus() -> None:
    _, message, _ = only(hardware=H100, image={"versions": {"torch": "2.13.0+cpu"}})
    assert message == "torch 2.13.0+cpu is built for CPUs, and cannot use an NVIDIA H100 SXM5 80 GB"


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"training": {"mixed_precision": "bf16"}}, "training.mixed_precision"),
        ({"architecture": {"dtype": "bfloat16"}}, "architecture.dtype"),
    ],
)
def test_bfloat16_before_ampere(sections: dict[str, Any], path: str) -> None:
    assert only(hardware=T4, **sections) == (
        path,
        "an NVIDIA T4 does not compute in bfloat16: that begins with compute capability 8.0, and it"
        " has 7.5",
        "use float32 weights with `training.mixed_precision: fp16`",
    )


@pytest.mark.parametrize(
    ("attention", "package"),
    [
        ("flash_attention_2", "flash-attn"),
        ("flash_attention_3", "flash-attn-3"),
        ("flash_attention_4", "flash-attn-4"),
    ],
)
def test_flash_attention_wants_its_package(attention: str, package: str) -> None:
    path, message, hint = only(
        hardware=H100, architecture={"attention": attention, "dtype": "bfloat16"}
    )
    assert path == "architecture.attention"
    assert message == f"{attention} needs the package {package}, which is not in the stack"
    assert hint.endswith(f"name it: `image: {{versions: {{{package}: VERSION}}}}`")


@pytest.mark.parametrize(
    ("attention", "name"),
    [
        ("flash_attention_2", "nvidia-t4"),
        ("flash_attention_3", "nvidia-a100-80gb"),
        ("flash_attention_3", "nvidia-b200"),
        ("flash_attention_4", "nvidia-l40s"),
        ("flash_attention_4", "nvidia-rtx-5090"),
    ],
)
def test_flash_attention_on_a_gpu_that_it_is_not_for(attention: str, name: str) -> None:
    _, message, hint = only(hardware={"accelerator": name}, architecture={"attention": attention})
    assert message.startswith(f"{attention} is not written for an NVIDIA ")
    assert hint.startswith("use sdpa")


def test_flash_attention_in_32_bits() -> None:
    _, message, hint = only(hardware=H100, architecture={"attention": "flash_attention_2"})
    assert message == "flash_attention_2 computes in 16 bits, and the recipe in 32"
    assert hint == "set `training.mixed_precision: bf16`, or use sdpa"


def test_flex_attention_wants_a_compiler() -> None:
    assert only(hardware=H100, architecture={"attention": "flex_attention"}) == (
        "architecture.attention",
        "flex_attention is compiled on the GPU's machine, by Triton, and the image has no C"
        " compiler",
        "set `image: {jit: true}`, or use sdpa",
    )


def test_bitsandbytes_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pair of versions that is known lacks one, so one is made up that does."""
    from recipec.catalog import cuda

    monkeypatch.setattr(cuda, "bitsandbytes_majors", {"0.50.2": frozenset({11, 12})}.get)
    assert only(hardware=H100, method={"type": "qlora"}) == (
        "hardware.accelerator",
        "bitsandbytes 0.50.2 has no library for CUDA 13.0, which torch 2.13.0 brings",
        "name other versions of the two in `image.versions`",
    )
    assert broken(hardware=H100, method={"type": "qlora"}, image=OLD) == []
    assert broken(hardware=H100, method={"type": "lora"}) == []
