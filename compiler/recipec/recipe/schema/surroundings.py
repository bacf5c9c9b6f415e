"""`evaluation`, `hardware` and `image` of a recipe: what stands around the training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from recipec.recipe.schema.values import (
    BASE,
    DATE_OR_TIME,
    DEBIAN_PACKAGE,
    DRIVER,
    Count,
    Metric,
    Parallelism,
    Text,
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the tuned model is measured, and what it must reach."""

    metrics: Annotated[
        list[Metric] | None,
        Meta(description="Metrics beside the loss; the task's usual ones if left out."),
    ] = None
    batch_size: Annotated[
        Count | None, Meta(description="Rows per forward pass in evaluation.")
    ] = None
    num_beams: Annotated[
        int, Meta(description="Beams of generation; 1 is greedy.", ge=1, le=64)
    ] = 1
    max_new_tokens: Annotated[
        Count | None, Meta(description="Longest generated text, in tokens.")
    ] = None
    at_least: Annotated[
        dict[str, float],
        Meta(description="Gates: `evaluate` fails when a test metric is below its value."),
    ] = field(default_factory=dict)
    at_most: Annotated[
        dict[str, float],
        Meta(description="Gates: `evaluate` fails when a test metric is above its value."),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What it runs on."""

    accelerator: Annotated[
        Text,
        Meta(
            description=(
                "The device: `cpu`, or an NVIDIA GPU by its name in the catalogue, such as"
                " `nvidia-h100-80gb`."
            )
        ),
    ] = "cpu"
    count: Annotated[
        int,
        Meta(
            description=(
                "GPUs of each machine, one process for each; on CPUs, processes of each machine."
            ),
            ge=1,
            le=1024,
        ),
    ] = 1
    nodes: Annotated[
        int, Meta(description="Machines that train together, all alike.", ge=1, le=1024)
    ] = 1
    parallelism: Annotated[
        Parallelism | None,
        Meta(
            description=(
                "How several processes train one model: `ddp` gives each the whole model, `fsdp` a"
                " share of its weights. If left out, the plan takes ddp where a process has room"
                " for the whole model."
            )
        ),
    ] = None
    driver: Annotated[
        Annotated[str, Meta(pattern=DRIVER)] | None,
        Meta(
            description=(
                "The NVIDIA driver of the machine that trains, such as '580.95.05'; with it,"
                " `check` tells whether the CUDA of the image runs there."
            )
        ),
    ] = None
    threads: Annotated[
        int,
        Meta(
            description="CPU threads of one process. It changes the bytes, so it is in the run id.",
            ge=1,
            le=1024,
        ),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What the image is made of."""

    base: Annotated[
        str,
        Meta(
            pattern=BASE,
            examples=["debian-12", "debian-13"],
            description=(
                "The base: Debian packages and their CPython, 3.11 of `debian-12` and 3.13 of"
                " `debian-13`; or an image of a registry by digest, such as"
                " `registry.example/org/python@sha256:...`, with the CPython that is found in it."
            ),
        ),
    ] = "debian-12"
    package_set: Annotated[
        Literal["minimal", "cloud"],
        Meta(
            description=(
                "`minimal`: what Python and the wheels need, and no shell. `cloud`: also bash,"
                " coreutils, procps and what start scripts take for granted, and a home."
            )
        ),
    ] = "minimal"
    jit: Annotated[
        bool,
        Meta(
            description=(
                "Whether the image has a C and C++ compiler, which `torch.compile` and Triton call."
            )
        ),
    ] = False
    packages: Annotated[
        list[Annotated[str, Meta(pattern=DEBIAN_PACKAGE)]],
        Meta(description="More Debian packages by name; what they depend on comes along."),
    ] = field(default_factory=list)
    versions: Annotated[
        dict[str, Text],
        Meta(
            description=(
                "Versions to pin by package name, such as `transformers: 5.23.0`; a package that"
                " the stack does not have is added."
            )
        ),
    ] = field(default_factory=dict)
    exclude_newer: Annotated[
        Annotated[str, Meta(pattern=DATE_OR_TIME)] | None,
        Meta(
            description=(
                "Take no wheel uploaded after this date or time, such as 2026-11-01. Every index"
                " used must tell upload times."
            )
        ),
    ] = None
