"""Databricks: a job with an AI Runtime task, which runs an image of one's own on GPUs.

In: a `Job`. Out: databricks.json for `databricks jobs create --json`, and the command that it
starts once on each machine, databricks.command.sh, which is put into the workspace. The image is
registered there before (`databricks experimental air register-image`), under a tag: the API's
field takes no digest, so the tag holds the digest, and the registration prints it.
Sources: the model of `ai_runtime_task` in databricks-bundles; docs.databricks.com, AI Runtime. A
cluster with Databricks Container Services would start Spark in the image, which wants Java, sudo
and a Python environment of its own; this task starts no Spark.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.text import json_text
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

ENVIRONMENT = "4"
"""The runtime channel that Databricks' own client asks for beside an image, whatever the image."""
KEY = "default"

ACCELERATORS: Mapping[tuple[str, int], str] = {
    ("nvidia-a10", 1): "GPU_1xA10",
    ("nvidia-a10g", 1): "GPU_1xA10",
    ("nvidia-h100-80gb", 1): "GPU_1xH100",
    ("nvidia-h100-80gb", 8): "GPU_8xH100",
    ("nvidia-b300-288gb", 8): "GPU_8xB300",
}
"""What AI Runtime calls a machine with so many of an accelerator. Its A10 is an A10G on Amazon."""

_VOLUME = re.compile(r"/Volumes(/[^/\s\"'$`\\]+){3,}/?")
_WORKSPACE = re.compile(r"/Workspace(/[^/\s\"'$`\\]+)+/?")


def documents(job: Job) -> dict[str, bytes]:
    """The job and its command."""
    return {
        "databricks.json": json_text(settings_of_job(job)),
        "databricks.command.sh": command(job).encode("ascii"),
    }


def settings_of_job(job: Job) -> dict[str, Any]:
    """The body of jobs/create."""
    shape, settings = job.shape, job.settings
    compute = {
        "accelerator_type": ACCELERATORS[shape.accelerator, shape.count],
        "accelerator_count": shape.world_size,
    }
    place = f"{str(settings.project).rstrip('/')}/{job.title()}.sh"
    task = {
        "task_key": "train",
        "environment_key": KEY,
        "max_retries": settings.retries,
        "timeout_seconds": job.seconds,
        "ai_runtime_task": {
            "experiment": job.name,
            "mlflow_run": job.title(),
            "docker_image_url": job.container.tagged,
            "deployments": [{"command_path": place, "compute": compute}],
        },
    }
    return {
        "name": job.title(),
        "max_concurrent_runs": 1,
        "tasks": [task],
        "environments": [{"environment_key": KEY, "spec": {"environment_version": ENVIRONMENT}}],
        "tags": {"recipec-name": job.name, "recipec-run-id": job.run_id},
    }


def command(job: Job) -> str:
    """What runs on every machine: the image's own entrypoint."""
    place = f"{str(job.settings.output).rstrip('/')}/{job.digits}"
    told = job.environment(adapted=job.settings.adapted or "") | {
        "RECIPEC_COLLECT": place,
        "RECIPEC_CHECKPOINTS": f"{place}/checkpoints",
    }
    lines = [shlex.quote(f"{name}={value}") for name, value in told.items()]
    if job.shape.nodes > 1:
        lines += [
            f"RECIPEC_NODES={job.shape.nodes}",
            'RECIPEC_NODE_RANK="$NODE_RANK"',
            'RECIPEC_MASTER_ADDR="$MASTER_ADDR"',
            'RECIPEC_MASTER_PORT="$MASTER_PORT"',
        ]
    # The service counts all processes in WORLD_SIZE, and starts one a machine.
    start = "exec env --unset=WORLD_SIZE --unset=RANK --unset=LOCAL_RANK"
    entry = " ".join(map(shlex.quote, [*job.entrypoint, "train"]))
    return "#!/bin/bash\n" + " \\\n  ".join([start, *lines, entry]) + "\n"


def faults(job: Job) -> Iterator[Broken]:
    """What the service would refuse, or what could not work there."""
    shape = job.shape
    if not job.container.shell:
        yield Broken(
            path=("image", "package_set"),
            message="Databricks runs the command with the image's bash, and the image has none",
            hint="set `image.package_set: cloud`",
        )
    if (shape.accelerator, shape.count) not in ACCELERATORS:
        wanted = f"{shape.count} x {shape.accelerator}" if shape.count else "CPUs alone"
        has = sorted({f"{count} x {name}" for name, count in ACCELERATORS})
        yield Broken(
            path=("deploy", "targets", job.target),
            message=f"the recipe wants machines of {wanted}, and AI Runtime of Databricks has none",
            hint=f"it has {', '.join(has)}",
            at_key=True,
        )
    for key in ("output", "adapted"):
        place = getattr(job.settings, key)
        if place is not None and not _VOLUME.fullmatch(place):
            yield job.broken(
                key,
                f"{place!r} is no folder of a volume of Unity Catalog",
                "such as /Volumes/main/training/runs",
            )
    place = job.settings.project
    if place is not None and not _WORKSPACE.fullmatch(place):
        yield job.broken(
            "project",
            f"{place!r} is no folder of a workspace",
            "such as /Workspace/Users/me@example.com/recipec",
        )


EMITTERS: Mapping[TargetName, Emitter] = {
    "databricks": Emitter(
        target="databricks",
        takes=frozenset({"project", "output", "adapted", "max_hours", "retries"}),
        needs=("output", "project"),
        tagged=True,
        documents=documents,
        faults=faults,
    )
}
