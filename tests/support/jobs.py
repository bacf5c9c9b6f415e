"""Jobs of every kind that a service must take, and documents with a mistake in them.

One GPU, eight, several machines, spot, CPUs with one process and with several, a mixture of
experts: as values, so that a target meets shapes of which this repository has no recipe.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from recipec.emit.jobs.job import Container, Job, Shape
from recipec.emit.jobs.make import job_documents, job_faults
from recipec.recipe.schema import TargetName, TargetSettings

RUN_ID = "sha256:" + "0123456789abcdef" * 4
DIGEST = "sha256:" + "fedcba9876543210" * 4
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team"
REGISTRIES = {"sagemaker": ECR, "vertex": "europe-west4-docker.pkg.dev/my-project/team"}
"""Where a target's images must lie."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "sagemaker": {
        "identity": "arn:aws:iam::123456789012:role/training",
        "output": "s3://my-bucket/runs",
    },
    "kubernetes": {"output": "pvc:results/runs", "namespace": "training"},
    "compose": {},
    "ec2": {"boot": "ami-0123456789abcdef0"},
    "gce": {
        "boot": "projects/debian-cloud/global/images/family/debian-12",
        "zone": "us-central1-a",
    },
    "ibm-vpc": {
        "boot": "r006-01234567-89ab-cdef-0123-456789abcdef",
        "compute": "0717-01234567-89ab-cdef-0123-456789abcdef",
        "zone": "us-south-1",
    },
    "azure-vm": {
        "boot": "Debian:debian-12:12-gen2:latest",
        "compute": "/subscriptions/a/resourceGroups/b/providers/Microsoft.Network"
        "/networkInterfaces/c",
        "region": "westeurope",
        "ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@here",
    },
    "skypilot": {"output": "s3://my-bucket/runs"},
    "vertex": {"output": "gs://my-bucket/runs"},
    "azureml": {"output": "azureml://datastores/workspaceblobstore/paths/runs"},
    "databricks": {
        "output": "/Volumes/main/training/runs",
        "project": "/Workspace/Users/me@example.com/recipec",
    },
}
"""What each target cannot do without."""

SPOT: Mapping[str, Mapping[str, Any]] = {"sagemaker": {"checkpoints": "s3://my-bucket/live"}}
"""What a target wants beside `spot: true`."""

CLUSTERS: tuple[TargetName, ...] = ("gke", "aks", "eks", "iks")
SETS: tuple[TargetName, ...] = ("jobset", "trainjob")
MACHINES = {"nvidia-l4": "g2-standard-12", "nvidia-h100-80gb": "a3-highgpu-8g"}
MACHINES_ALONE: tuple[TargetName, ...] = ("ec2", "gce", "azure-vm", "ibm-vpc")
ACCELERATORS: Mapping[str, tuple[str, str]] = {
    "azureml": ("nvidia-a100-pcie-80gb", "nvidia-h100-80gb"),
    "azure-vm": ("nvidia-a100-pcie-80gb", "nvidia-h100-80gb"),
    "aks": ("nvidia-a100-pcie-80gb", "nvidia-h100-80gb"),
    "iks": ("nvidia-l4", "nvidia-h100-80gb"),
    "databricks": ("nvidia-a10g", "nvidia-h100-80gb"),
}
"""What a target has one of, and eight of, in one machine."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A recipe's shape, and what it asks of the service."""

    name: str
    shape: Shape = field(default_factory=Shape)
    spot: bool = False


def cases(target: TargetName) -> dict[str, Case]:
    """The cases that a target must take, by name."""
    one, eight = ACCELERATORS.get(target, ("nvidia-l4", "nvidia-h100-80gb"))
    single, whole = Shape(accelerator=one, processes=1), Shape(accelerator=eight, processes=8)
    more: dict[str, Case] = {}
    if target == "databricks":  # it has no CPUs and no spot machines
        more = {
            "one-h100": Case(name="legal-t5", shape=replace(whole, processes=1)),
            "two-machines-of-one": Case(name="legal-t5", shape=replace(single, nodes=2)),
        }
    return {
        "one-gpu": Case(name="legal-t5", shape=single),
        "eight-gpus": Case(name="legal-t5", shape=whole),
        "four-machines": Case(name="legal-t5", shape=replace(whole, nodes=4)),
        "spot": Case(name="legal-t5", shape=single, spot=True),
        "cpu": Case(name="x" * 63, shape=Shape(threads=4)),
        "four-processes": Case(name="legal-t5", shape=Shape(threads=2, processes=4)),
        "two-machines-of-cpus": Case(name="legal-t5", shape=Shape(processes=2, nodes=2)),
        "experts": Case(name="7-clauses-moe", shape=replace(whole, threads=2)),
        **more,
    }


def job(target: TargetName, case: Case, **more: Any) -> Job:
    """The job of a case; `more` are further settings."""
    kind = "kubernetes" if target in (*CLUSTERS, *SETS) else target
    if target in SETS and case.shape.count:
        more = {"machine": MACHINES[case.shape.accelerator], **more}
    wanted = {**SETTINGS[kind], **({"spot": True, **SPOT.get(kind, {})} if case.spot else {})}
    place = f"{REGISTRIES.get(target, 'registry.example/team')}/{case.name}"
    return Job(
        target=target,
        name=case.name,
        run_id=RUN_ID,
        container=Container(reference=f"{place[:170]}@{DIGEST}", shell=True),
        shape=case.shape,
        settings=TargetSettings(**{**wanted, **more}),
    )


def messages(one: Job) -> list[str]:
    """What is wrong with a job, with the key that it is about."""
    return [f"{fault.path[-1]}: {fault.message}" for fault in job_faults(one)]


def only_document(one: Job) -> bytes:
    """The document of a job that nothing is wrong with; of a machine, the request."""
    assert messages(one) == []
    made = job_documents(one)
    beside = (".cloud-init.yaml", ".command.sh")
    requests = [data for name, data in made.items() if not name.endswith(beside)]
    assert len(requests) == 1
    return requests[0]


def changed(document: Any, change: Callable[[Any], object]) -> Any:
    """A copy of plain values with something changed in it."""
    made = copy.deepcopy(document)
    change(made)
    return made
