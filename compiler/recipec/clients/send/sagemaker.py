"""Sends training jobs to SageMaker, with boto3.

In: the request of CreateTrainingJob. Out: the job. A job's name is the account's own in a region
for ever, so a second request of the same run is refused by the service; the job is looked for
first, and said to be there. The region is that of the image's registry, from which alone SageMaker
pulls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from recipec.clients.send.amazon import client_of, code_of, understood
from recipec.clients.send.call import Call, Outcome, Sender, Words, Work
from recipec.clients.send.once import once
from recipec.recipe.schema import TargetName

SERVICE = "SageMaker"
FAILED = ("Failed", "Stopped", "Stopping", "Deleting")
KEYS = (
    (r"(?i)role", "identity"),
    (r"(?i)instance ?type|ml\.[a-z0-9]+\.", "machine"),
    (r"(?i)checkpoint", "checkpoints"),
    (r"(?i)s3://|bucket", "output"),
)
"""What a refusal is about, and the setting that says it."""


def region_of(document: Mapping[str, Any]) -> str:
    """The region of the image's registry, ACCOUNT.dkr.ecr.REGION.amazonaws.com."""
    image = document["AlgorithmSpecification"]["TrainingImage"]
    found = re.match(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com", image)
    assert found is not None, "the emitter has seen to it"
    return found[1]


def calls(work: Work) -> tuple[Call, ...]:
    """The one request."""
    region = region_of(work.document)
    suffix = ".cn" if region.startswith("cn-") else ""
    return (
        Call(
            service=SERVICE,
            operation="CreateTrainingJob",
            endpoint=f"https://api.sagemaker.{region}.amazonaws.com{suffix}",
            parameters=work.document,
        ),
    )


def send(work: Work) -> Outcome:
    """Create the training job unless there is one of its name."""
    request, name = work.document, work.document["TrainingJobName"]
    client = client_of("sagemaker", region_of(request))

    def look() -> str | None:
        with understood(SERVICE, *KEYS):
            return _state(client, name)

    def start() -> str:
        with understood(SERVICE, *KEYS):
            client.create_training_job(**request)
        return "InProgress"

    state, started = once(look, start)
    return _outcome(work, state, started=started)


def _state(client: Any, name: str) -> str | None:
    """The state of the job of a name; None if there is none."""
    try:
        return str(client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])
    except client.exceptions.ClientError as error:
        code, words = code_of(error)
        # The service says so with the code of a request that is wrong.
        if code == "ResourceNotFound" or (
            code == "ValidationException" and re.search("not f(ou|i)nd", words)
        ):
            return None
        raise


def _outcome(work: Work, state: str, *, started: bool) -> Outcome:
    name = work.document["TrainingJobName"]
    return Outcome(
        name=name,
        identifier=name,
        state=state,
        started=started,
        failed=not started and state in FAILED,
        words=_words(work.document, name),
    )


def _words(request: Mapping[str, Any], name: str) -> Words:
    where = f"--region {region_of(request)} --training-job-name {name}"
    output = request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    return Words(
        follow=f"aws sagemaker describe-training-job {where}\n"
        f"aws logs tail /aws/sagemaker/TrainingJobs --follow --region {region_of(request)}"
        f" --log-stream-name-prefix {name}",
        results=f"{output}/{name}/output/model.tar.gz",
        stop=f"aws sagemaker stop-training-job {where}",
        anew=f"aws sagemaker delete-training-job {where}",
    )


SENDERS: Mapping[TargetName, Sender] = {"sagemaker": Sender(calls=calls, send=send)}
