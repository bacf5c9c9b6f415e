"""Azure Machine Learning: a command job.

In: a `Job`. Out: azureml.yaml for `az ml job create --file`. The service runs the command with the
image's own bash and mounts the outputs. Of several machines it starts the command once on each,
with torchrun's variables, which are handed on as the runtime's own: the runtime starts a machine's
processes here as everywhere. With `compute` it is that cluster which has machines, taken away or
not; without, the service brings them (serverless compute), and `machine` and `spot` say which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.machines import machine_faults, machine_of
from recipec.emit.jobs.text import yaml_text
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
TRAINED, CHECKPOINTS, ADAPTED = "trained", "checkpoints", "adapted"
"""Outputs and input; the runtime finds the outputs by these names."""
LONGEST_NAME = 255
LONGEST_HOURS, LONGEST_SPOT_HOURS = 21 * 24, 7 * 24
"""Of a job, and of one on machines that may be taken away: the service's page "Manage and increase
quotas and limits", January 2026."""

_PLACE = re.compile(
    r"azureml://(subscriptions/[^\s/]+/resourcegroups/[^\s/]+/workspaces/[^\s/]+/)?"
    r"datastores/[A-Za-z0-9_]+/paths/[^\s]+"
)
_CLIENT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def documents(job: Job) -> dict[str, bytes]:
    """The job."""
    return {"azureml.yaml": yaml_text(command_job(job))}


def command_job(job: Job) -> dict[str, Any]:
    """The job's values."""
    settings = job.settings
    plain: dict[str, Any] = {
        "$schema": SCHEMA,
        "type": "command",
        "name": job.title(LONGEST_NAME),
        "display_name": job.name,
        "experiment_name": job.name,
        "command": command(job),
        "environment": {"image": job.container.reference},
        "environment_variables": job.environment(),
    }
    if job.adapted:
        plain["inputs"] = {ADAPTED: _folder(str(settings.adapted), "ro_mount")}
    plain["outputs"] = {
        name: _folder(f"{str(settings.output).rstrip('/')}/{job.digits}/{name}/", "rw_mount")
        for name in (TRAINED, CHECKPOINTS)
    }
    if job.shape.nodes > 1:
        plain["distribution"] = {"type": "pytorch", "process_count_per_instance": 1}
    plain |= {**_machines(job), "limits": {"timeout": job.seconds}}
    if settings.identity:
        plain["identity"] = {"type": "managed", "client_id": settings.identity}
    return {**plain, "tags": {"recipec-name": job.name, "recipec-run-id": job.run_id}}


def command(job: Job) -> str:
    """The command line, with what is known to the machine alone."""
    words = [*job.entrypoint, "train"]
    told = {"RECIPEC_ADAPTED": f"${{{{inputs.{ADAPTED}}}}}"} if job.adapted else {}
    unset: tuple[str, ...] = ()
    if job.shape.nodes > 1:
        # To the service a machine is a process, and its WORLD_SIZE counts machines.
        unset = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
        told |= {
            **job.meeting("$MASTER_ADDR"),
            "RECIPEC_MASTER_PORT": "$MASTER_PORT",
            "RECIPEC_NODE_RANK": "$NODE_RANK",
        }
    if told or unset:
        pairs = (f"{name}={value}" for name, value in told.items())
        words = ["env", *(f"--unset={name}" for name in unset), *pairs, *words]
    return " ".join(words)


def _folder(path: str, mode: str) -> dict[str, str]:
    return {"type": "uri_folder", "path": path, "mode": mode}


def _machines(job: Job) -> dict[str, Any]:
    resources: dict[str, Any] = {"instance_count": job.shape.nodes, "shm_size": "1g"}
    if job.settings.compute:
        return {"compute": f"azureml:{job.settings.compute}", "resources": resources}
    resources = {"instance_type": machine_of(job, "azure"), **resources}
    tier = "spot" if job.settings.spot else "standard"
    return {"resources": resources, "queue_settings": {"job_tier": tier}}


def faults(job: Job) -> Iterator[Broken]:
    """What the service would refuse, or what could not work there."""
    settings = job.settings
    if not job.container.shell:
        yield Broken(
            path=("image", "package_set"),
            message="Azure ML runs the command with the image's bash, and the image has none",
            hint="set `image.package_set: cloud`",
        )
    for key in ("output", "adapted"):
        place = getattr(settings, key)
        if place is not None and not _PLACE.fullmatch(place):
            yield job.broken(
                key,
                f"{place!r} is no folder of a datastore",
                "such as azureml://datastores/workspaceblobstore/paths/runs",
            )
    if settings.identity is not None and not _CLIENT.fullmatch(settings.identity):
        yield job.broken(
            "identity",
            f"{settings.identity!r} is not the client id of a managed identity",
            "such as 00000000-0000-0000-0000-000000000000",
        )
    longest = LONGEST_SPOT_HOURS if settings.spot else LONGEST_HOURS
    if settings.max_hours > longest:
        which = "a job of Azure ML on spot machines" if settings.spot else "a job of Azure ML"
        yield job.broken(
            "max_hours",
            f"{which} ends after {longest} hours at the latest",
            f"at most {longest}; the run goes on from its checkpoint in another job",
        )
    if settings.compute is None:
        yield from machine_faults(job, "azure")
    else:
        yield from _of_cluster(job)


def _of_cluster(job: Job) -> Iterator[Broken]:
    """What a cluster decides, and a job on it cannot."""
    for key in ("machine", "spot"):
        if getattr(job.settings, key):
            yield job.broken(
                key,
                f"`{key}` does nothing with `compute`: the cluster has its machines",
                f"remove it, or `compute`: then the service brings machines by `{key}`",
            )


EMITTERS: Mapping[TargetName, Emitter] = {
    "azureml": Emitter(
        target="azureml",
        takes=frozenset(
            {
                *("machine", "compute", "identity", "output", "adapted"),
                *("spot", "max_hours"),
            }
        ),
        needs=("output",),
        documents=documents,
        faults=faults,
    )
}
