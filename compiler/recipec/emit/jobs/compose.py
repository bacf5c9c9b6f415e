"""Docker Compose: one machine that is at hand.

In: a `Job`. Out: compose.yaml with one service. Specification: compose-spec. The results go to a
named volume, which docker makes with the owner that the image gives its output folder, or to a
folder of the machine that the image's user can write to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.pod import GRACE_SECONDS
from recipec.emit.jobs.text import yaml_text
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

VOLUME = "results"
_FOLDER = re.compile(r"(/|\./|\.\./|~/)[^\x00-\x1f:]*")


def documents(job: Job) -> dict[str, bytes]:
    """The file."""
    return {"compose.yaml": yaml_text(project(job))}


def project(job: Job) -> dict[str, Any]:
    """The project's values."""
    plain: dict[str, Any] = {"name": job.title(), "services": {"train": _service(job)}}
    return plain if job.settings.output else {**plain, "volumes": {VOLUME: {}}}


def _service(job: Job) -> dict[str, Any]:
    plain: dict[str, Any] = {"image": job.container.reference}
    if job.launcher:
        plain["entrypoint"] = job.launcher
    environment = {**job.environment(), **job.rendezvous("127.0.0.1")}
    plain |= {
        "command": ["train"],
        "environment": {name: _literal(value) for name, value in environment.items()},
        "labels": {"dev.recipec.name": job.name, "dev.recipec.run-id": job.run_id},
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "network_mode": "none",
        "shm_size": "1gb",
        "tmpfs": ["/tmp"],
        "stop_grace_period": f"{GRACE_SECONDS}s",
        "restart": f"on-failure:{job.settings.retries}" if job.settings.retries else "no",
        "volumes": [*_volumes(job)],
    }
    if job.shape.count:
        device = {"driver": "nvidia", "count": job.shape.count, "capabilities": ["gpu"]}
        plain["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return plain


def _volumes(job: Job) -> Iterator[dict[str, Any]]:
    output, adapted = job.settings.output, job.settings.adapted
    if output:
        yield _bind(output, job.container.output)
    else:
        yield {"type": "volume", "source": VOLUME, "target": job.container.output}
    if job.adapted and adapted:
        yield {**_bind(adapted, job.container.adapted), "read_only": True}


def _bind(folder: str, target: str) -> dict[str, Any]:
    bind = {"create_host_path": False}
    return {"type": "bind", "source": _literal(folder), "target": target, "bind": bind}


def _literal(text: str) -> str:
    """A text that Compose takes as it stands: a dollar sign begins a variable there."""
    return text.replace("$", "$$")


def faults(job: Job) -> Iterator[Broken]:
    """Places that are no folders of the machine."""
    for key in ("output", "adapted"):
        place = getattr(job.settings, key)
        if place is not None and not _FOLDER.fullmatch(place):
            yield job.broken(
                key,
                f"{place!r} is no folder of this machine",
                "begin with / or ./, such as ./results",
            )


EMITTERS: Mapping[TargetName, Emitter] = {
    "compose": Emitter(
        target="compose",
        takes=frozenset({"output", "adapted", "retries"}),
        documents=documents,
        faults=faults,
    )
}
