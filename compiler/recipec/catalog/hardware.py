"""Reader of hardware.toml and machines.toml: accelerators, and the machines that clouds rent.

In: the data files beside this module. Out: frozen values; memory in bytes, speed in FLOP/s and
bytes a second. It asks no machine what it has, and knows no price: see `recipec.catalog.prices`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal

from recipec.catalog.support import read_table

GIB = 1 << 30

CLOUDS = ("aws", "google", "azure", "ibm")
"""In the order of the tables."""

NAMED = 3
"""Names that a hint gives at most."""

Kind = Literal["cpu", "gpu", "tpu"]


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device that computes. A figure that it lacks, or that has no source, is None."""

    name: str
    """As a recipe's `hardware.accelerator` names it."""
    title: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    experimental: bool = False
    memory_bytes: int | None = None
    """What the vendor sells."""
    usable_bytes: int | None = None
    """What a process finds, all of it free."""
    compute_capability: tuple[int, int] | None = None
    """NVIDIA's: what code must be compiled for."""
    minimum_cuda: tuple[int, int] | None = None
    """The first CUDA toolkit that compiles for it."""
    maximum_cuda: tuple[int, int] | None = None
    """The last one; None while there is no end."""
    bf16_flops: float | None = None
    """Peak FLOP/s of dense bfloat16 products that add up in float32."""
    fp16_flops: float | None = None
    tf32_flops: float | None = None
    """float32 products on tensor cores, with ten bits of mantissa."""
    fp32_flops: float | None = None
    """float32 proper, without tensor cores."""
    memory_bandwidth: float | None = None
    link: Literal["", "pcie", "nvlink", "ici"] = ""
    """How the devices of one machine talk."""
    link_bandwidth: float | None = None
    """Of one device, both directions together."""
    notes: str = ""
    source: str = ""
    """Where memory, peaks and bandwidths are from."""

    @property
    def bfloat16(self) -> bool:
        """Whether it multiplies bfloat16 in hardware: TPUs, and compute capability 8.0 on."""
        capability = self.compute_capability
        return self.kind == "tpu" or (capability is not None and capability >= (8, 0))

    @property
    def short(self) -> str:
        """The name without its vendor, such as `h100-80gb`."""
        return self.name.partition("-")[2] or self.name


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine type of a cloud, and what one gets with it."""

    name: str
    """The cloud's name; where the accelerators are attached to a general machine, with them."""
    cloud: str
    type: str
    """What the cloud's API is told."""
    attach: str = ""
    """What its API is told to attach; empty where the machine brings its accelerators."""
    accelerator: str
    """Its name in `accelerators()`."""
    count: int
    """Accelerators; 0 for a machine of CPUs."""
    vcpus: int
    memory_bytes: int
    disk_gb: int | None = None
    """Local disk as the cloud states it; 0 for none, None where that is not known."""
    network_gbits: float | None = None
    """Gbit/s that last."""
    sagemaker: str = ""
    """Its name in SageMaker; empty where SageMaker does not train on it."""
    source: str = ""


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Every accelerator by name, in the order of the file."""
    return {name: _accelerator(name, row) for name, row in read_table("hardware.toml").items()}


@cache
def machines() -> Mapping[str, Machine]:
    """Every machine type by name, in the order of the file."""
    found: dict[str, Machine] = {}
    for cloud, table in read_table("machines.toml").items():
        for name, row in table["machines"].items():
            found[name] = _machine(cloud, name, row, table["source"])
    return found


def find_accelerator(name: str) -> Accelerator | None:
    """The accelerator of that name or alias."""
    return accelerators().get(name) or _aliases().get(name)


def find_machine(name: str) -> Machine | None:
    """The machine type of that name, or of that name in SageMaker."""
    return machines().get(name) or machines().get(name.removeprefix("ml."))


def accelerator_hint(name: str) -> str:
    """What someone may have meant by a name that is none, or else all the names."""
    known = f"known: {', '.join(accelerators())}"
    return _hint(name, [*accelerators()], otherwise=known, aliases=[*_aliases()])


def machine_hint(name: str) -> str:
    """What someone may have meant by a machine type that is none."""
    return _hint(name, [*machines()], otherwise="docs/hardware.md lists the machine types")


def machines_with(accelerator: str, count: int = 1) -> tuple[Machine, ...]:
    """The machine types with at least so many of an accelerator, the smallest first."""
    able = [m for m in machines().values() if m.accelerator == accelerator and m.count >= count]
    return tuple(sorted(able, key=lambda m: (m.count, m.vcpus, m.memory_bytes)))


@cache
def _aliases() -> Mapping[str, Accelerator]:
    return {alias: one for one in accelerators().values() for alias in one.aliases}


def _hint(
    name: str, known: Collection[str], *, otherwise: str, aliases: Collection[str] = ()
) -> str:
    """The names with all the words of `name`, or the nearest in spelling, or else `otherwise`."""
    folded = name.lower().replace("_", "-").replace(" ", "-")
    exact = {one.lower(): one for one in known}
    words = {word for word in folded.split("-") if word}
    near = [one for one in exact if words and words <= set(one.split("-"))]
    exact |= {one.lower(): one for one in aliases}
    near = near[:NAMED] or difflib.get_close_matches(folded, exact, n=1, cutoff=0.6)
    shown = " or ".join(f"`{exact[one]}`" for one in near)
    return f"did you mean {shown}?" if shown else otherwise


_UNITS: Mapping[str, tuple[str, float]] = {
    "memory_gib": ("memory_bytes", GIB),
    "usable_gib": ("usable_bytes", GIB),
    "ram_gib": ("memory_bytes", GIB),
    "bf16_tflops": ("bf16_flops", 1e12),
    "fp16_tflops": ("fp16_flops", 1e12),
    "tf32_tflops": ("tf32_flops", 1e12),
    "fp32_tflops": ("fp32_flops", 1e12),
    "bandwidth_gbs": ("memory_bandwidth", 1e9),
    "link_gbs": ("link_bandwidth", 1e9),
}
"""A key of the files, the field that it fills, and by what it is multiplied."""

_VERSIONS = {
    "capability": "compute_capability",
    "first_cuda": "minimum_cuda",
    "last_cuda": "maximum_cuda",
}


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a file with the units and names of its dataclass."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key in _UNITS:
            name, unit = _UNITS[key]
            values[name] = round(value * unit) if name.endswith("_bytes") else value * unit
        elif key in _VERSIONS:
            major, minor = value.split(".")
            values[_VERSIONS[key]] = (int(major), int(minor))
        else:
            values[key] = tuple(value) if isinstance(value, list) else value
    return values


def _accelerator(name: str, row: Mapping[str, Any]) -> Accelerator:
    values = _values(row)
    known = {field.name for field in fields(Accelerator)}
    assert values.keys() <= known, f"hardware.toml: {name} has {sorted(values.keys() - known)}"
    return Accelerator(name=name, **values)


def _machine(cloud: str, name: str, row: Mapping[str, Any], source: str) -> Machine:
    values = {"type": name, **_values(row), "source": source}
    offered = cloud == "aws" and values.pop("sagemaker", True)
    known = {field.name for field in fields(Machine)}
    assert values.keys() <= known, f"machines.toml: {name} has {sorted(values.keys() - known)}"
    return Machine(name=name, cloud=cloud, sagemaker=f"ml.{name}" if offered else "", **values)
