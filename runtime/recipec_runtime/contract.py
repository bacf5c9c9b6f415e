"""run.json: the one contract between the compiler and this runtime.

In: the bytes of run.json. Out: a frozen `RunFile`. It reads no other file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from recipec_runtime.errors import EnvironmentLacks

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file that must be there: path relative to the root, digest, size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """What the model lies on if not the CPU: `device` is torch's word, `name` the recipe's.

    `capability` is the compute capability that the recipe was compiled for; empty if any will do.
    """

    device: str
    name: str
    capability: str = ""


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """How several processes train one model: `ddp`, each with all of it, or `fsdp`, with shards.

    `processes` are those of each of `nodes` machines.
    """

    type: str
    nodes: int
    processes: int


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What run.json says. `environment` must be set before torch is imported."""

    name: str
    reproducibility: str
    hardware_class: str
    threads: int
    world_size: int
    environment: dict[str, str]
    scripts: dict[str, str]
    inputs: tuple[Input, ...]
    at_least: dict[str, float]
    at_most: dict[str, float]
    adapted: str | None = None
    """Run id of the run that the model to tune comes from; None for the model as it was pinned."""
    accelerator: Accelerator | None = None
    """None for CPUs."""
    parallelism: Parallelism | None = None
    """None for one process."""


def parse(data: bytes) -> RunFile:
    """The contract from its JSON text. Raises EnvironmentLacks if it cannot be read."""
    try:
        plain: dict[str, Any] = json.loads(data)
        version = plain["version"]
        if version != VERSION:
            raise EnvironmentLacks(
                f"run.json has version {version}; this runtime reads version {VERSION}",
                hint="build the recipe again, so that script and runtime match",
            )
        return RunFile(
            name=plain["name"],
            reproducibility=plain["reproducibility"],
            hardware_class=plain["hardware_class"],
            threads=plain["threads"],
            world_size=plain["world_size"],
            environment=dict(plain["environment"]),
            scripts=dict(plain["scripts"]),
            inputs=tuple(Input(**entry) for entry in plain["inputs"]),
            at_least=dict(plain["gates"]["at_least"]),
            at_most=dict(plain["gates"]["at_most"]),
            adapted=plain["adapted"]["run_id"] if "adapted" in plain else None,
            accelerator=Accelerator(**plain["accelerator"]) if "accelerator" in plain else None,
            parallelism=Parallelism(**plain["parallelism"]) if "parallelism" in plain else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentLacks(
            f"run.json cannot be read: {type(error).__name__}: {error}",
            hint="build the recipe again",
        ) from error
