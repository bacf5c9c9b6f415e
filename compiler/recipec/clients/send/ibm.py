"""Makes virtual machines in IBM Cloud VPC, with ibm-vpc.

In: the prototype of an instance. Out: the machine. The region is the zone's; a machine's name is
unique in it. Who we are is found by IBM's own rules (VPC_APIKEY and its like, a credentials file),
or by the key that the command line `ibmcloud` takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recipec.clients.machines import EXTRA, PACKAGE
from recipec.clients.send.call import Call, Outcome, Sender, Words, Work
from recipec.clients.send.once import once
from recipec.clients.send.refusals import no_credentials, refused, unreachable
from recipec.clients.verdict import at, client
from recipec.recipe.schema import TargetName

SERVICE = "IBM Cloud"
KEY = "IBMCLOUD_API_KEY"
TIMEOUT = (10, 60)
"""Seconds to connect, and without an answer."""
LOGIN = f"set {KEY} or VPC_APIKEY: `ibmcloud iam api-key-create NAME` makes one"
RESULTS = "/var/lib/recipec/out on the machine's disk"
FAILED = ("failed", "deleting")
KEYS = (
    (r"image", "boot"),
    (r"subnet", "compute"),
    (r"profile", "machine"),
    (r"zone", "zone"),
    (r"resource_group", "project"),
)


def region_of(document: Mapping[str, Any]) -> str:
    """The region of the zone: us-south of us-south-1."""
    return str(document["zone"]["name"]).rpartition("-")[0]


def calls(work: Work) -> tuple[Call, ...]:
    """The one request."""
    return (
        Call(
            service=SERVICE,
            operation="POST /instances",
            endpoint=f"https://{region_of(work.document)}.iaas.cloud.ibm.com/v1",
            parameters={"instance_prototype": work.document},
        ),
    )


def send(work: Work) -> Outcome:
    """Make the machine unless there is one of its name."""
    service, name = _service(work), work.document["name"]

    def look() -> Any:
        with _understood(service):
            found = service.list_instances(name=name).get_result()["instances"]
        return next((one for one in found if one["name"] == name), None)

    def start() -> Any:
        with _understood(service):
            return service.create_instance(instance_prototype=work.document).get_result()

    machine, started = once(look, start)
    state = str(machine.get("status", ""))
    return Outcome(
        name=name,
        identifier=machine["id"],
        state=state,
        started=started,
        failed=not started and state in FAILED,
        words=Words(
            follow=f"ibmcloud is instance {machine['id']}\n"
            f"ibmcloud is instance-console {machine['id']}",
            results=RESULTS,
            stop=f"ibmcloud is instance-stop {machine['id']}",
            anew=f"ibmcloud is instance-start {machine['id']}  # goes on with an unfinished run\n"
            f"ibmcloud is instance-delete {machine['id']}",
        ),
    )


def _service(work: Work) -> Any:
    """The client for the zone's region. Raises EnvironmentLacks without credentials."""
    library = client("ibm_vpc", PACKAGE, EXTRA, does="sends such jobs")
    core = client("ibm_cloud_sdk_core", "ibm-cloud-sdk-core", EXTRA)
    auth = client("ibm_cloud_sdk_core.authenticators", "ibm-cloud-sdk-core", EXTRA)
    name = library.VpcV1.DEFAULT_SERVICE_NAME
    try:
        known = core.get_authenticator_from_environment(name)
        known = known or (auth.IAMAuthenticator(os.environ[KEY]) if os.environ.get(KEY) else None)
    except ValueError as error:
        raise no_credentials(SERVICE, str(error), LOGIN) from error
    if known is None:
        raise no_credentials(SERVICE, "", LOGIN)
    made = library.VpcV1(authenticator=known)
    made.set_service_url(calls(work)[0].endpoint)
    # What the environment says of the service, such as VPC_URL, comes last.
    made.configure_service(name)
    made.set_http_config({"timeout": TIMEOUT})
    return made


@contextmanager
def _understood(service: Any) -> Iterator[None]:
    """Turn what the client raises into errors of ours."""
    core = client("ibm_cloud_sdk_core", "ibm-cloud-sdk-core", EXTRA)
    try:
        yield
    except core.ApiException as error:
        code, words = _said(error)
        status = int(error.status_code)
        if "/identity/token" in str(getattr(error.http_response, "url", "")):
            raise no_credentials(SERVICE, words, LOGIN) from error
        raise refused(
            SERVICE, status=status, code=code, words=words, login=LOGIN, keys=KEYS
        ) from error
    # requests' own errors are Python's OSError.
    except OSError as error:
        raise unreachable(SERVICE, service.service_url, str(error)) from error


def _said(error: Any) -> tuple[str, str]:
    """Code and message of the first error of a body, and the field that it is about."""
    try:
        first = at(error.http_response.json(), "errors", 0)
    except ValueError:
        first = None
    words = str(at(first, "message") or error.message or "")
    field = at(first, "target", "name")
    return str(at(first, "code") or ""), f"{words} ({field})" if field else words


SENDERS: Mapping[TargetName, Sender] = {"ibm-vpc": Sender(calls=calls, send=send)}
