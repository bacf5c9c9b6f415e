"""SageMaker's requests are taken by moto, an emulator of it, through Amazon's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ParamValidationError
from moto.server import ThreadedMotoServer

from tests.support.jobs import cases, job, only_document


@pytest.fixture(scope="module")
def sagemaker() -> Iterator[Any]:
    """A client of an emulator on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield boto3.client(
            "sagemaker",
            region_name="us-east-1",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
    finally:
        server.stop()


@pytest.mark.parametrize("name", cases("sagemaker"))
def test_a_request_becomes_a_training_job(sagemaker: Any, name: str) -> None:
    request = json.loads(only_document(job("sagemaker", cases("sagemaker")[name])))
    request["TrainingJobName"] = name
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    assert arn.endswith(f":training-job/{name}")
    found = sagemaker.describe_training_job(TrainingJobName=name)
    assert found["RoleArn"] == request["RoleArn"]
    for key in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        # The emulator adds what the request leaves open.
        assert found[key] | request[key] == found[key]
    tags = sagemaker.list_tags(ResourceArn=arn)["Tags"]
    assert tags == request["Tags"]


def test_amazons_client_refuses_what_it_does_not_know(sagemaker: Any) -> None:
    request = json.loads(only_document(job("sagemaker", cases("sagemaker")["cpu"])))
    with pytest.raises(ParamValidationError, match="Unknown parameter"):
        sagemaker.create_training_job(**request, Region="us-east-1")
