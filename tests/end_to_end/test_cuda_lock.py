"""Recipes for GPUs against the real index: its metadata and 12 MB, not the wheels' 3 GB."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from recipec.catalog.cuda import shown, torch_builds
from recipec.catalog.debian import releases
from recipec.catalog.stack import load as load_stack
from recipec.cli.compile import read_lock
from recipec.cli.frontend import load
from recipec.cli.passes import lock_and_plan
from recipec.cli.project import find_project
from recipec.image.format import MAX_WHEEL_LAYERS
from recipec.pins.lockfile import Platform
from recipec.pins.sources import wheel_sources
from recipec.pins.wheels import FoundWheel, Resolver
from recipec.progress import Silent
from recipec.store import Store
from tests.support.projects import ROOT

ON_GPUS = ("assistant-cuda",)
"""The example recipes that train on a GPU."""
pytestmark = pytest.mark.engine


def resolver(python: str = "3.11") -> Resolver:
    platform = Platform(python=python, accelerator="cuda")
    return Resolver(platform=platform, sources=wheel_sources(), folder=ROOT)


def resolved(python: str, versions: dict[str, str]) -> dict[str, FoundWheel]:
    wanted = load_stack().requirements(
        method="qlora", files=["tokenizer.json"], versions=versions, accelerator="nvidia-l4"
    )
    return {wheel.name: wheel for wheel in resolver(python).resolve(wanted)}


@pytest.mark.parametrize("python", [release.python for release in releases()])
def test_the_stack_has_a_wheel_of_each_for_cuda_13(python: str) -> None:
    found = resolved(python, {})
    assert found["torch"].version == "2.13.0"
    assert found["torch"].size is None or found["torch"].size > 300_000_000
    assert {"triton", "bitsandbytes", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= {
        *found
    }
    assert sum(name.startswith("nvidia-") for name in found) >= 15
    assert all(wheel.sha256 for wheel in found.values())


def test_the_torch_that_an_older_gpu_or_driver_is_told_of_can_be_locked() -> None:
    found = resolved("3.11", {"torch": "2.10.0"})
    assert found["torch"].version == "2.10.0"
    assert "nvidia-cublas-cu12" in found
    assert "nvidia-cublas" not in found


def test_the_build_is_what_the_catalogue_says() -> None:
    """Read anew from the wheel at the index: 12 MB of its 530."""
    version = load_stack().cuda["torch"].removeprefix("===")
    script = [sys.executable, str(ROOT / "scripts/read_torch_build.py"), version]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)
    (read,) = tomllib.loads(done.stdout)["torch"].items()
    known = torch_builds()[version]
    assert read == (
        version,
        {"cuda": shown(known.cuda), "architectures": [*known.architectures]},
    )


@pytest.mark.parametrize("name", ON_GPUS)
def test_the_committed_lock_fits_the_recipe(name: str) -> None:
    """Nothing of it would change, short of what upstream may have dropped since."""
    project, store = find_project(Path(f"{ROOT}/recipes/{name}.yaml")), Store()
    lock = read_lock(project)
    assert lock is not None
    pinned, plan = lock_and_plan(
        load(project, store),
        old=lock,
        store=store,
        progress=Silent(),
        locked=True,
        fetch_packages=False,
    )
    assert pinned.lock == lock
    assert plan.settings.hardware.reproducibility == "bitwise"


@pytest.mark.parametrize("name", ON_GPUS)
def test_the_index_still_has_what_the_committed_lock_pins(name: str) -> None:
    lock = read_lock(find_project(Path(f"{ROOT}/recipes/{name}.yaml")))
    assert lock is not None
    assert {*resolver().locate(lock.wheels)} == {wheel.sha256 for wheel in lock.wheels}
    assert sum(wheel.size for wheel in lock.wheels) > 2_500_000_000
    assert len(lock.wheels) > MAX_WHEEL_LAYERS
