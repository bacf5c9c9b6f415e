"""Reader of stack.toml's tables of CUDA: what torch's wheels are built for, and what runs them.

In: the data file beside this module. Out: builds by version of torch, the least driver of a CUDA.
It asks no driver, no GPU and no index. Versions are tuples of numbers, such as (13, 0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from recipec.catalog.support import read_table

Version = tuple[int, ...]

_ARCHITECTURE = re.compile(r"(?P<kind>sm|compute)_(?P<major>[0-9]+)(?P<minor>[0-9])(?P<only>[af]?)")


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """PyPI's wheel of one version of torch."""

    version: str
    cuda: Version
    """The CUDA that it is built with, and whose libraries it brings."""
    architectures: tuple[str, ...]
    """What its kernels are compiled for, such as `sm_90`, and PTX as `compute_90`."""

    def runs_on(self, capability: Version) -> bool:
        """Whether a GPU of that compute capability can run its kernels.

        Source: NVIDIA, "CUDA C++ Programming Guide", binary and PTX compatibility: machine code for
        X.y runs on X.z with z >= y; `a` is for that very capability; PTX is compiled for any later.
        """
        return any(_fits(name, capability) for name in self.architectures)


def _fits(architecture: str, capability: Version) -> bool:
    found = _ARCHITECTURE.fullmatch(architecture)
    assert found is not None, f"stack.toml: {architecture} is no architecture"
    own = (int(found["major"]), int(found["minor"]))
    if found["only"] == "a":
        return own == capability
    if found["kind"] == "compute" and not found["only"]:
        return own <= capability
    return own[0] == capability[0] and own <= capability


@cache
def torch_builds() -> Mapping[str, TorchBuild]:
    """Every build that is known, by version of torch, the newest first."""
    return {
        version: TorchBuild(
            version=version, cuda=numbers(row["cuda"]), architectures=tuple(row["architectures"])
        )
        for version, row in read_table("stack.toml")["torch"].items()
    }


def least_driver(cuda: Version) -> str:
    """The least NVIDIA driver that runs programs of that CUDA, such as `580`."""
    drivers: Mapping[str, str] = read_table("stack.toml")["drivers"]
    return drivers[str(cuda[0])]


def bitsandbytes_majors(version: str) -> frozenset[int] | None:
    """The major versions of CUDA that a version of bitsandbytes runs with; None: not known."""
    known: Mapping[str, list[str]] = read_table("stack.toml")["bitsandbytes"]
    libraries = known.get(version)
    return None if libraries is None else frozenset(numbers(cuda)[0] for cuda in libraries)


def numbers(version: str) -> Version:
    """`580.95.05` as (580, 95, 5)."""
    return tuple(int(part) for part in version.split("."))


def shown(version: Version) -> str:
    """(13, 0) as `13.0`."""
    return ".".join(map(str, version))
