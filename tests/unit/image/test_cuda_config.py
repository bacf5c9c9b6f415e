"""The variables by which container runtimes give an image a GPU."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recipec.image.config import config
from recipec.pins.lockfile import Lock, Model, Platform, Wheel

LOCK = Lock(
    recipe="recipes/a.yaml",
    recipe_digest="",
    uv="",
    layer_format=1,
    wheels=(Wheel(name="torch", version="2.13.0", file="", sha256="", size=1),),
    debs=(),
    model=Model(source="path:m", files=()),
    data=(),
)
PLAN = (("OMP_NUM_THREADS", "1"),)


def variables(lock: Lock) -> dict[str, str]:
    made = json.loads(config(lock, (), PLAN, {}))
    return dict(text.split("=", 1) for text in made["config"]["Env"])


def on_gpus(torch: str) -> Lock:
    wheels = (replace(LOCK.wheels[0], version=torch),)
    return replace(LOCK, platform=Platform(accelerator="cuda"), wheels=wheels)


def test_an_image_for_cpus_has_none_of_them() -> None:
    assert not [name for name in variables(LOCK) if "NVIDIA" in name or "LIBRARY" in name]


@pytest.mark.parametrize(
    ("torch", "cuda"), [("2.13.0", "13.0"), ("2.15.0", "13.0"), ("2.10.0", "12.0")]
)
def test_an_image_for_gpus(torch: str, cuda: str) -> None:
    """Any driver of torch's major version of CUDA will do: 13.2 runs with the first one of 13."""
    plain, found = variables(LOCK), variables(on_gpus(torch))
    assert {name: value for name, value in found.items() if plain.get(name) != value} == {
        "PATH": f"{plain['PATH']}:/usr/local/nvidia/bin",
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        "NVIDIA_REQUIRE_CUDA": f"cuda>={cuda}",
    }
    assert plain.items() - found.items() == {("PATH", plain["PATH"])}
