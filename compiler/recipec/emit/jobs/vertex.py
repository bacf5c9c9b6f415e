"""Google Vertex AI: a CustomJob as the REST API takes it.

In: a `Job`. Out: vertex.json, the body of projects.locations.customJobs.create. Under the base of
the outputs the service names folders for the model and for checkpoints (AIP_MODEL_DIR and its
like), which the runtime finds mounted below /gcs/. A job that was taken away or failed by the
service's fault is started again, and the run goes on from its checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.catalog.hardware import Machine
from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.machines import machine_faults, machine_of
from recipec.emit.jobs.text import json_text
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

MOUNTED = "/gcs/"
"""Where buckets stand in the container."""

DISK_GB = 100
LONGEST_LABEL = 63

ACCELERATORS: Mapping[str, str] = {
    "nvidia-t4": "NVIDIA_TESLA_T4",
    "nvidia-v100-16gb": "NVIDIA_TESLA_V100",
    "nvidia-l4": "NVIDIA_L4",
    "nvidia-a100-40gb": "NVIDIA_TESLA_A100",
    "nvidia-a100-80gb": "NVIDIA_A100_80GB",
    "nvidia-h100-80gb": "NVIDIA_H100_80GB",
    "nvidia-h200-141gb": "NVIDIA_H200_141GB",
    "nvidia-b200-180gb": "NVIDIA_B200",
    "nvidia-rtx-pro-6000-server": "NVIDIA_RTX_PRO_6000",
}
"""What Vertex calls an accelerator of the catalogue."""

MEGA = "a3-megagpu-8g"
"""The one machine type whose accelerator has a name of its own there."""

_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\s]*)?")
_ACCOUNT = re.compile(r"[^@\s]+@[^@\s]+\.gserviceaccount\.com")
_REGISTRIES = re.compile(r"([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io|docker\.io)/.+")


def documents(job: Job) -> dict[str, bytes]:
    """The request's body."""
    return {"vertex.json": json_text(custom_job(job))}


def custom_job(job: Job) -> dict[str, Any]:
    """The job's values."""
    settings = job.settings
    scheduling: dict[str, Any] = {
        "timeout": f"{job.seconds}s",
        "restartJobOnWorkerRestart": True,
    }
    if settings.spot:
        scheduling["strategy"] = "SPOT"
    base = f"{str(settings.output).rstrip('/')}/{job.digits}/"
    spec: dict[str, Any] = {
        "workerPoolSpecs": list(_pools(job)),
        "scheduling": scheduling,
        "baseOutputDirectory": {"outputUriPrefix": base},
    }
    if settings.identity:
        spec["serviceAccount"] = settings.identity
    return {
        "displayName": job.title(128),
        "labels": {
            "recipec-name": job.name,
            "recipec-run-id": job.digits[:32],
        },
        "jobSpec": spec,
    }


def _pools(job: Job) -> Iterator[dict[str, Any]]:
    """The first pool is one machine, which the others meet at; the second has the others."""
    several = job.shape.nodes - 1
    for count in (1, several) if several else (1,):
        yield {
            "machineSpec": _machine(job),
            "replicaCount": str(count),
            "diskSpec": {
                "bootDiskType": "pd-ssd",
                "bootDiskSizeGb": job.settings.disk_gb or DISK_GB,
            },
            "containerSpec": _container(job),
        }


def _machine(job: Job) -> dict[str, Any]:
    plain: dict[str, Any] = {"machineType": machine_of(job, "google")}
    if job.shape.count:
        kind = ACCELERATORS[job.shape.accelerator]
        if plain["machineType"] == MEGA:
            kind = "NVIDIA_H100_MEGA_80GB"
        plain |= {"acceleratorType": kind, "acceleratorCount": job.shape.count}
    return plain


def _container(job: Job) -> dict[str, Any]:
    told = job.environment(adapted=mounted(job.settings.adapted or ""))
    env = [{"name": name, "value": value} for name, value in told.items()]
    return {"imageUri": job.container.reference, "args": ["train"], "env": env}


def mounted(uri: str) -> str:
    """Where a gs:// place stands in the container."""
    return MOUNTED + uri.removeprefix("gs://").rstrip("/") if uri else ""


def _spelling(machine: Machine) -> str:
    return machine.type if machine.accelerator in (*ACCELERATORS, "cpu") else ""


def faults(job: Job) -> Iterator[Broken]:
    """What the service would refuse."""
    settings = job.settings
    if not _REGISTRIES.fullmatch(job.container.reference):
        yield Broken(
            path=("deploy", "image"),
            message="Vertex AI pulls images from Artifact Registry and Docker Hub alone",
            hint="`recipec copy` takes it to REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME",
        )
    for key in ("output", "adapted"):
        place = getattr(settings, key)
        if place is not None and not _BUCKET.fullmatch(place):
            yield job.broken(
                key, f"{place!r} is no place in Cloud Storage", "such as gs://my-bucket/runs"
            )
    if settings.identity is not None and not _ACCOUNT.fullmatch(settings.identity):
        yield job.broken(
            "identity",
            f"{settings.identity!r} is no service account",
            "such as training@my-project.iam.gserviceaccount.com",
        )
    if job.shape.count and job.shape.accelerator not in ACCELERATORS:
        yield job.broken(
            "machine",
            f"Vertex AI has no {job.shape.accelerator}",
            f"it has {', '.join(ACCELERATORS)}",
        )
    else:
        yield from machine_faults(job, "google", _spelling)


EMITTERS: Mapping[TargetName, Emitter] = {
    "vertex": Emitter(
        target="vertex",
        takes=frozenset(
            {"machine", "identity", "output", "adapted", "spot", "max_hours", "disk_gb"}
        ),
        needs=("output",),
        documents=documents,
        faults=faults,
    )
}
