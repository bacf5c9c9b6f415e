"""A Kubernetes Job for the clusters of Google, Azure, Amazon and IBM.

In: a `Job`. Out: gke.yaml and its like: a batch/v1 Job, with an Indexed one and a headless Service
for several machines. A pod that was taken away does not count as a failure; one that says that the
recipe or its bytes are wrong ends the job, for another try would end alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from recipec.emit.jobs.job import PORT, Emitter, Job
from recipec.emit.jobs.machines import described, machine_faults, machine_of
from recipec.emit.jobs.names import service_name
from recipec.emit.jobs.pod import Placement, metadata, pod, pod_faults
from recipec.emit.jobs.text import yaml_text
from recipec.errors import MISMATCH, RECIPE, TRAINING, USAGE
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

KEEP_SECONDS = 7 * 24 * 3600
"""A finished job stays for a week, so that its log can be read."""

LONGEST_NAME = 57
"""Of the job: its pods' names add a hyphen and the node's number, 63 in all."""

INSTANCE_TYPE = "node.kubernetes.io/instance-type"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What one cloud's clusters call their machines."""

    cloud: str
    """In the catalogue."""
    accelerator: str = ""
    """The label that names the kind of accelerator, if there is one."""
    spot: Mapping[str, str] | None = None
    """The label of machines that may be taken away; None where there is none."""
    spot_taint: str = ""
    """The taint that such machines have: its key; its value is the label's."""


CLUSTERS: Mapping[TargetName, Cluster] = {
    "gke": Cluster(
        cloud="google",
        accelerator="cloud.google.com/gke-accelerator",
        spot={"cloud.google.com/gke-spot": "true"},
        spot_taint="cloud.google.com/gke-spot",
    ),
    "aks": Cluster(
        cloud="azure",
        spot={"kubernetes.azure.com/scalesetpriority": "spot"},
        spot_taint="kubernetes.azure.com/scalesetpriority",
    ),
    "eks": Cluster(cloud="aws", spot={"eks.amazonaws.com/capacityType": "SPOT"}),
    "iks": Cluster(cloud="ibm"),
}

GKE_NAMES: Mapping[str, str] = {
    "nvidia-t4": "nvidia-tesla-t4",
    "nvidia-v100-16gb": "nvidia-tesla-v100",
    "nvidia-l4": "nvidia-l4",
    "nvidia-a100-40gb": "nvidia-tesla-a100",
    "nvidia-a100-80gb": "nvidia-a100-80gb",
    "nvidia-h100-80gb": "nvidia-h100-80gb",
    "nvidia-h200-141gb": "nvidia-h200-141gb",
    "nvidia-b200-180gb": "nvidia-b200",
    "nvidia-rtx-pro-6000-server": "nvidia-rtx-pro-6000",
}
"""What the label of GKE says for an accelerator of the catalogue."""

GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}

TAKES = frozenset(
    {
        *("machine", "namespace", "identity", "output", "adapted"),
        *("spot", "max_hours", "retries"),
    }
)


def documents(job: Job) -> dict[str, bytes]:
    """The Job, and for several machines the Service that gives them names."""
    name = service_name(job.title(LONGEST_NAME))
    several = job.shape.nodes > 1
    plain = [batch_job(job, name), *([headless(job, name)] if several else [])]
    return {f"{job.target}.yaml": yaml_text(*reversed(plain))}


def batch_job(job: Job, name: str) -> dict[str, Any]:
    """The Job."""
    nodes = job.shape.nodes
    spec: dict[str, Any] = {}
    if nodes > 1:
        spec |= {"completionMode": "Indexed", "completions": nodes, "parallelism": nodes}
    spec |= {
        # When one machine is gone, the others stop, too, and each of them counts.
        "backoffLimit": job.settings.retries * nodes,
        "activeDeadlineSeconds": job.seconds,
        "ttlSecondsAfterFinished": KEEP_SECONDS,
        # A machine that is still saving is not to be there twice.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": failure_rules()},
        "template": pod(
            job,
            placement(job),
            master=f"{name}-0.{name}" if nodes > 1 else "",
            subdomain=name if nodes > 1 else "",
        ),
    }
    head = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(job, name)}
    return {**head, "spec": spec}


def failure_rules() -> list[dict[str, Any]]:
    """What of a pod's end is no failure, and after which exit codes no try is left."""
    final = sorted({RECIPE, USAGE, MISMATCH, TRAINING})
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": "train", "operator": "In", "values": final},
        },
    ]


def headless(job: Job, name: str) -> dict[str, Any]:
    """The Service under which the pods find each other before they are ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(job, name),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }


def placement(job: Job) -> Placement:
    """The machines that the pods want, in the cluster's labels."""
    cluster = CLUSTERS[job.target]
    selector: dict[str, str] = {}
    tolerations = [GPU_TAINT] if job.shape.count else []
    named = GKE_NAMES.get(job.shape.accelerator, "") if cluster.accelerator else ""
    if named:
        selector[cluster.accelerator] = named
    if job.settings.machine or (job.shape.count and not named):
        machine = described(job, cluster.cloud)
        known = machine.type if machine else machine_of(job, cluster.cloud)
        selector[INSTANCE_TYPE] = known
    if job.settings.spot and cluster.spot:
        selector |= cluster.spot
        if cluster.spot_taint:
            value = cluster.spot[cluster.spot_taint]
            taint = {"key": cluster.spot_taint, "operator": "Equal", "value": value}
            tolerations.append({**taint, "effect": "NoSchedule"})
    return Placement(selector=selector, tolerations=tolerations)


def faults(job: Job, cluster: Cluster) -> Iterator[Broken]:
    """What a cluster would refuse, or what it does not have."""
    yield from pod_faults(job)
    if job.settings.machine or job.shape.count:
        yield from machine_faults(job, cluster.cloud)
    if job.settings.spot and cluster.spot is None:
        yield job.broken(
            "spot",
            f"clusters of {cluster.cloud} have no machines that may be taken away",
            "remove `spot`; gke, aks and eks have them",
        )


EMITTERS: Mapping[TargetName, Emitter] = {
    target: Emitter(
        target=target,
        takes=TAKES,
        needs=("output",),
        documents=documents,
        faults=partial(faults, cluster=cluster),
    )
    for target, cluster in CLUSTERS.items()
}
