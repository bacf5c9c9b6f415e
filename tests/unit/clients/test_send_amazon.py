"""Requests are sent to an emulator of Amazon's services by boto3; errors come from a stub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from recipec.clients.send.call import Refused, Work
from recipec.clients.send.make import sender_of
from recipec.errors import EnvironmentLacks
from tests.support.clouds import Cloud, Reply, cloud
from tests.support.jobs import cases
from tests.support.submitting import submit, work

SECRET = "not-to-be-shown-anywhere"


@pytest.fixture(autouse=True)
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that mean nothing, and no configuration of this machine's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def amazon(emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator)
    return emulator


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with cloud(lambda _: Reply(status=500)) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        yield made


def sagemaker(case: str, name: str) -> Work:
    one = work("sagemaker", cases("sagemaker")[case])
    one.document["TrainingJobName"] = name
    return one


@pytest.mark.usefixtures("amazon")
@pytest.mark.parametrize("case", ["four-machines", "spot", "cpu"])
def test_a_training_job_is_there_after_it_was_sent(case: str) -> None:
    one = sagemaker(case, f"first-{case}")
    made = submit(one)
    assert (made.started, made.failed, made.state) == (True, False, "InProgress")
    found = boto3.client("sagemaker", region_name="us-east-1").describe_training_job(
        TrainingJobName=made.identifier
    )
    for key in ("RoleArn", "AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        # The emulator adds what the request leaves open.
        wanted = one.document[key]
        assert found[key] == (found[key] | wanted if isinstance(wanted, dict) else wanted)
    (call,) = sender_of("sagemaker").calls(one)
    assert call.parameters is one.document
    assert call.endpoint == "https://api.sagemaker.us-east-1.amazonaws.com"
    assert made.words.results == f"s3://my-bucket/runs/first-{case}/output/model.tar.gz"
    assert made.words.stop.endswith(f"--region us-east-1 --training-job-name first-{case}")


@pytest.mark.usefixtures("amazon")
def test_a_training_job_is_not_started_twice() -> None:
    one = sagemaker("cpu", "once")
    assert submit(one).started
    again = submit(one)
    # Jobs of the emulator are done at once.
    assert (again.started, again.failed, again.state) == (False, False, "Completed")
    jobs = boto3.client("sagemaker", region_name="us-east-1").list_training_jobs(
        NameContains="once"
    )
    assert len(jobs["TrainingJobSummaries"]) == 1


def answers(stub: Cloud, *replies: Reply) -> None:
    left = list(replies)
    stub.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]


def said(code: str, message: str, status: int = 400) -> Reply:
    return Reply(status=status, plain={"__type": code, "message": message})


NOWHERE = said("ValidationException", "Requested resource not found.")


@pytest.mark.parametrize("state", ["Failed", "Stopped"])
def test_a_training_job_that_has_failed(stub: Cloud, state: str) -> None:
    answers(stub, Reply(plain={"TrainingJobStatus": state}))
    again = submit(sagemaker("cpu", "old"))
    assert (again.started, again.failed, again.state) == (False, True, state)
    assert again.words.anew == (
        "aws sagemaker delete-training-job --region us-east-1 --training-job-name old"
    )


def test_a_faster_process(stub: Cloud) -> None:
    answers(
        stub,
        NOWHERE,
        said("ResourceInUse", "taken"),
        Reply(plain={"TrainingJobStatus": "Stopping"}),
    )
    again = submit(sagemaker("cpu", "race"))
    assert (again.started, again.state) == (False, "Stopping")


@pytest.mark.parametrize(
    ("reply", "words", "key"),
    [
        (
            said("ValidationException", "Could not assume role arn:aws:iam::1:role/x"),
            "refuses the job: ValidationException: Could not assume role",
            "identity",
        ),
        (
            said("ResourceLimitExceeded", "The limit 'ml.p5.48xlarge for training' is 0 Instances"),
            "has no room for the job: ResourceLimitExceeded",
            "machine",
        ),
        (said("AccessDeniedException", "no sagemaker:CreateTrainingJob"), "does not allow it", ""),
        (
            said("ExpiredTokenException", "The security token is expired", 403),
            "does not know who is asking: ExpiredTokenException",
            "",
        ),
        (said("InternalFailure", "", 500), "SageMaker fails: InternalFailure", ""),
    ],
)
def test_what_sagemaker_refuses(stub: Cloud, reply: Reply, words: str, key: str) -> None:
    answers(stub, NOWHERE, reply)
    with pytest.raises(Refused) as error:
        submit(sagemaker("cpu", "no"))
    assert words in error.value.message
    assert error.value.key == key
    assert error.value.hint
    assert SECRET not in error.value.render()
    targets = {asked.headers["x-amz-target"] for asked in stub.asked}
    assert targets == {"SageMaker.DescribeTrainingJob", "SageMaker.CreateTrainingJob"}
    assert json.loads(stub.asked[1].body) == sagemaker("cpu", "no").document


def test_no_credentials_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(EnvironmentLacks) as error:
        submit(sagemaker("cpu", "x"))
    assert error.value.message.startswith("SageMaker cannot be reached at http://127.0.0.1:1/")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(EnvironmentLacks) as error:
        submit(sagemaker("cpu", "x"))
    assert error.value.message == "there are no credentials for SageMaker"
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(EnvironmentLacks, match="there is no client of sagemaker: The config"):
        submit(sagemaker("cpu", "x"))


def ec2(case: str, places: dict[str, str] | None = None) -> Work:
    from dataclasses import replace

    one = work("ec2", cases("ec2")[case], {"region": "eu-west-1"} if places is None else places)
    run_id = f"sha256:{case}"
    for tag in one.document["TagSpecifications"][0]["Tags"]:
        if tag["Key"] == "recipec/run-id":
            tag["Value"] = run_id
    one.document["ClientToken"] = case
    return replace(one, run_id=run_id)


def machine(identifier: str) -> Any:
    client = boto3.client("ec2", region_name="eu-west-1")
    return client.describe_instances(InstanceIds=[identifier])["Reservations"][0]["Instances"][0]


@pytest.mark.usefixtures("amazon")
@pytest.mark.parametrize("case", ["eight-gpus", "spot"])
def test_a_machine_is_there_after_it_was_asked_for(case: str) -> None:
    import base64

    one = ec2(case)
    made = submit(one)
    assert made.started
    found = machine(made.identifier)
    assert found["InstanceType"] == one.document["InstanceType"]
    assert found["ImageId"] == one.document["ImageId"]
    wanted = one.document["TagSpecifications"][0]["Tags"]
    assert sorted(
        t["Key"] + t["Value"] for t in found["Tags"] if ":spot" not in t["Key"]
    ) == sorted(t["Key"] + t["Value"] for t in wanted)
    client = boto3.client("ec2", region_name="eu-west-1")
    data = client.describe_instance_attribute(InstanceId=made.identifier, Attribute="userData")
    assert base64.b64decode(data["UserData"]["Value"]).decode() == one.document["UserData"]
    again = submit(one)
    assert (again.started, again.identifier) == (False, made.identifier)
    assert "eu-west-1" in again.words.follow
    assert ("spot-instance-requests" in again.words.stop) == (case == "spot")
    client.terminate_instances(InstanceIds=[made.identifier])


@pytest.mark.usefixtures("amazon")
def test_the_region_is_boto3s_own_if_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentLacks, match="there is no client of ec2: You must specify a reg"):
        submit(ec2("cpu", {}))
    assert sender_of("ec2").calls(ec2("cpu", {}))[0].endpoint == ""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert (
        sender_of("ec2").calls(ec2("cpu", {}))[0].endpoint == "https://ec2.eu-west-1.amazonaws.com"
    )


def wrong(code: str, message: str, status: int = 400) -> Reply:
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    text = f"<Response><Errors>{error}</Errors></Response>"
    return Reply(status=status, plain=text.encode(), headers={"Content-Type": "text/xml"})


NONE = Reply(
    plain=b'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    b"<reservationSet/></DescribeInstancesResponse>",
    headers={"Content-Type": "text/xml"},
)


@pytest.mark.parametrize(
    ("reply", "words", "key"),
    [
        (wrong("InvalidAMIID.NotFound", "The image id does not exist"), "refuses the job", "boot"),
        (
            wrong("InvalidParameterValue", "Value (x) for parameter iamInstanceProfile.name"),
            "refuses the job",
            "identity",
        ),
        (
            wrong("InsufficientInstanceCapacity", "no capacity", 503),
            "has no room for the job: InsufficientInstanceCapacity",
            "",
        ),
        (wrong("UnauthorizedOperation", "You are not", 403), "does not allow it", ""),
        (wrong("AuthFailure", "not able to validate", 401), "does not know who is asking", ""),
    ],
)
def test_what_ec2_refuses(stub: Cloud, reply: Reply, words: str, key: str) -> None:
    answers(stub, NONE, reply)
    with pytest.raises(Refused) as error:
        submit(ec2("cpu"))
    assert words in error.value.message
    assert error.value.key == key
    assert SECRET not in error.value.render()
