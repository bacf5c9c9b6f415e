"""What torch's wheels are built for, and which GPUs and drivers that suits."""

from __future__ import annotations

import pytest

from recipec.catalog import stack
from recipec.catalog.cuda import (
    TorchBuild,
    bitsandbytes_majors,
    least_driver,
    numbers,
    shown,
    torch_builds,
)


def test_the_stack_knows_what_it_takes() -> None:
    """The versions that recipes get by default are among those of which the build is known."""
    loaded = stack.load()
    assert loaded.cuda["torch"].removeprefix("===") in torch_builds()
    assert loaded.always["torch"].removesuffix("+cpu") in torch_builds()
    assert bitsandbytes_majors(loaded.methods["qlora"]["bitsandbytes"]) == {11, 12, 13}


def test_builds_are_listed_from_the_newest_on() -> None:
    versions = [numbers(version) for version in torch_builds()]
    assert versions == sorted(versions, reverse=True)
    for build in torch_builds().values():
        assert int(least_driver(build.cuda)) >= 450
        assert build.runs_on((8, 0))


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        (["sm_80"], (8, 0), True),
        (["sm_80"], (8, 9), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_90", "sm_100"], (10, 3), True),
        (["sm_100"], (12, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),
        (["sm_100f"], (10, 3), True),
        (["sm_80", "compute_80"], (12, 0), True),
        (["compute_90"], (8, 0), False),
        (["compute_90a"], (10, 0), False),
    ],
)
def test_code_for_a_gpu(architectures: list[str], capability: tuple[int, int], runs: bool) -> None:
    build = TorchBuild(version="1", cuda=(13, 0), architectures=tuple(architectures))
    assert build.runs_on(capability) is runs


def test_versions() -> None:
    assert numbers("580.95.05") == (580, 95, 5)
    assert shown((13, 0)) == "13.0"
    assert bitsandbytes_majors("0.1") is None


def test_requirements_for_a_gpu() -> None:
    """Any exact version of torch is the public one: no local build takes its place."""

    def torch(versions: dict[str, str], accelerator: str = "nvidia-h100") -> str:
        found = stack.load().requirements(
            method="full", files=["tokenizer.json"], versions=versions, accelerator=accelerator
        )
        return next(text for text in found if text.startswith("torch="))

    assert torch({}) == "torch===2.13.0"
    assert torch({"Torch": "2.14.1"}) == "torch===2.14.1"
    assert torch({"torch": "== 2.14.1"}) == "torch===2.14.1"
    assert torch({}, "cpu") == "torch==2.13.0+cpu"
    assert torch({"torch": "2.14.1"}, "cpu") == "torch==2.14.1"
