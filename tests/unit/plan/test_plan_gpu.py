"""What the plan says of a GPU: device, class, variables."""

from __future__ import annotations

import pytest

from recipec.cli.passes import hardware_class
from recipec.plan.evaluation import plan_hardware
from recipec.plan.ledger import Ledger
from recipec.plan.plan import HardwareSettings
from recipec.recipe.check import check
from recipec.recipe.read import read
from tests.unit.conftest import RECIPE


def planned(hardware: str) -> tuple[HardwareSettings, dict[str, object]]:
    ledger = Ledger()
    text = f"{RECIPE}{hardware}\n".encode()
    found = plan_hardware(check(read(text, "r.yaml")), ledger)
    return found, {decision.key: decision.value for decision in ledger.decisions}


def test_a_gpu() -> None:
    found, said = planned("hardware: {accelerator: nvidia-h100-80gb}")
    assert (found.device, found.accelerator, found.capability) == (
        "cuda",
        "nvidia-h100-80gb",
        "9.0",
    )
    assert found.hardware_class == said["hardware.class"] == "nvidia-h100-80gb-sm90"
    assert said["reproducibility"] == found.reproducibility == "bitwise"
    assert said["hardware.accelerator"] == "nvidia-h100-80gb"
    variables = dict(found.environment)
    assert variables["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert variables["ATEN_CPU_CAPABILITY"] == "avx2"
    # known before anything runs, whatever machine compiles
    assert hardware_class(found.hardware_class) == found.hardware_class


def test_seeds_alone_leave_the_cpus_kernels_as_they_are() -> None:
    found, _ = planned("hardware: {accelerator: nvidia-l4}\nreproducibility: seeded")
    assert found.hardware_class == "nvidia-l4-sm89"
    assert "ATEN_CPU_CAPABILITY" not in dict(found.environment)


@pytest.mark.parametrize("mode", ["portable", "bitwise", "seeded"])
def test_cpus_are_planned_as_they_were(mode: str) -> None:
    found, said = planned(f"reproducibility: {mode}")
    assert (found.device, found.accelerator, found.capability) == ("cpu", "cpu", "")
    assert "hardware.accelerator" not in said
    wanted = "cpu-x86-64-v3-portable" if mode == "portable" else "cpu-x86-64"
    assert found.hardware_class == wanted
    assert hardware_class(wanted).startswith(wanted)
