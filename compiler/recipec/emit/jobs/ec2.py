"""Amazon EC2: the request of RunInstances, and its user data.

In: a `Job`. Out: ec2.json for `aws ec2 run-instances --cli-input-json`, ec2.cloud-init.yaml. A spot
machine is stopped, not terminated, and started again with its disk when there is room.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.machines import machine_faults, machine_of, place_faults
from recipec.emit.jobs.text import json_text
from recipec.emit.jobs.vm import TAKES, boot_fault, cloud_config
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

_IMAGE = re.compile(r"ami-[0-9a-f]{8}([0-9a-f]{9})?")
_SUBNET = re.compile(r"subnet-[0-9a-f]{8}([0-9a-f]{9})?")
_ZONE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-[0-9]+)[a-z]")
_PROFILE = re.compile(r"[A-Za-z0-9+=,.@_-]{1,128}")


def documents(job: Job) -> dict[str, bytes]:
    """The request and the user data in it."""
    return {"ec2.json": json_text(request(job)), "ec2.cloud-init.yaml": cloud_config(job)}


def request(job: Job) -> dict[str, Any]:
    """The request's values."""
    settings = job.settings
    plain: dict[str, Any] = {
        "ClientToken": job.title(64),
        "ImageId": settings.boot,
        "InstanceType": machine_of(job, "aws"),
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceInitiatedShutdownBehavior": "stop",
        "MetadataOptions": {"HttpTokens": "required"},
        "UserData": cloud_config(job).decode("ascii"),
        "TagSpecifications": [
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "Name", "Value": job.title()},
                    {"Key": "recipec/run-id", "Value": job.run_id},
                ],
            }
        ],
    }
    if settings.zone:
        plain["Placement"] = {"AvailabilityZone": settings.zone}
    if settings.compute:
        plain["SubnetId"] = settings.compute
    if settings.identity:
        plain["IamInstanceProfile"] = {"Name": settings.identity}
    if settings.spot:
        options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
        plain["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return plain


def faults(job: Job) -> Iterator[Broken]:
    """What the API would refuse."""
    settings = job.settings
    yield from boot_fault(job, _IMAGE, "image of EC2", "ami-0123456789abcdef0")
    yield from machine_faults(job, "aws")
    zone = _ZONE.fullmatch(settings.zone) if settings.zone else None
    if zone:
        yield from place_faults(job, "aws", "zone", zone[1])
    elif settings.zone:
        yield job.broken("zone", f"{settings.zone!r} is no zone of EC2", "such as us-east-1a")
    if settings.compute is not None and not _SUBNET.fullmatch(settings.compute):
        yield job.broken(
            "compute", f"{settings.compute!r} is no subnet", "such as subnet-0123456789abcdef0"
        )
    if settings.identity is not None and not _PROFILE.fullmatch(settings.identity):
        yield job.broken(
            "identity",
            f"{settings.identity!r} is no name of an instance profile",
            "the profile's name, not its ARN",
        )


EMITTERS: Mapping[TargetName, Emitter] = {
    "ec2": Emitter(
        target="ec2",
        takes=TAKES | {"zone", "compute", "identity"},
        needs=("boot",),
        several=False,
        documents=documents,
        faults=faults,
    )
}
