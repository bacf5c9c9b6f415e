"""Amazon SageMaker: the request of CreateTrainingJob as JSON.

In: a `Job`. Out: sagemaker.json, for `aws sagemaker create-training-job --cli-input-json`. The
service starts the image with the one word `train`, as the user that the image names: root, to whom
its folders belong. What the run leaves in /opt/ml/model becomes model.tar.gz at the job's end, and
what lies in /opt/ml/checkpoints is copied to S3 all the while. The runtime knows both folders by
RECIPEC_ENGINE.
Limits: the API reference of CreateTrainingJob, and the service's own model in botocore.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.catalog.hardware import Machine
from recipec.emit.jobs.job import Emitter, Job
from recipec.emit.jobs.machines import described, machine_faults, machine_of, place_faults
from recipec.emit.jobs.text import json_text
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

CHECKPOINTS, INPUT = "/opt/ml/checkpoints", "/opt/ml/input/data"
CHANNEL = "adapted"

LONGEST_RUN = 28 * 24
"""Hours of a training job at most, all of its tries together: the API reference of
StoppingCondition. An account's quota may be less, and is raised on demand."""
LONGEST_IMAGE = 255
MOST_RETRIES = 30
DISK_GB = 50
"""The volume of a machine that has no disk of its own."""

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@/-]+", re.ASCII)
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?", re.ASCII)
_REGISTRY = re.compile(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/.+", re.ASCII)
_MACHINE = re.compile(r"ml\.[a-z][a-z0-9-]*\.[a-z0-9-]+")


def documents(job: Job) -> dict[str, bytes]:
    """The request."""
    return {"sagemaker.json": json_text(request(job))}


def request(job: Job) -> dict[str, Any]:
    """The request's values, in the order of the API's page."""
    settings = job.settings
    plain: dict[str, Any] = {
        "TrainingJobName": job.title(),
        "AlgorithmSpecification": {
            "TrainingImage": job.container.reference,
            "TrainingInputMode": "File",
        },
        "RoleArn": settings.identity,
        "OutputDataConfig": {"S3OutputPath": settings.output},
        "ResourceConfig": _resources(job),
        "StoppingCondition": {"MaxRuntimeInSeconds": job.seconds},
        "EnableNetworkIsolation": True,
        "Environment": job.environment(adapted=f"{INPUT}/{CHANNEL}"),
        "Tags": [
            {"Key": "recipec/name", "Value": job.name},
            {"Key": "recipec/run-id", "Value": job.run_id},
        ],
    }
    if job.adapted:
        plain["InputDataConfig"] = [_channel(str(settings.adapted))]
    if settings.checkpoints:
        place = f"{settings.checkpoints.rstrip('/')}/{job.digits}"
        plain["CheckpointConfig"] = {"S3Uri": place, "LocalPath": CHECKPOINTS}
    if settings.spot:
        plain["EnableManagedSpotTraining"] = True
        plain["StoppingCondition"]["MaxWaitTimeInSeconds"] = 2 * job.seconds
    if settings.retries:
        plain["RetryStrategy"] = {"MaximumRetryAttempts": settings.retries}
    return plain


def _resources(job: Job) -> dict[str, Any]:
    machine = machine_of(job, "aws", _spelling)
    plain: dict[str, Any] = {"InstanceType": machine, "InstanceCount": job.shape.nodes}
    if not _own_disk(job):
        plain["VolumeSizeInGB"] = job.settings.disk_gb or DISK_GB
    return plain


def _spelling(machine: Machine) -> str:
    return machine.sagemaker


def _own_disk(job: Job) -> bool:
    """Whether the machine's NVMe disk takes the place of a volume."""
    machine = described(job, "aws", _spelling)
    return machine is not None and bool(machine.disk_gb)


def _channel(uri: str) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": uri,
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"ChannelName": CHANNEL, "DataSource": {"S3DataSource": source}}


def faults(job: Job) -> Iterator[Broken]:
    """What the service would refuse, or what could not work there."""
    settings = job.settings
    if settings.machine and not _MACHINE.fullmatch(settings.machine):
        yield job.broken(
            "machine",
            f"{settings.machine!r} is no machine type of SageMaker",
            "they begin with `ml.`, such as ml.g5.xlarge",
        )
    else:
        yield from machine_faults(job, "aws", _spelling)
        # SageMaker has no more machines in a region than EC2.
        region = settings.region or _region(job)
        if region:
            yield from place_faults(job, "aws", "region", region, _spelling)
    if settings.disk_gb and _own_disk(job):
        machine = machine_of(job, "aws", _spelling)
        yield job.broken(
            "disk_gb", f"{machine} has a disk of its own and gets no other", "remove it"
        )
    if settings.identity and not _ROLE.fullmatch(settings.identity):
        yield job.broken(
            "identity",
            f"{settings.identity!r} is not the ARN of a role",
            "such as arn:aws:iam::123456789012:role/training",
        )
    for key in ("output", "checkpoints", "adapted"):
        uri = getattr(settings, key)
        if uri is not None and not _BUCKET.fullmatch(uri):
            yield job.broken(key, f"{uri!r} is no place in S3", "such as s3://my-bucket/runs")
    yield from _limits(job)


def _region(job: Job) -> str:
    """That of the image's repository, which the job runs in; empty if it is in no such one."""
    found = _REGISTRY.fullmatch(job.container.reference)
    return found[1] if found else ""


def _limits(job: Job) -> Iterator[Broken]:
    settings = job.settings
    if settings.max_hours > LONGEST_RUN:
        yield job.broken(
            "max_hours",
            f"a training job of SageMaker ends after {LONGEST_RUN} hours at the latest",
            f"at most {LONGEST_RUN}; the run goes on from its checkpoint in another job",
        )
    if settings.retries > MOST_RETRIES:
        yield job.broken(
            "retries", f"SageMaker tries at most {MOST_RETRIES} times", f"at most {MOST_RETRIES}"
        )
    if settings.spot and not settings.checkpoints:
        yield job.broken(
            "spot",
            "a spot machine may be taken away, and then all that was trained is lost",
            "add `checkpoints: s3://...`: the run goes on from there, to the same bytes",
        )
    found = _REGISTRY.fullmatch(job.container.reference)
    if not found:
        yield _image_fault(
            "SageMaker pulls images from Amazon ECR alone",
            "`recipec copy` takes it to ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME",
        )
    elif settings.region and settings.region != found[1]:
        yield job.broken(
            "region",
            f"the image lies in {found[1]}, and SageMaker pulls from its own region,"
            f" {settings.region}",
            f"`recipec copy` it to a repository in {settings.region}, or train in {found[1]}",
        )
    if len(job.container.reference) > LONGEST_IMAGE:
        yield _image_fault(
            f"the image's reference has {len(job.container.reference)} characters; "
            f"SageMaker takes {LONGEST_IMAGE}",
            "push it to a repository with a shorter name",
        )


def _image_fault(message: str, hint: str) -> Broken:
    return Broken(path=("deploy", "image"), message=message, hint=hint)


EMITTERS: Mapping[TargetName, Emitter] = {
    "sagemaker": Emitter(
        target="sagemaker",
        takes=frozenset(
            {
                *("machine", "region", "identity", "output", "checkpoints", "adapted"),
                *("spot", "max_hours", "retries", "disk_gb"),
            }
        ),
        needs=("identity", "output"),
        schema2=True,
        root=True,
        documents=documents,
        faults=faults,
    )
}
