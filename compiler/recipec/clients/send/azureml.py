"""Sends command jobs to Azure ML, with the service's own SDK.

In: the job's file, which the SDK reads. Out: the job. A job's name is the workspace's own; a second
one of that name would change the first, so the job is looked for. The SDK first registers the image
as an environment without a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recipec.clients.azure import PACKAGE
from recipec.clients.send.azurecore import ENDPOINT, EXTRA, TIMES, credential, understood
from recipec.clients.send.call import Call, Outcome, Refused, Sender, Words, Work, place
from recipec.clients.send.once import once
from recipec.clients.send.refusals import refused
from recipec.clients.verdict import client
from recipec.recipe.schema import TargetName

SERVICE = "Azure ML"
FAILED = ("Failed", "Canceled", "CancelRequested", "NotResponding")
TAG = "recipec-run-id"
KEYS = (
    (r"(?i)compute", "compute"),
    (r"(?i)instance ?type|vm ?size", "machine"),
    (r"(?i)identity", "identity"),
    (r"(?i)datastore", "output"),
)
VARIABLES = {
    "subscription": "AZURE_SUBSCRIPTION_ID",
    "project": "AZURE_DEFAULTS_GROUP",
    "workspace": "AZURE_DEFAULTS_WORKSPACE",
}
"""As the command line `az` reads them."""


def calls(work: Work) -> tuple[Call, ...]:
    """The one call of the SDK."""
    return (
        Call(
            service=SERVICE,
            operation="MLClient.jobs.create_or_update",
            endpoint=ENDPOINT,
            parameters={**_places(work), "job": work.document},
        ),
    )


def send(work: Work) -> Outcome:
    """Create the job unless there is one of its name."""
    places, name = _places(work), work.document["name"]
    library = client("azure.ai.ml", PACKAGE, EXTRA, does="sends such jobs")
    missing = client("azure.core.exceptions", "azure-core", EXTRA).ResourceNotFoundError
    with _understood(library):
        service = library.MLClient(credential(), **places, enable_telemetry=False, **TIMES)
        job = library.load_job(work.path)

    def look() -> Any:
        with _understood(library):
            try:
                found = service.jobs.get(name)
            except missing as error:
                if "job" not in str(error).lower() and "run" not in str(error).lower():
                    raise
                return None
        return _ours(found, work.run_id, name)

    def start() -> Any:
        with _understood(library):
            return service.jobs.create_or_update(job)

    found, started = once(look, start)
    # A word, or a member of an enumeration, as the SDK has it.
    state = str(getattr(found.status, "value", found.status) or "")
    return Outcome(
        name=name,
        identifier=name,
        state=state,
        started=started,
        failed=not started and state in FAILED,
        words=_words(work, places),
    )


def _places(work: Work) -> dict[str, str]:
    """Subscription, resource group and workspace, as the SDK names them."""
    names = {
        "subscription": "subscription_id",
        "project": "resource_group_name",
        "workspace": "workspace_name",
    }
    return {ours: place(work, name, VARIABLES[name]) for name, ours in names.items()}


def _ours(job: Any, run_id: str, name: str) -> Any:
    if (job.tags or {}).get(TAG) != run_id:
        raise Refused(
            f"{SERVICE} has a job called {name}, and it is not of this run",
            hint=f"see its tags: {TAG} is another",
        )
    return job


def _words(work: Work, places: Mapping[str, str]) -> Words:
    name = work.document["name"]
    where = (
        f"--name {name} --resource-group {places['resource_group_name']}"
        f" --workspace-name {places['workspace_name']}"
    )
    return Words(
        follow=f"az ml job stream {where}",
        results=work.document["outputs"]["trained"]["path"],
        stop=f"az ml job cancel {where}",
        anew="a job's name stays taken in its workspace: submit to another one, or to serverless"
        " compute and a cluster in turn",
    )


@contextmanager
def _understood(library: Any) -> Iterator[None]:
    """Turn what the SDK raises into errors of ours: azure-core's, and its own."""
    try:
        with understood(SERVICE, *KEYS):
            yield
    except library.exceptions.MlException as error:
        raise refused(SERVICE, words=str(error.message), keys=KEYS) from error


SENDERS: Mapping[TargetName, Sender] = {
    "azureml": Sender(places=frozenset(VARIABLES), calls=calls, send=send)
}
