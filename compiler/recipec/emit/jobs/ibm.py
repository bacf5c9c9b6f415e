"""IBM Cloud VPC: the prototype of an instance, and its user data.

In: a `Job`. Out: ibm-vpc.json for POST /v1/instances, ibm-vpc.cloud-init.yaml. A spot machine that
is taken away is stopped and keeps its disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.machines import machine_faults, machine_of
from recipec.emit.jobs.names import service_name
from recipec.emit.jobs.text import json_text
from recipec.emit.jobs.vm import TAKES, boot_fault, cloud_config
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

DISK_GB = 100
LEAST_DISK_GB = 10
_ID = re.compile(r"[0-9a-z]{4}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ZONE = re.compile(r"[a-z]+(-[a-z]+)*-[0-9]")
_GROUP = re.compile(r"[0-9a-f]{32}")


def documents(job: Job) -> dict[str, bytes]:
    """The request's body and the user data in it."""
    return {"ibm-vpc.json": json_text(instance(job)), "ibm-vpc.cloud-init.yaml": cloud_config(job)}


def instance(job: Job) -> dict[str, Any]:
    """The body's values."""
    settings = job.settings
    volume = {
        "profile": {"name": "general-purpose"},
        "capacity": settings.disk_gb or DISK_GB,
        "user_tags": [f"recipec-run-id:{job.digits[:32]}"],
    }
    plain: dict[str, Any] = {
        "name": service_name(job.title(62)),
        "zone": {"name": settings.zone},
        "profile": {"name": machine_of(job, "ibm")},
        "image": {"id": settings.boot},
        "primary_network_interface": {"subnet": {"id": settings.compute}},
        "boot_volume_attachment": {"volume": volume, "delete_volume_on_instance_delete": False},
        "metadata_service": {"enabled": True, "protocol": "https"},
        "user_data": cloud_config(job).decode("ascii"),
    }
    if settings.spot:
        plain["availability"] = {"class": "spot"}
        plain["availability_policy"] = {"preemption": "stop"}
    if settings.project:
        plain["resource_group"] = {"id": settings.project}
    return plain


def faults(job: Job) -> Iterator[Broken]:
    """What the API would refuse."""
    settings = job.settings
    such = "r006-01234567-89ab-cdef-0123-456789abcdef"
    yield from boot_fault(job, _ID, "id of an image of IBM Cloud VPC", such)
    yield from machine_faults(job, "ibm")
    patterns = (
        ("zone", _ZONE, "zone of IBM Cloud", "us-south-1"),
        ("compute", _ID, "id of a subnet", "0717-01234567-89ab-cdef-0123-456789abcdef"),
        ("project", _GROUP, "id of a resource group", "0123456789abcdef0123456789abcdef"),
    )
    for key, pattern, what, example in patterns:
        value = getattr(settings, key)
        if value is not None and not pattern.fullmatch(value):
            yield job.broken(key, f"{value!r} is no {what}", f"such as {example}")
    if settings.disk_gb is not None and settings.disk_gb < LEAST_DISK_GB:
        yield job.broken(
            "disk_gb", f"a boot volume has {LEAST_DISK_GB} GB at least", "leave it out for 100"
        )


EMITTERS: Mapping[TargetName, Emitter] = {
    "ibm-vpc": Emitter(
        target="ibm-vpc",
        takes=TAKES | {"zone", "compute", "project", "disk_gb"},
        needs=("boot", "compute", "zone"),
        several=False,
        documents=documents,
        faults=faults,
    )
}
