"""Starts virtual machines at EC2, with boto3.

In: the request of RunInstances. Out: the machine. A machine of the run is looked for by its tag
first; the request's ClientToken keeps two that are sent at once from starting two machines. The
region is the command line's, or the one that boto3 finds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from recipec.clients.send.amazon import client_of, understood
from recipec.clients.send.call import Call, Outcome, Sender, Words, Work
from recipec.clients.send.once import once
from recipec.recipe.schema import TargetName

SERVICE = "EC2"
TAG = "recipec/run-id"
ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
RESULTS = "/var/lib/recipec/out on the machine's disk"
KEYS = (
    (r"InvalidAMI|InvalidImage", "boot"),
    (r"InvalidSubnet", "compute"),
    (r"(?i)iam ?instance ?profile", "identity"),
    (r"(?i)instance ?type", "machine"),
)


def calls(work: Work) -> tuple[Call, ...]:
    """The one request."""
    known = (work.places.get("region"), *map(os.environ.get, ("AWS_REGION", "AWS_DEFAULT_REGION")))
    region = next(filter(None, known), "")
    endpoint = f"https://ec2.{region}.amazonaws.com" if region else ""
    return (
        Call(
            service=SERVICE,
            operation="RunInstances",
            endpoint=endpoint + (".cn" if region.startswith("cn-") else ""),
            parameters=work.document,
        ),
    )


def send(work: Work) -> Outcome:
    """Start the machine unless the run has one."""
    client = client_of("ec2", work.places.get("region", ""))

    def look() -> Any:
        with understood(SERVICE, *KEYS):
            return _machine(client, work.run_id)

    def start() -> Any:
        with understood(SERVICE, *KEYS):
            return client.run_instances(**work.document)["Instances"][0]

    found, started = once(look, start)
    return _outcome(client, work, found, started=started)


def _machine(client: Any, run_id: str) -> Any:
    """The run's machine that is not terminated, or None."""
    pages = client.get_paginator("describe_instances").paginate(
        Filters=[
            {"Name": f"tag:{TAG}", "Values": [run_id]},
            {"Name": "instance-state-name", "Values": list(ALIVE)},
        ]
    )
    every = (one for page in pages for rows in page["Reservations"] for one in rows["Instances"])
    return next(every, None)


def _outcome(client: Any, work: Work, machine: Any, *, started: bool) -> Outcome:
    names = [one["Value"] for one in machine.get("Tags", ()) if one["Key"] == "Name"]
    return Outcome(
        name=names[0] if names else work.document["ClientToken"],
        identifier=machine["InstanceId"],
        state=machine["State"]["Name"],
        started=started,
        words=_words(machine["InstanceId"], client.meta.region_name, work.document),
    )


def _words(machine: str, region: str, request: Mapping[str, Any]) -> Words:
    where = f"--region {region} --instance-ids {machine}"
    persistent = "InstanceMarketOptions" in request
    request_of = f"aws ec2 describe-spot-instance-requests --region {region} --filters" + (
        f" Name=instance-id,Values={machine}  # and cancel-spot-instance-requests"
    )
    first = f"{request_of}\n" if persistent else ""
    return Words(
        follow=f"aws ec2 describe-instances {where}\n"
        f"aws ec2 get-console-output --latest --output text --region {region}"
        f" --instance-id {machine}",
        results=RESULTS,
        stop=f"{first}aws ec2 stop-instances {where}",
        anew=f"{first}aws ec2 start-instances {where}  # goes on with an unfinished run\n"
        f"aws ec2 terminate-instances {where}  # an hour later, another can be submitted",
    )


SENDERS: Mapping[TargetName, Sender] = {
    "ec2": Sender(places=frozenset({"region"}), calls=calls, send=send)
}
