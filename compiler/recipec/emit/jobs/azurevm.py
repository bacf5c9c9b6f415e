"""A virtual machine of Azure: the body of Microsoft.Compute/virtualMachines, and its user data.

In: a `Job`. Out: azure-vm.json for PUT .../virtualMachines/NAME, azure-vm.cloud-init.yaml. A spot
machine that is taken away is deallocated and keeps its disk. One that turns itself off is stopped,
and is paid for until it is deallocated, too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.machines import machine_faults, machine_of
from recipec.emit.jobs.text import json_text
from recipec.emit.jobs.vm import TAKES, boot_fault, cloud_config
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

DISK_GB = 100
ADMINISTRATOR = "recipec"
_URN = re.compile(r"[^:/\s]+:[^:/\s]+:[^:/\s]+:[^:/\s]+")
_RESOURCE = r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/"
_NETWORK = re.compile(_RESOURCE + r"Microsoft\.Network/networkInterfaces/[^/\s]+")
_IDENTITY = re.compile(_RESOURCE + r"Microsoft\.ManagedIdentity/userAssignedIdentities/[^/\s]+")
_REGION = re.compile(r"[a-z]+[a-z0-9]*")
_KEY = re.compile(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]+( [^\r\n]*)?")


def documents(job: Job) -> dict[str, bytes]:
    """The request's body and the user data in it."""
    return {
        "azure-vm.json": json_text(machine(job)),
        "azure-vm.cloud-init.yaml": cloud_config(job),
    }


def machine(job: Job) -> dict[str, Any]:
    """The body's values."""
    settings = job.settings
    plain: dict[str, Any] = {
        "location": settings.region,
        "tags": {"recipec-name": job.name, "recipec-run-id": job.run_id},
    }
    if settings.identity:
        identities: dict[str, Any] = {settings.identity: {}}
        plain["identity"] = {"type": "UserAssigned", "userAssignedIdentities": identities}
    properties: dict[str, Any] = {"hardwareProfile": {"vmSize": machine_of(job, "azure")}}
    if settings.spot:
        properties |= {
            "priority": "Spot",
            "evictionPolicy": "Deallocate",
            "billingProfile": {"maxPrice": -1},
        }
    interface = {"id": settings.compute, "properties": {"deleteOption": "Detach"}}
    properties |= {
        "storageProfile": _storage(job),
        "osProfile": _system(job),
        "networkProfile": {"networkInterfaces": [interface]},
    }
    return {**plain, "properties": properties}


def _storage(job: Job) -> dict[str, Any]:
    names = ("publisher", "offer", "sku", "version")
    disk = {
        "createOption": "FromImage",
        "deleteOption": "Detach",
        "diskSizeGB": job.settings.disk_gb or DISK_GB,
    }
    image = dict(zip(names, str(job.settings.boot).split(":"), strict=True))
    return {"imageReference": image, "osDisk": disk}


def _system(job: Job) -> dict[str, Any]:
    path = f"/home/{ADMINISTRATOR}/.ssh/authorized_keys"
    key = {"path": path, "keyData": job.settings.ssh_key}
    return {
        "computerName": job.title(63),
        "adminUsername": ADMINISTRATOR,
        "customData": base64.b64encode(cloud_config(job)).decode("ascii"),
        "linuxConfiguration": {
            "disablePasswordAuthentication": True,
            "ssh": {"publicKeys": [key]},
        },
    }


def faults(job: Job) -> Iterator[Broken]:
    """What the API would refuse."""
    yield from boot_fault(job, _URN, "name of an image", "Debian:debian-12:12-gen2:latest")
    yield from machine_faults(job, "azure")
    resource = "/subscriptions/ID/resourceGroups/NAME/providers/Microsoft."
    patterns = (
        ("region", _REGION, "region of Azure", "westeurope"),
        ("compute", _NETWORK, "network interface", f"{resource}Network/networkInterfaces/NAME"),
        (
            "identity",
            _IDENTITY,
            "managed identity",
            f"{resource}ManagedIdentity/userAssignedIdentities/NAME",
        ),
        ("ssh_key", _KEY, "public key", "the content of ~/.ssh/id_ed25519.pub"),
    )
    for key, pattern, what, such in patterns:
        value = getattr(job.settings, key)
        if value is not None and not pattern.fullmatch(value):
            yield job.broken(key, f"{value!r} is no {what}", f"such as {such}")


EMITTERS: Mapping[TargetName, Emitter] = {
    "azure-vm": Emitter(
        target="azure-vm",
        takes=TAKES | {"region", "compute", "identity", "ssh_key", "disk_gb"},
        needs=("boot", "compute", "region", "ssh_key"),
        several=False,
        documents=documents,
        faults=faults,
    )
}
