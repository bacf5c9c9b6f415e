"""The pod of a run: what every Kubernetes document has inside.

In: a `Job`, and what the cluster calls its machines. Out: plain values of a PodTemplateSpec. The
container runs as the image's own user with a read-only root; /tmp and /dev/shm are its own, the
results go to a claim. It asks for processors and accelerators, not for memory: how much a machine
leaves to its pods is the cluster's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recipec.emit.jobs.job import PORT, Job
from recipec.emit.jobs.names import Claim, claim_of, is_label, is_subdomain
from recipec.recipe.rules.broken import Broken

GRACE_SECONDS = 120
"""Between SIGTERM and SIGKILL: the step that is under way, and its checkpoint."""

SHARED_MEMORY = "1Gi"
INTERESTS = "recipec.dev"
"""Prefix of our labels and annotations."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What must be true of the machines, in the cluster's words."""

    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()
    resource: str = "nvidia.com/gpu"


def labels(job: Job) -> dict[str, str]:
    """What names the run; a label's value is too short for the whole run id."""
    return {
        "app.kubernetes.io/name": job.name,
        "app.kubernetes.io/managed-by": "recipec",
        f"{INTERESTS}/run-id": job.digits[:32],
    }


def notes(job: Job) -> dict[str, str]:
    """The whole run id."""
    return {f"{INTERESTS}/run-id": job.run_id}


def metadata(job: Job, name: str) -> dict[str, Any]:
    """Name, namespace, labels and annotations."""
    plain: dict[str, Any] = {"name": name}
    if job.settings.namespace:
        plain["namespace"] = job.settings.namespace
    return {**plain, "labels": labels(job), "annotations": notes(job)}


def pod(
    job: Job,
    placement: Placement,
    *,
    master: str = "",
    subdomain: str = "",
) -> dict[str, Any]:
    """The template. Several machines meet at `master`; an Indexed Job tells each its number."""
    settings = job.settings
    spec: dict[str, Any] = {"restartPolicy": "Never"}
    if subdomain:
        spec["subdomain"] = subdomain
    if settings.identity:
        spec["serviceAccountName"] = settings.identity
    spec |= {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": job.container.user,
            "runAsGroup": job.container.user,
            "fsGroup": job.container.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if placement.selector:
        spec["nodeSelector"] = dict(placement.selector)
    if placement.tolerations:
        spec["tolerations"] = [dict(one) for one in placement.tolerations]
    spec["containers"] = [_container(job, placement, master)]
    spec["volumes"] = list(_volumes(job))
    return {"metadata": {"labels": labels(job), "annotations": notes(job)}, "spec": spec}


def _container(job: Job, placement: Placement, master: str) -> dict[str, Any]:
    told = {**job.environment(), **(job.meeting(master) if master else {})}
    plain: dict[str, Any] = {
        "name": "train",
        "image": job.container.reference,
        "args": ["train"],
        "env": [{"name": name, "value": value} for name, value in told.items()],
        "resources": _resources(job, placement),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [*_mounts(job)],
    }
    if job.shape.nodes > 1:
        plain["ports"] = [{"name": "rendezvous", "containerPort": PORT}]
    return plain


def _resources(job: Job, placement: Placement) -> dict[str, Any]:
    plain: dict[str, Any] = {"requests": {"cpu": str(job.shape.threads * job.shape.processes)}}
    if job.shape.count:
        plain["limits"] = {placement.resource: str(job.shape.count)}
    return plain


def _mounts(job: Job) -> Iterator[dict[str, Any]]:
    yield _mount("output", job.container.output, job.settings.output, read_only=False)
    if job.adapted:
        yield _mount("adapted", job.container.adapted, job.settings.adapted, read_only=True)
    yield {"name": "tmp", "mountPath": "/tmp"}
    yield {"name": "shm", "mountPath": "/dev/shm"}


def _mount(name: str, path: str, place: str | None, *, read_only: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": name, "mountPath": path}
    folder = _claim(place).folder
    if folder:
        plain["subPath"] = folder
    return {**plain, "readOnly": True} if read_only else plain


def _volumes(job: Job) -> Iterator[dict[str, Any]]:
    claim = {"claimName": _claim(job.settings.output).name}
    yield {"name": "output", "persistentVolumeClaim": claim}
    if job.adapted:
        claim = {"claimName": _claim(job.settings.adapted).name}
        yield {"name": "adapted", "persistentVolumeClaim": claim}
    yield {"name": "tmp", "emptyDir": {}}
    yield {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}}


def _claim(place: str | None) -> Claim:
    claim = claim_of(place or "")
    assert claim is not None, "pod_faults has refused it"
    return claim


def pod_faults(job: Job) -> Iterator[Broken]:
    """Names and places that a cluster would refuse."""
    settings = job.settings
    for key in ("output", "adapted"):
        place = getattr(settings, key)
        if place is not None and claim_of(place) is None:
            yield job.broken(
                key,
                f"{place!r} names no persistent volume claim",
                "such as pvc:results/legal-t5: a claim's name, and a folder in it",
            )
    if settings.namespace is not None and not is_label(settings.namespace):
        yield job.broken(
            "namespace",
            f"{settings.namespace!r} is no name of a namespace",
            "small letters, digits and hyphens, at most 63",
        )
    if settings.identity is not None and not is_subdomain(settings.identity):
        yield job.broken(
            "identity",
            f"{settings.identity!r} is no name of a service account",
            "small letters, digits, hyphens and dots, at most 253; a cloud's own account is bound"
            " to it in the cluster",
        )
