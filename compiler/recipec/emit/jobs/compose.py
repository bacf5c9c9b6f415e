"""Docker Compose: the machine that is at hand.

In: a `Job`. Out: compose.yaml with one service, or one for each machine that the recipe names, all
on the machine at hand, with accelerators of their own and a network that leads nowhere else.
Specification: compose-spec. The results go to a named volume, which docker makes with the owner
that the image gives its output folder, or to a folder that the image's user can write to.
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
NETWORK = "run"
MASTER = "train"
"""The first machine's service, which is also its name on the network."""
_FOLDER = re.compile(r"(/|\./|\.\./|~/)[^\x00-\x1f:]*")


def documents(job: Job) -> dict[str, bytes]:
    """The file."""
    return {"compose.yaml": yaml_text(project(job))}


def project(job: Job) -> dict[str, Any]:
    """The project's values."""
    services = {f"{MASTER}-{n}" if n else MASTER: _service(job, n) for n in range(job.shape.nodes)}
    plain: dict[str, Any] = {"name": job.title(), "services": services}
    if job.shape.nodes > 1:
        plain["networks"] = {NETWORK: {"internal": True}}
    return plain if job.settings.output else {**plain, "volumes": {VOLUME: {}}}


def _service(job: Job, number: int) -> dict[str, Any]:
    several = job.shape.nodes > 1
    environment = job.environment() | job.meeting(MASTER)
    if several:
        environment["RECIPEC_NODE_RANK"] = str(number)
    plain: dict[str, Any] = {
        "image": job.container.reference,
        "command": ["train"],
        "environment": {name: _literal(value) for name, value in environment.items()},
        "labels": {"dev.recipec.name": job.name, "dev.recipec.run-id": job.run_id},
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        **({"networks": [NETWORK]} if several else {"network_mode": "none"}),
        "shm_size": "1gb",
        "tmpfs": ["/tmp"],
        "stop_grace_period": f"{GRACE_SECONDS}s",
        "restart": f"on-failure:{job.settings.retries}" if job.settings.retries else "no",
        "volumes": [*_volumes(job)],
    }
    if job.shape.count:
        device = {"driver": "nvidia", **_accelerators(job, number), "capabilities": ["gpu"]}
        plain["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return plain


def _accelerators(job: Job, number: int) -> dict[str, Any]:
    """Any, or of several machines the ones that no other has."""
    count = job.shape.count
    if job.shape.nodes == 1:
        return {"count": count}
    return {"device_ids": [str(number * count + one) for one in range(count)]}


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
