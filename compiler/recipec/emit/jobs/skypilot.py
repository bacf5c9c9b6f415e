"""SkyPilot: a task, for whichever cloud has the machines.

In: a `Job`. Out: skypilot.yaml for `sky jobs launch`. The task's own image is left alone, for
SkyPilot installs itself into it: the run is a container on the machine, started with docker. The
bucket of the results is mounted; the run writes to the disk, and the runtime copies what is done.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.text import yaml_text
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

RESULTS = "/results"
DISK_GB = 100
STOPPED = 143
"""Exit code of a run that was told to stop and has left its checkpoint."""

PLACE = ("SKYPILOT_NUM_NODES", "SKYPILOT_NODE_RANK", "SKYPILOT_NODE_IPS")
"""Variables by which the runtime knows its place among several machines."""

ACCELERATORS: Mapping[str, str] = {
    "nvidia-t4": "T4",
    "nvidia-v100-16gb": "V100",
    "nvidia-v100-32gb": "V100-32GB",
    "nvidia-a10": "A10",
    "nvidia-a10g": "A10G",
    "nvidia-l4": "L4",
    "nvidia-l40s": "L40S",
    "nvidia-a100-40gb": "A100",
    "nvidia-a100-80gb": "A100-80GB",
    "nvidia-h100-80gb": "H100",
    "nvidia-h200-141gb": "H200",
    "nvidia-b200-180gb": "B200",
}
"""What SkyPilot calls an accelerator of the catalogue."""

_BUCKET = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\s]*)?")


def documents(job: Job) -> dict[str, bytes]:
    """The task."""
    return {"skypilot.yaml": yaml_text(task(job))}


def task(job: Job) -> dict[str, Any]:
    """The task's values."""
    settings = job.settings
    mounts = {RESULTS: {"source": settings.output, "mode": "MOUNT"}}
    if job.adapted:
        mounts[job.container.adapted] = {"source": settings.adapted, "mode": "MOUNT"}
    return {
        "name": job.title(),
        "num_nodes": job.shape.nodes,
        "resources": _resources(job),
        "file_mounts": mounts,
        "run": script(job),
    }


def _resources(job: Job) -> dict[str, Any]:
    settings = job.settings
    recovery = {
        "max_restarts_on_errors": settings.retries,
        "recover_on_exit_codes": [STOPPED],
    }
    plain: dict[str, Any] = {"cpus": f"{job.shape.threads * job.shape.processes}+"}
    if job.shape.count:
        plain["accelerators"] = {ACCELERATORS[job.shape.accelerator]: job.shape.count}
    return {
        **plain,
        "use_spot": settings.spot,
        "disk_size": settings.disk_gb or DISK_GB,
        "labels": {"recipec-name": job.name, "recipec-run-id": job.digits[:32]},
        "job_recovery": recovery,
    }


def script(job: Job) -> str:
    """What every machine runs: the container, with the variables that SkyPilot sets there."""
    reference = shlex.quote(job.container.reference)
    several = job.shape.nodes > 1
    options = [
        f"--rm --network {'host' if several else 'none'} --read-only --cap-drop ALL",
        "--security-opt no-new-privileges --tmpfs /tmp --shm-size 1g",
        '--user "$(id -u):$(id -g)"',
        f'--volume "$HOME/recipec-out:{job.container.output}" --volume {RESULTS}:{RESULTS}',
        *([f"--volume {job.container.adapted}:{job.container.adapted}:ro"] if job.adapted else []),
        *(["--gpus all"] if job.shape.count else []),
        *(f"--env {shlex.quote(f'{name}={value}')}" for name, value in _told(job).items()),
    ]
    # A variable without a value is passed on as the machine has it.
    options += [f"--env {name}" for name in PLACE if several]
    lines = [
        'mkdir -p "$HOME/recipec-out"',
        f"docker pull --quiet {reference}",
        " \\\n  ".join(["docker run", *options, f"{reference} train"]),
    ]
    return "\n".join(["set -e", *lines]) + "\n"


def _told(job: Job) -> dict[str, str]:
    place = f"{RESULTS}/{job.digits}"
    return job.environment() | {
        "RECIPEC_COLLECT": place,
        "RECIPEC_CHECKPOINTS": f"{place}/checkpoints",
    }


def faults(job: Job) -> Iterator[Broken]:
    """What SkyPilot would refuse, or could not find."""
    for key in ("output", "adapted"):
        place = getattr(job.settings, key)
        if place is not None and not _BUCKET.fullmatch(place):
            yield job.broken(key, f"{place!r} is no bucket", "such as s3://my-bucket/runs or gs://")
    if job.shape.count and job.shape.accelerator not in ACCELERATORS:
        yield Broken(
            path=("deploy", "targets", "skypilot"),
            message=f"SkyPilot has no name for {job.shape.accelerator}",
            hint=f"it has {', '.join(ACCELERATORS)}",
            at_key=True,
        )


EMITTERS: Mapping[TargetName, Emitter] = {
    "skypilot": Emitter(
        target="skypilot",
        takes=frozenset({"output", "adapted", "spot", "retries", "disk_gb"}),
        needs=("output",),
        documents=documents,
        faults=faults,
    )
}
