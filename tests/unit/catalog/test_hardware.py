"""hardware.toml and machines.toml: held against what other people's packages say of the same."""

from __future__ import annotations

import ast
import gzip
import json
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from recipec.catalog.hardware import (
    CLOUDS,
    GIB,
    Machine,
    accelerator_hint,
    accelerators,
    find_accelerator,
    find_machine,
    machine_hint,
    machines,
    machines_with,
)

MIB = 1 << 20
AWS = [machine for machine in machines().values() if machine.cloud == "aws"]
GPUS = [one for one in accelerators().values() if one.kind == "gpu"]


def test_counts() -> None:
    kinds = [one.kind for one in accelerators().values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"cpu": 1, "gpu": 22, "tpu": 4}
    clouds = [machine.cloud for machine in machines().values()]
    counts = {cloud: clouds.count(cloud) for cloud in CLOUDS}
    assert counts == {"aws": 57, "google": 41, "azure": 20, "ibm": 13}


@pytest.mark.parametrize("one", GPUS, ids=lambda one: one.name)
def test_a_gpu_has_the_figures_that_planning_needs(one: Any) -> None:
    assert one.memory_bytes >= one.usable_bytes > one.memory_bytes * 0.9
    assert one.compute_capability >= (7, 0)
    assert one.minimum_cuda >= (9, 0)
    assert one.source.startswith("NVIDIA ")
    assert one.bfloat16 == (one.compute_capability >= (8, 0))
    if one.fp16_flops is not None:
        assert (one.bf16_flops is not None) == one.bfloat16
        assert one.fp16_flops == (one.bf16_flops or one.fp16_flops)
        assert one.fp32_flops < one.fp16_flops
        assert one.memory_bandwidth >= 300e9
    assert (one.tf32_flops is not None) == (one.bf16_flops is not None)


def test_one_accelerator_in_full() -> None:
    one = accelerators()["nvidia-h100-80gb"]
    assert (one.memory_bytes, one.usable_bytes) == (80 * GIB, round(79.18 * GIB))
    assert (one.compute_capability, one.minimum_cuda, one.maximum_cuda) == ((9, 0), (11, 8), None)
    assert (one.bf16_flops, one.tf32_flops, one.fp32_flops) == (989.5e12, 494.5e12, 67e12)
    assert (one.memory_bandwidth, one.link, one.link_bandwidth) == (3.35e12, "nvlink", 900e9)
    assert (one.kind, one.experimental, one.short) == ("gpu", False, "h100-80gb")


def test_only_tpus_are_experimental() -> None:
    assert all(one.experimental == (one.kind == "tpu") for one in accelerators().values())


def test_aliases_are_not_names() -> None:
    aliases = [alias for one in accelerators().values() for alias in one.aliases]
    assert len(aliases) == len(set(aliases)) == 5
    assert not set(aliases) & set(accelerators())
    found = find_accelerator("nvidia-h100")
    assert found is not None
    assert found.name == "nvidia-h100-80gb"
    assert find_accelerator("nvidia-a100") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("h100", "did you mean `nvidia-h100-80gb` or `nvidia-h100-nvl-94gb`?"),
        ("A100 40GB", "did you mean `nvidia-a100-40gb`?"),
        ("nvidia_t4", "did you mean `nvidia-t4`?"),
        ("nvidia-l40", "did you mean `nvidia-l40s`?"),
        ("zzz", f"known: {', '.join(accelerators())}"),
        ("", f"known: {', '.join(accelerators())}"),
    ],
)
def test_the_nearest_accelerator(name: str, hint: str) -> None:
    assert accelerator_hint(name) == hint


def test_a_machine_is_found_by_its_name_in_sagemaker_too() -> None:
    assert find_machine("g5.xlarge") is find_machine("ml.g5.xlarge") is machines()["g5.xlarge"]
    assert find_machine("ml.nothing") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("p4d.24large", "did you mean `p4d.24xlarge`?"),
        ("standard_nc24ads_a100_v4", "did you mean `Standard_NC24ads_A100_v4`?"),
        ("zzz", "docs/hardware.md lists the machine types"),
    ],
)
def test_the_nearest_machine(name: str, hint: str) -> None:
    assert machine_hint(name) == hint


def test_machines_hold_together() -> None:
    for machine in machines().values():
        assert machine.accelerator in accelerators(), machine
        assert (machine.count == 0) == (machine.accelerator == "cpu"), machine
        assert machine.vcpus > 0, machine
        assert machine.memory_bytes >= GIB * 8, machine
        assert machine.source, machine
        assert bool(machine.attach) == (machine.type != machine.name), machine
        assert bool(machine.attach) == machine.name.startswith("n1-"), machine
        assert machine.network_gbits is None or 1 <= machine.network_gbits <= 6400, machine


def test_every_cloud_gpu_has_a_machine_and_the_smallest_comes_first() -> None:
    bought = {"nvidia-rtx-3090", "nvidia-rtx-4090", "nvidia-rtx-5090", "nvidia-rtx-a6000"}
    bought |= {"nvidia-rtx-6000-ada", "nvidia-rtx-pro-6000", "cpu"}
    without = {name for name in accelerators() if not machines_with(name)}
    assert without == bought
    assert [m.name for m in machines_with("nvidia-h100-80gb")][:2] == [
        "p5.4xlarge",
        "a3-highgpu-1g",
    ]
    assert {m.count for m in machines_with("nvidia-a10g", 2)} == {4, 8}


def test_aws_machines_are_as_ec2_describes_them() -> None:
    described = json.loads(
        gzip.decompress(_resource("moto", "ec2/resources/instance_types.json.gz"))
    )
    unknown = {machine.name for machine in AWS if machine.name not in described}
    assert unknown == {"p3.2xlarge", "p3.8xlarge", "p3.16xlarge"}  # an older generation
    for machine in AWS:
        if machine.name not in unknown:
            _same(machine, described[machine.name])


def _same(machine: Machine, described: Any) -> None:
    assert machine.vcpus == described["VCpuInfo"]["DefaultVCpus"], machine
    assert machine.memory_bytes == described["MemoryInfo"]["SizeInMiB"] * MIB, machine
    storage = described.get("InstanceStorageInfo", {})
    assert machine.disk_gb == storage.get("TotalSizeInGB", 0), machine
    gpus = described.get("GpuInfo", {}).get("Gpus", [])
    assert machine.count == sum(gpu["Count"] for gpu in gpus), machine
    for gpu in gpus:
        one = accelerators()[machine.accelerator]
        assert one.memory_bytes is not None
        words = gpu["Name"].lower().replace("server ", "").replace(" ", "-")
        assert one.short.startswith(words), (machine, gpu["Name"])
        # EC2 gives some cards in decimal GB, some in GiB, one as nvidia-smi shows it.
        assert one.memory_bytes == pytest.approx(gpu["MemoryInfo"]["SizeInMiB"] * MIB, rel=0.08)


def test_sagemaker_trains_on_the_machines_that_say_so() -> None:
    packed = _resource("botocore", "data/sagemaker/2017-07-24/service-2.json.gz")
    service = json.loads(gzip.decompress(packed))
    known = set(service["shapes"]["TrainingInstanceType"]["enum"])
    for machine in AWS:
        assert machine.sagemaker == (f"ml.{machine.name}" if machine.sagemaker else ""), machine
        assert (f"ml.{machine.name}" in known) == bool(machine.sagemaker), machine
    assert sum(1 for machine in machines().values() if machine.sagemaker) == 56


def _resource(package: str, path: str) -> bytes:
    """A data file of an installed package, which is not imported."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is in recipec[test]"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], path).read_bytes()


@pytest.mark.engine
@pytest.mark.slow
def test_google_machines_are_as_xpk_knows_them(tmp_path: Path) -> None:
    # xpk pins other versions of what recipec needs, so its wheel is read and not installed.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "xpk==1.16.0"]
    subprocess.run([*command, "--dest", str(tmp_path)], check=True)
    wheel = next(tmp_path.glob("xpk-*.whl"))
    source = zipfile.ZipFile(wheel).read("xpk/core/system_characteristics.py").decode()
    counts, types = _xpk(ast.parse(source))
    shared = {name for name in counts if name in machines()}
    assert len(shared) == 12, shared
    for name in shared:
        assert machines()[name].count == counts[name], name
    tpus = {m.name for m in machines().values() if m.accelerator.startswith("google-tpu")}
    assert tpus - types == {"ct5lp-hightpu-1t"}


def _xpk(tree: ast.Module) -> tuple[dict[str, int], set[str]]:
    """Machine types and their GPUs, and the machine types of TPUs."""
    counts: dict[str, int] = {}
    types: set[str] = set()
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            given = {word.arg: word.value for word in call.keywords}
            name, count = given.get("gce_machine_type"), given.get("chips_per_vm")
            if isinstance(name, ast.Constant) and isinstance(count, ast.Constant):
                counts[str(name.value)] = int(str(count.value))
            if isinstance(made := given.get("machine_type"), ast.Constant):
                types.add(str(made.value))
    return counts, types
