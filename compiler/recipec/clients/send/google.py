"""Sends custom jobs to Vertex AI and machines to Compute Engine, with Google's discovery client.

In: the body of customJobs.create or instances.insert. Out: the job. Who we are is found by
google-auth (GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, the machine's
account). A custom job's name is the service's to give, so the run is looked for by its label; a
machine's name is unique in its zone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recipec.clients.send.call import Call, Outcome, Refused, Sender, Words, Work, place
from recipec.clients.send.once import once
from recipec.clients.send.refusals import no_credentials, refused, unreachable
from recipec.clients.verdict import at, client
from recipec.errors import UsageError
from recipec.recipe.schema import TargetName

EXTRA, PACKAGE = "gcp", "google-api-python-client"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SECONDS = (10, 150)
"""To connect, and without an answer: Compute Engine is waited for up to two minutes."""
REGIONS = ("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION")
PROJECT = "GOOGLE_CLOUD_PROJECT"
COMPUTE = "https://compute.googleapis.com/compute/v1/"
LOGIN = "`gcloud auth application-default login`, or GOOGLE_APPLICATION_CREDENTIALS"
LABEL, ITEM = "recipec-run-id", "recipec-run-id"
FAILED = ("FAILED", "CANCELLED", "CANCELLING", "EXPIRED")
RESULTS = "/var/lib/recipec/out on the machine's disk"
_STATE = "JOB_STATE_"
_VERTEX_KEYS = (
    (r"(?i)service ?account", "identity"),
    (r"(?i)machine ?type|accelerator", "machine"),
    (r"gs://|(?i:bucket)", "output"),
)
_GCE_KEYS = (
    (r"sourceImage|/images/", "boot"),
    (r"(?i)subnetwork", "compute"),
    (r"(?i)service ?account", "identity"),
    (r"machineType|acceleratorType", "machine"),
    (r"zones/[a-z0-9-]+'", "zone"),
)


def vertex_calls(work: Work) -> tuple[Call, ...]:
    """The one request. The project may be one that only the credentials know."""
    region = place(work, "region", *REGIONS)
    parent = f"projects/{_known_project(work) or 'PROJECT'}/locations/{region}"
    return (
        Call(
            service="Vertex AI",
            operation="projects.locations.customJobs.create",
            endpoint=_vertex(region),
            parameters={"parent": parent, "body": work.document},
        ),
    )


def send_vertex(work: Work) -> Outcome:
    """Create the custom job unless the run has one that goes on, or has come to its end."""
    region = place(work, "region", *REGIONS)
    credentials, project = _credentials(work, "Vertex AI")
    parent = f"projects/{project}/locations/{region}"
    label = work.document["labels"][LABEL]
    endpoint = _vertex(region)
    with _understood("Vertex AI", endpoint, _VERTEX_KEYS):
        api = _api("aiplatform", "v1", credentials, endpoint)
    jobs = api.projects().locations().customJobs()

    def look() -> Any:
        with _understood("Vertex AI", endpoint, _VERTEX_KEYS):
            query = f'labels.{LABEL}="{label}"'
            found = jobs.list(parent=parent, filter=query).execute(num_retries=2)
        every = sorted(found.get("customJobs", ()), key=lambda one: _state(one) in FAILED)
        return next(iter(every), None)

    def start() -> Any:
        with _understood("Vertex AI", endpoint, _VERTEX_KEYS):
            return jobs.create(parent=parent, body=work.document).execute()

    job, started = once(look, start)
    return Outcome(
        name=work.document["displayName"],
        identifier=job["name"],
        state=_state(job),
        started=started,
        failed=not started and _state(job) in FAILED,
        words=_vertex_words(work, job["name"], region, project),
    )


def _state(job: Any) -> str:
    return str(job.get("state", "")).removeprefix(_STATE)


def _vertex(region: str) -> str:
    return f"https://{region}-aiplatform.googleapis.com/"


def _vertex_words(work: Work, name: str, region: str, project: str) -> Words:
    number = name.rpartition("/")[2]
    where = f"{number} --project {project} --region {region}"
    token = '-H "Authorization: Bearer $(gcloud auth print-access-token)"'
    return Words(
        follow=f"gcloud ai custom-jobs stream-logs {where}",
        results=at(work.document, "jobSpec", "baseOutputDirectory", "outputUriPrefix") or "",
        stop=f"gcloud ai custom-jobs cancel {where}",
        anew=f"curl -X DELETE {token} {_vertex(region)}v1/{name}",
    )


def gce_calls(work: Work) -> tuple[Call, ...]:
    """The one request. The project may be one that only the credentials know."""
    return (
        Call(
            service="Compute Engine",
            operation="instances.insert",
            endpoint=COMPUTE,
            parameters={
                "project": _known_project(work) or "PROJECT",
                "zone": work.settings["zone"],
                "body": work.document,
            },
        ),
    )


def send_gce(work: Work) -> Outcome:
    """Make the machine unless it is there."""
    credentials, project = _credentials(work, "Compute Engine")
    zone, name = work.settings["zone"], work.document["name"]
    spot = {"project": project, "zone": zone}
    with _understood("Compute Engine", COMPUTE, _GCE_KEYS):
        api = _api("compute", "v1", credentials, COMPUTE)

    def look() -> Any:
        with _understood("Compute Engine", COMPUTE, _GCE_KEYS):
            found = _or_none(api.instances().get(**spot, instance=name))
        return found and _ours(found, work.run_id, name)

    def start() -> Any:
        with _understood("Compute Engine", COMPUTE, _GCE_KEYS):
            asked = api.instances().insert(**spot, body=work.document).execute()
            waiting = api.zoneOperations().wait(**spot, operation=asked["name"])
            done = waiting.execute(num_retries=1)
        _succeeded(done)
        return {"status": "PROVISIONING"}

    machine, started = once(look, start)
    where = f"{name} --project {project} --zone {zone}"
    return Outcome(
        name=name,
        identifier=name,
        state=machine.get("status", ""),
        started=started,
        words=Words(
            follow=f"gcloud compute instances tail-serial-port-output {where}",
            results=RESULTS,
            stop=f"gcloud compute instances stop {where}",
            anew=f"gcloud compute instances start {where}  # goes on with an unfinished run\n"
            f"gcloud compute instances delete {where} --delete-disks=all",
        ),
    )


def _ours(machine: Any, run_id: str, name: str) -> Any:
    items = at(machine, "metadata", "items") or []
    if not any((at(i, "key"), at(i, "value")) == (ITEM, run_id) for i in items):
        raise Refused(
            f"Compute Engine has a machine called {name}, and it is not of this run",
            hint=f"see its metadata: {ITEM} is another",
        )
    return machine


def _succeeded(operation: Any) -> None:
    """Raises Refused with what went wrong after the request was taken."""
    for error in at(operation, "error", "errors") or ():
        raise refused(
            "Compute Engine",
            status=int(operation.get("httpErrorStatusCode", 400)),
            code=str(at(error, "code") or ""),
            words=str(at(error, "message") or ""),
            login=LOGIN,
            keys=_GCE_KEYS,
        )


def _or_none(request: Any) -> Any:
    """The answer; None for what is not there."""
    try:
        return request.execute(num_retries=2)
    except client("googleapiclient.errors", PACKAGE, EXTRA).HttpError as error:
        if error.status_code == 404:
            return None
        raise


def _known_project(work: Work) -> str:
    return work.places.get("project") or os.environ.get(PROJECT, "")


def _credentials(work: Work, service: str) -> tuple[Any, str]:
    """Credentials, and the project: what is said of it, or the credentials' own."""
    auth = client("google.auth", PACKAGE, EXTRA, does="sends such jobs")
    try:
        found, own = auth.default(scopes=[SCOPE])
    except auth.exceptions.GoogleAuthError as error:
        raise no_credentials(service, str(error), LOGIN) from error
    project = _known_project(work) or own
    if not project:
        raise UsageError(
            f"{work.target} must be told the project, and the credentials do not say it",
            hint=f"--project PROJECT, or set {PROJECT}",
        )
    return found, project


class _Wire:
    """What the client sends by, in the place of httplib2.

    That one sends a request again whose answer is lost, so that a second job would be started, and
    knows proxies only with another package's help.
    """

    def __init__(self, credentials: Any) -> None:
        requests = client("google.auth.transport.requests", PACKAGE, EXTRA)
        self._session = requests.AuthorizedSession(credentials)
        self._answer = client("httplib2", PACKAGE, EXTRA).Response

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any
    ) -> tuple[Any, bytes]:
        """One request; the answer's head, and its body."""
        answer = self._session.request(method, uri, data=body, headers=headers, timeout=SECONDS)
        head = self._answer({**answer.headers, "status": str(answer.status_code)})
        head.reason = answer.reason
        return head, answer.content

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


def _api(name: str, version: str, credentials: Any, endpoint: str) -> Any:
    """An API as its discovery document in the package describes it."""
    discovery = client("googleapiclient.discovery", PACKAGE, EXTRA, does="sends such jobs")
    return discovery.build(
        name,
        version,
        http=_Wire(credentials),
        client_options={"api_endpoint": endpoint},
        static_discovery=True,
        cache_discovery=False,
    )


@contextmanager
def _understood(service: str, endpoint: str, keys: tuple[tuple[str, str], ...]) -> Iterator[None]:
    """Turn what the client raises into errors of ours."""
    errors = client("googleapiclient.errors", PACKAGE, EXTRA, does="sends such jobs")
    auth = client("google.auth.exceptions", PACKAGE, EXTRA)
    try:
        yield
    except errors.HttpError as error:
        code, words = _said(error)
        raise refused(
            service, status=error.status_code, code=code, words=words, login=LOGIN, keys=keys
        ) from error
    except auth.TransportError as error:
        raise unreachable(service, endpoint, str(error)) from error
    except auth.GoogleAuthError as error:
        raise no_credentials(service, str(error), LOGIN) from error
    except OSError as error:
        raise unreachable(service, endpoint, str(error) or type(error).__name__) from error


def _said(error: Any) -> tuple[str, str]:
    """Status word and message of an error's body."""
    try:
        about = at(json.loads(error.content), "error")
    except ValueError:
        about = None
    code = at(about, "status") or at(about, "errors", 0, "reason") or ""
    return str(code), str(at(about, "message") or error.resp.reason or "")


SENDERS: Mapping[TargetName, Sender] = {
    "vertex": Sender(places=frozenset({"region", "project"}), calls=vertex_calls, send=send_vertex),
    "gce": Sender(places=frozenset({"project"}), calls=gce_calls, send=send_gce),
}
