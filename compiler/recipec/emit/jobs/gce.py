"""Google Compute Engine: the body of instances.insert, and its user data.

In: a `Job`. Out: gce.json, gce.cloud-init.yaml. A machine that is taken away, or that has run for
`max_hours`, is stopped and keeps its disk; started again, it goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.machines import described, machine_faults, machine_of, place_faults
from recipec.emit.jobs.names import service_name
from recipec.emit.jobs.text import json_text
from recipec.emit.jobs.vm import TAKES, boot_fault, cloud_config
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

DISK_GB = 100
LONGEST_HOURS, SHORTEST_SECONDS = 120 * 24, 30
"""Of maxRunDuration: "Limit the run time of a VM" of its documentation, restrictions."""
_IMAGE = re.compile(r"projects/[a-z0-9.:-]+/global/images/(family/)?[a-z]([a-z0-9-]*[a-z0-9])?")
_ZONE = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z]")
_SUBNET = re.compile(r"(projects/[a-z0-9.:-]+/)?regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+")
_ACCOUNT = re.compile(r"[^@\s]+@[^@\s]+\.gserviceaccount\.com")


def documents(job: Job) -> dict[str, bytes]:
    """The request's body and the user data in it."""
    return {"gce.json": json_text(instance(job)), "gce.cloud-init.yaml": cloud_config(job)}


def instance(job: Job) -> dict[str, Any]:
    """The body's values."""
    settings = job.settings
    zone = f"zones/{settings.zone}"
    machine = described(job, "google")
    kind = machine.type if machine else machine_of(job, "google")
    network: dict[str, Any] = {"accessConfigs": [{"name": "nat", "type": "ONE_TO_ONE_NAT"}]}
    network |= (
        {"subnetwork": settings.compute}
        if settings.compute
        else {"network": "global/networks/default"}
    )
    plain: dict[str, Any] = {
        "name": service_name(job.title(62)),
        "machineType": f"{zone}/machineTypes/{kind}",
        "labels": {"recipec-name": job.name, "recipec-run-id": job.digits[:32]},
        "disks": [
            {
                "boot": True,
                "autoDelete": False,
                "initializeParams": {
                    "sourceImage": settings.boot,
                    "diskSizeGb": str(settings.disk_gb or DISK_GB),
                },
            }
        ],
        "networkInterfaces": [network],
        "scheduling": _scheduling(job),
        "metadata": {
            "items": [
                {"key": "user-data", "value": cloud_config(job).decode("ascii")},
                {"key": "recipec-run-id", "value": job.run_id},
            ]
        },
    }
    if machine and machine.attach:
        kind = f"{zone}/acceleratorTypes/{machine.attach}"
        plain["guestAccelerators"] = [
            {"acceleratorType": kind, "acceleratorCount": job.shape.count}
        ]
    if settings.identity:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        plain["serviceAccounts"] = [{"email": settings.identity, "scopes": scopes}]
    return plain


def _scheduling(job: Job) -> dict[str, Any]:
    """Machines with accelerators cannot be moved, and spot machines do not start by themselves."""
    still = bool(job.shape.count) or job.settings.spot
    return {
        "provisioningModel": "SPOT" if job.settings.spot else "STANDARD",
        "instanceTerminationAction": "STOP",
        "maxRunDuration": {"seconds": str(job.seconds)},
        "onHostMaintenance": "TERMINATE" if still else "MIGRATE",
        "automaticRestart": not job.settings.spot,
    }


def faults(job: Job) -> Iterator[Broken]:
    """What the API would refuse."""
    settings = job.settings
    yield from boot_fault(
        job,
        _IMAGE,
        "image of Compute Engine",
        "projects/debian-cloud/global/images/family/debian-12",
    )
    yield from machine_faults(job, "google")
    if settings.zone and _ZONE.fullmatch(settings.zone):
        yield from place_faults(job, "google", "zone", settings.zone)
    patterns = (
        ("zone", _ZONE, "zone", "us-central1-a"),
        ("compute", _SUBNET, "subnet", "regions/us-central1/subnetworks/default"),
        (
            "identity",
            _ACCOUNT,
            "service account",
            "training@my-project.iam.gserviceaccount.com",
        ),
    )
    for key, pattern, what, such in patterns:
        value = getattr(settings, key)
        if value is not None and not pattern.fullmatch(value):
            yield job.broken(key, f"{value!r} is no {what}", f"such as {such}")
    if job.seconds < SHORTEST_SECONDS:
        yield job.broken(
            "max_hours",
            f"Compute Engine takes no limit below {SHORTEST_SECONDS} seconds",
            "a run of seconds needs no machine of its own; give it 0.01 at least",
        )
    if settings.max_hours > LONGEST_HOURS:
        yield job.broken(
            "max_hours",
            f"Compute Engine stops a machine after {LONGEST_HOURS} hours at the latest",
            f"at most {LONGEST_HOURS}",
        )


EMITTERS: Mapping[TargetName, Emitter] = {
    "gce": Emitter(
        target="gce",
        takes=TAKES | {"zone", "compute", "identity", "disk_gb"},
        needs=("boot", "zone"),
        several=False,
        documents=documents,
        faults=faults,
    )
}
