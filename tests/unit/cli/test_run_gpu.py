"""Commands around a GPU on a machine without one."""

from __future__ import annotations

import json

import pytest

from recipec.engines import gpus
from tests.unit.conftest import RECIPE, Workplace

pytestmark = pytest.mark.skipif(gpus.look().lacks(1) is None, reason="there is a GPU")

GPU = RECIPE + "hardware: {accelerator: nvidia-h100-80gb}\n"


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_run_stops_before_anything_is_fetched_or_built(stage: str, workplace: Workplace) -> None:
    workplace.recipe.write_text(GPU)
    before = set(workplace.root.rglob("*"))
    done = workplace.run(
        *("run", "recipes/legal-t5.yaml", "--stage", stage, "--engine", "sandbox"),
        environment={"UV_OFFLINE": "1"},
    )
    assert done.code == 3
    assert done.out == ""
    assert done.err == (
        f"error: the engine sandbox cannot run here: {gpus.NO_DRIVER}\n"
        "  hint: --engine auto takes the first engine that works\n"
    )
    assert set(workplace.root.rglob("*")) == before
    assert not (workplace.cache / "rootfs").exists()
    assert not (workplace.cache / "layers").exists()


def test_run_with_any_engine_names_what_each_lacks(workplace: Workplace) -> None:
    workplace.recipe.write_text(GPU)
    done = workplace.run("run", "recipes/legal-t5.yaml")
    assert done.code == 3
    lines = done.err.splitlines()
    assert lines[0] == "error: no engine can run the image here"
    assert [line.split(":")[0].strip() for line in lines[1:4]] == ["docker", "podman", "sandbox"]


def test_doctor_tells_of_the_gpu_and_does_not_ask_for_one(workplace: Workplace) -> None:
    done = workplace.run("doctor", "--json")
    found = {row["what"]: row for row in json.loads(done.out)["findings"]}
    assert found["NVIDIA GPU"] == {
        "what": "NVIDIA GPU",
        "good": False,
        "detail": gpus.NO_DRIVER,
        "needed": False,
    }
    assert "CDI devices" not in found
