"""What a service cannot do of a recipe is refused with the key, the limit and a way out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from recipec.emit.jobs.job import Shape
from recipec.emit.jobs.make import job_documents, job_faults
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName
from tests.support.jobs import DIGEST, Case, cases, job, messages


def one(target: TargetName, case: Case | None = None, **settings: Any) -> Broken:
    """The one fault of a job with these settings."""
    made = job(target, case or cases(target)["cpu"], **settings)
    (fault,) = job_faults(made)
    return fault


def said(fault: Broken) -> tuple[str, str, str]:
    return str(fault.path[-1]), fault.message, fault.hint


@pytest.mark.parametrize(
    ("target", "settings", "expected"),
    [
        (
            "compose",
            {"spot": True},
            (
                "spot",
                "`spot` does nothing on compose: it cannot ask for such machines",
                "takes: adapted, output, retries",
            ),
        ),
        (
            "compose",
            {"output": "s3://a/b"},
            (
                "output",
                "'s3://a/b' is no folder of this machine",
                "begin with / or ./, such as ./results",
            ),
        ),
        (
            "iks",
            {"spot": True},
            (
                "spot",
                "clusters of ibm have no machines that may be taken away",
                "remove `spot`; gke, aks and eks have them",
            ),
        ),
        (
            "gke",
            {"output": None},
            ("output", "gke needs `output`", "such as `output: pvc:results/legal-t5`"),
        ),
        (
            "gke",
            {"output": "pvc:Results"},
            (
                "output",
                "'pvc:Results' names no persistent volume claim",
                "such as pvc:results/legal-t5: a claim's name, and a folder in it",
            ),
        ),
        (
            "eks",
            {"namespace": "a.b"},
            (
                "namespace",
                "'a.b' is no name of a namespace",
                "small letters, digits and hyphens, at most 63",
            ),
        ),
        (
            "eks",
            {"identity": "arn:aws:iam::1:role/x"},
            (
                "identity",
                "'arn:aws:iam::1:role/x' is no name of a service account",
                "small letters, digits, hyphens and dots, at most 253; a cloud's own account is"
                " bound to it in the cluster",
            ),
        ),
        (
            "sagemaker",
            {"identity": None},
            (
                "identity",
                "sagemaker needs `identity`",
                "such as `identity: arn:aws:iam::123456789012:role/training`",
            ),
        ),
        (
            "sagemaker",
            {"identity": "training"},
            (
                "identity",
                "'training' is not the ARN of a role",
                "such as arn:aws:iam::123456789012:role/training",
            ),
        ),
        (
            "sagemaker",
            {"output": "gs://a"},
            ("output", "'gs://a' is no place in S3", "such as s3://my-bucket/runs"),
        ),
        (
            "sagemaker",
            {"machine": "g5.xlarge"},
            (
                "machine",
                "'g5.xlarge' is no machine type of SageMaker",
                "they begin with `ml.`, such as ml.g5.xlarge",
            ),
        ),
        (
            "sagemaker",
            {"max_hours": 700.0},
            (
                "max_hours",
                "a training job of SageMaker ends after 672 hours at the latest",
                "at most 672; the run goes on from its checkpoint in another job",
            ),
        ),
        (
            "sagemaker",
            {"retries": 31},
            ("retries", "SageMaker tries at most 30 times", "at most 30"),
        ),
        (
            "sagemaker",
            {"spot": True},
            (
                "spot",
                "a spot machine may be taken away, and then all that was trained is lost",
                "add `checkpoints: s3://...`: the run goes on from there, to the same bytes",
            ),
        ),
        (
            "sagemaker",
            {"region": "eu-west-1"},
            (
                "region",
                "the image lies in us-east-1, and SageMaker pulls from its own region, eu-west-1",
                "`recipec copy` it to a repository in eu-west-1, or train in us-east-1",
            ),
        ),
        (
            "sagemaker",
            {"zone": "a"},
            (
                "zone",
                "`zone` does nothing on sagemaker: the place follows from where the document is"
                " sent",
                "takes: adapted, checkpoints, disk_gb, identity, machine, max_hours, output,"
                " region, retries, spot",
            ),
        ),
    ],
)
def test_settings_that_a_service_refuses(
    target: TargetName, settings: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert said(one(target, **settings)) == expected


ONE_H100 = Case(name="a", shape=Shape(accelerator="nvidia-h100-80gb", processes=1))


@pytest.mark.parametrize(
    ("target", "case", "machine", "expected"),
    [
        (
            "sagemaker",
            ONE_H100,
            "ml.g5.xlarge",
            (
                "machine",
                "ml.g5.xlarge has 1 x nvidia-a10g, and the run needs 1 x nvidia-h100-80gb",
                "such as ml.p5.4xlarge",
            ),
        ),
        (
            "sagemaker",
            ONE_H100,
            "ml.p5.5xlarge",
            (
                "machine",
                "ml.p5.5xlarge is no machine type of aws that the catalogue knows, and the run"
                " needs 1 x nvidia-h100-80gb",
                "did you mean ml.p5.4xlarge?",
            ),
        ),
        (
            "iks",
            ONE_H100,
            None,
            (
                "machine",
                "no machine type of ibm in the catalogue is one of 1 x nvidia-h100-80gb",
                "aws, google has such machines",
            ),
        ),
        (
            "aks",
            Case(name="a", shape=Shape(accelerator="nvidia-h100-80gb", processes=3)),
            None,
            (
                "machine",
                "no machine type of azure in the catalogue is one of 3 x nvidia-h100-80gb",
                "machines with it have 1, 2, 4, 8",
            ),
        ),
    ],
)
def test_machines_without_what_the_run_needs(
    target: TargetName, case: Case, machine: str | None, expected: tuple[str, str, str]
) -> None:
    assert said(one(target, case, machine=machine)) == expected


@pytest.mark.parametrize(
    ("target", "machine", "settings", "expected"),
    [
        (
            "ec2",
            "p5.48xlarge",
            {"zone": "eu-west-3a"},
            (
                "zone",
                "aws does not offer p5.48xlarge in eu-west-3, as of 2026-10-01",
                "regions that have it: eu-north-1, eu-west-2 ...",
            ),
        ),
        (
            "ec2",
            "p5.48xlarge",
            {"zone": "north"},
            ("zone", "'north' is no zone of EC2", "such as us-east-1a"),
        ),
        (
            "gce",
            "a3-highgpu-8g",
            {"zone": "us-west2-a"},
            (
                "zone",
                "google does not offer a3-highgpu-8g in us-west2-a, as of 2026-11-23",
                "zones that have it: us-central1-a, us-central1-b, us-central1-c, us-east4-a,"
                " us-east4-b, us-east4-c ...",
            ),
        ),
    ],
)
def test_a_place_without_the_machine(
    target: TargetName, machine: str, settings: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    case = cases(target)["eight-gpus"]
    assert said(one(target, case, machine=machine, **settings)) == expected


def test_sagemaker_runs_where_its_image_lies() -> None:
    made = job("sagemaker", cases("sagemaker")["eight-gpus"])
    assert messages(made) == []
    place = made.container.reference.replace("us-east-1", "eu-central-1")
    (fault,) = job_faults(replace(made, container=replace(made.container, reference=place)))
    assert said(fault) == (
        "region",
        "aws does not offer p5.48xlarge in eu-central-1, as of 2026-10-01",
        "regions that have it: eu-north-1, eu-west-2 ...",
    )


@pytest.mark.parametrize(
    ("machine", "zone"), [("p5.48xlarge", "us-east-1a"), ("p3.16xlarge", "us-north-7b")]
)
def test_a_place_that_has_it_and_a_machine_that_nobody_knows_of(machine: str, zone: str) -> None:
    eight = "nvidia-v100-16gb" if machine.startswith("p3") else "nvidia-h100-80gb"
    case = Case(name="a", shape=Shape(accelerator=eight, processes=8))
    made = job("ec2", case, machine=machine, zone=zone)
    assert messages(made) == []
    request = json.loads(job_documents(made)["ec2.json"])
    assert request["Placement"] == {"AvailabilityZone": zone}


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("azureml", {"max_hours": 505}, "a job of Azure ML ends after 504 hours at the latest"),
        (
            "azureml",
            {"max_hours": 169, "spot": True},
            "a job of Azure ML on spot machines ends after 168 hours at the latest",
        ),
        ("gce", {"max_hours": 0.005}, "Compute Engine takes no limit below 30 seconds"),
        ("gce", {"max_hours": 2881}, "Compute Engine stops a machine after 2880 hours at the"),
    ],
)
def test_limits_of_time(target: TargetName, settings: dict[str, Any], message: str) -> None:
    assert one(target, **settings).message.startswith(message)


def test_a_machine_of_cpus_is_taken_as_it_is_named() -> None:
    made = job("sagemaker", cases("sagemaker")["cpu"], machine="ml.c9.huge")
    assert messages(made) == []
    assert b'"ml.c9.huge"' in job_documents(made)["sagemaker.json"]


def test_the_smallest_machine_that_fits_is_chosen() -> None:
    made = job("sagemaker", cases("sagemaker")["one-gpu"])
    assert b'"ml.g6.xlarge"' in job_documents(made)["sagemaker.json"]


def test_a_machine_with_a_disk_of_its_own_gets_no_other() -> None:
    own = job("sagemaker", cases("sagemaker")["one-gpu"], disk_gb=100)
    assert messages(own) == ["disk_gb: ml.g6.xlarge has a disk of its own and gets no other"]
    assert (
        b"VolumeSizeInGB"
        not in job_documents(replace(own, settings=own.settings))["sagemaker.json"]
    )
    bare = job("sagemaker", cases("sagemaker")["cpu"], machine="ml.m5.xlarge", disk_gb=100)
    assert b'"VolumeSizeInGB": 100' in job_documents(bare)["sagemaker.json"]


def test_sagemaker_takes_images_from_its_own_registry_alone() -> None:
    made = job("sagemaker", cases("sagemaker")["cpu"])
    other = replace(made.container, reference=f"ghcr.io/team/a@{DIGEST}")
    (fault,) = job_faults(replace(made, container=other))
    assert fault.path == ("deploy", "image")
    assert fault.message == "SageMaker pulls images from Amazon ECR alone"


@pytest.mark.parametrize("target", ["ec2", "gce", "azure-vm", "ibm-vpc"])
def test_one_machine_is_not_several(target: TargetName) -> None:
    fault = one(target, cases(target)["two-machines-of-cpus"])
    assert fault.path == ("hardware", "nodes")
    assert fault.message == f"{target} is one machine, and the recipe trains on 2"
    assert fault.hint == (
        "other targets have several, such as sagemaker, vertex, azureml, jobset and skypilot; or"
        " leave `hardware.nodes` at 1"
    )


def test_databricks_has_gpus_alone_and_wants_a_shell() -> None:
    made = job("databricks", cases("databricks")["cpu"], output="s3://a", project="/Users/me")
    bare = replace(made, container=replace(made.container, shell=False))
    assert messages(bare) == [
        "package_set: Databricks runs the command with the image's bash, and the image has none",
        "databricks: the recipe wants machines of CPUs alone, and AI Runtime of Databricks has"
        " none",
        "output: 's3://a' is no folder of a volume of Unity Catalog",
        "project: '/Users/me' is no folder of a workspace",
    ]


def test_a_run_that_begins_with_the_corpus_model_needs_to_be_told_where_it_is() -> None:
    made = replace(job("gke", cases("gke")["cpu"]), adapted=True)
    assert messages(made) == [
        "adapted: the run begins with the model that the corpus has made, and the job has none"
    ]
