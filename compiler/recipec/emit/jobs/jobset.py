"""JobSet and Kubeflow's TrainJob: runs on several machines of any Kubernetes cluster.

In: a `Job`. Out: jobset.yaml (jobset.x-k8s.io/v1alpha2), which starts all machines again when one
fails, or trainjob.yaml (trainer.kubeflow.org/v1alpha1), whose runtime tells each machine its place.
Which cloud the cluster stands in is not known here, so accelerators need a machine type by name:
the bytes are promised for one model of GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipec.catalog.hardware import machines
from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.kubernetes import (
    GPU_TAINT,
    INSTANCE_TYPE,
    KEEP_SECONDS,
    failure_rules,
)
from recipec.emit.jobs.names import is_subdomain, service_name
from recipec.emit.jobs.pod import Placement, metadata, pod, pod_faults
from recipec.emit.jobs.text import yaml_text
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

PART = "node"
"""The set's one kind of job; in Trainer's runtimes, the job and the container that train."""

LONGEST_NAME = 50
"""Of the set: its pods' names add the part, the job's number and the node's, 63 in all."""

RUNTIME = "torch-distributed"
"""The runtime that Trainer's own manifests install."""

MANAGER = "recipec.dev/emit-job"
"""Who has written a patch of the runtime."""


def jobset_documents(job: Job) -> dict[str, bytes]:
    """The set, of one Indexed Job."""
    name = service_name(job.title(LONGEST_NAME))
    plain = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata(job, name),
        "spec": {
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "failurePolicy": _failure_policy(job),
            "replicatedJobs": [
                {"name": PART, "replicas": 1, "template": {"spec": _indexed(job, name)}}
            ],
        },
    }
    return {"jobset.yaml": yaml_text(plain)}


def _failure_policy(job: Job) -> dict[str, Any]:
    """A job that its pods' exit code has ended is not started again; others are, all machines."""
    final = {
        "name": "final",
        "action": "FailJobSet",
        "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
    }
    return {
        "maxRestarts": job.settings.retries,
        # All the old machines are gone before the new ones look for each other.
        "restartStrategy": "BlockingRecreate",
        "rules": [final],
    }


def _indexed(job: Job, name: str) -> dict[str, Any]:
    master = f"{name}-{PART}-0-0.{name}"
    return {
        "completionMode": "Indexed",
        "completions": job.shape.nodes,
        "parallelism": job.shape.nodes,
        "backoffLimit": 0,
        "activeDeadlineSeconds": job.seconds,
        # Without the rule of disruptions: one machine alone cannot join the others again.
        "podFailurePolicy": {"rules": failure_rules()[1:]},
        "template": pod(job, placement(job), master=master),
    }


def trainjob_documents(job: Job) -> dict[str, bytes]:
    """The job, and a patch of its runtime with what the pods want."""
    whole = pod(job, placement(job))["spec"]
    (container,) = whole["containers"]
    patched = {"name": PART, **{k: container[k] for k in ("securityContext", "volumeMounts")}}
    keys = ("serviceAccountName", "nodeSelector", "tolerations", "securityContext", "volumes")
    spec = {key: whole[key] for key in keys if key in whole}
    spec |= {
        "terminationGracePeriodSeconds": whole["terminationGracePeriodSeconds"],
        "containers": [patched],
    }
    replicated = {"name": PART, "template": {"spec": {"template": {"spec": spec}}}}
    patch = {"template": {"spec": {"replicatedJobs": [replicated]}}}
    resources = container["resources"]
    plain = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": metadata(job, service_name(job.title(LONGEST_NAME))),
        "spec": {
            "activeDeadlineSeconds": job.seconds,
            "runtimeRef": {"name": job.settings.compute or RUNTIME},
            "trainer": {
                "image": job.container.reference,
                "command": job.entrypoint,
                "args": ["train"],
                "env": container["env"],
                "numNodes": job.shape.nodes,
                "numProcPerNode": job.shape.processes,
                "resourcesPerNode": resources,
            },
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": patch}],
        },
    }
    return {"trainjob.yaml": yaml_text(plain)}


def placement(job: Job) -> Placement:
    """The machine type, by the label that every cloud's clusters have."""
    machine = job.settings.machine
    return Placement(
        selector={INSTANCE_TYPE: machine} if machine else {},
        tolerations=[GPU_TAINT] if job.shape.count else [],
    )


def jobset_faults(job: Job) -> Iterator[Broken]:
    """What a cluster would refuse."""
    yield from pod_faults(job)
    yield from _machine(job)


def trainjob_faults(job: Job) -> Iterator[Broken]:
    """What a cluster would refuse."""
    yield from jobset_faults(job)
    if job.settings.compute is not None and not is_subdomain(job.settings.compute):
        yield job.broken(
            "compute",
            f"{job.settings.compute!r} is no name of a training runtime",
            f"small letters, digits, hyphens and dots, such as {RUNTIME}",
        )


def _machine(job: Job) -> Iterator[Broken]:
    shape, name = job.shape, job.settings.machine
    if not shape.count:
        return
    wanted = f"{shape.count} x {shape.accelerator}"
    if name is None:
        able = [m.type for m in machines().values() if _fits(m.accelerator, m.count, job)]
        yield job.broken(
            "machine",
            f"{job.target} does not know the cluster's cloud, and the run needs {wanted}",
            f"name the machine type, such as {', '.join(able[:3])}"
            if able
            else "no machine type of the catalogue has that",
        )
        return
    known = [m for m in machines().values() if m.type == name]
    if known and not any(_fits(m.accelerator, m.count, job) for m in known):
        has = f"{known[0].count} x {known[0].accelerator}" if known[0].count else "CPUs alone"
        yield job.broken(
            "machine", f"{name} has {has}, and the run needs {wanted}", "name another machine type"
        )


def _fits(accelerator: str, count: int, job: Job) -> bool:
    return (accelerator, count) == (job.shape.accelerator, job.shape.count)


_TAKES = frozenset({"machine", "namespace", "identity", "output", "adapted", "max_hours"})

EMITTERS: Mapping[TargetName, Emitter] = {
    "jobset": Emitter(
        target="jobset",
        takes=_TAKES | {"retries"},
        needs=("output",),
        documents=jobset_documents,
        faults=jobset_faults,
    ),
    "trainjob": Emitter(
        target="trainjob",
        takes=_TAKES | {"compute"},
        needs=("output",),
        documents=trainjob_documents,
        faults=trainjob_faults,
    ),
}
