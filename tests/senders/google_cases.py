"""Vertex AI and Compute Engine: their requests, as the discovery client sends them to a stub."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipec.clients.send.call import Refused
from recipec.clients.send.make import sender_of
from recipec.errors import EnvironmentLacks, UsageError
from tests.support.clouds import Asked, Cloud, Reply, certified, cloud
from tests.support.jobs import RUN_ID, cases
from tests.support.submitting import good, submit, work

TOKEN = "not-to-be-shown-anywhere"
VERTEX = "europe-west4-aiplatform.googleapis.com"
COMPUTE = "compute.googleapis.com"
LOGIN = "oauth2.googleapis.com"
PLACE = {"region": "europe-west4", "project": ""}
JOBS = "/v1/projects/my-project/locations/europe-west4/customJobs"
MACHINES = "/compute/v1/projects/my-project/zones/us-central1-a/instances"


class Google:
    """The services as far as jobs and machines are made and looked at."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.machines: dict[str, Any] = {}
        self.operation: dict[str, Any] = {"status": "DONE"}
        self.instead: dict[str, Reply] = {}

    def __call__(self, asked: Asked) -> Reply:
        if asked.host == LOGIN:
            return Reply(plain={"access_token": TOKEN, "expires_in": 3600})
        if asked.line in self.instead:
            return self.instead[asked.line]
        if asked.host == VERTEX:
            return self._vertex(asked)
        name = asked.path.rpartition("/")[2]
        if asked.path.endswith("/wait"):
            return Reply(plain={"name": "operation-1", **self.operation})
        if asked.method == "POST":
            self.machines[asked.plain["name"]] = asked.plain
            return Reply(plain={"name": "operation-1", "status": "RUNNING"})
        if name not in self.machines:
            return error(404, "notFound", f"The resource '{name}' was not found")
        return Reply(plain={"status": "RUNNING", **self.machines[name]})

    def _vertex(self, asked: Asked) -> Reply:
        if asked.method == "GET":
            label = asked.query["filter"][0].partition('"')[2].rstrip('"')
            found = [one for one in self.jobs if one["labels"]["recipec-run-id"] == label]
            return Reply(plain={"customJobs": found} if found else {})
        name = f"projects/1/locations/europe-west4/customJobs/{len(self.jobs) + 1}"
        self.jobs.append({**asked.plain, "name": name, "state": "JOB_STATE_PENDING"})
        return Reply(plain=self.jobs[-1])


def error(code: int, status: str, message: str) -> Reply:
    return Reply(status=code, plain={"error": {"code": code, "status": status, "message": message}})


@pytest.fixture
def google() -> Google:
    return Google()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An account's key, and the certificate, which the client reads once in its life."""
    made = tmp_path_factory.mktemp("google")
    words = ["openssl", "genpkey", "-algorithm", "RSA", "-out", str(made / "key")]
    subprocess.run(words, check=True, capture_output=True)
    account = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key": (made / "key").read_text(),
        "client_email": "me@my-project.iam.gserviceaccount.com",
        "token_uri": f"https://{LOGIN}/token",
    }
    (made / "account.json").write_text(json.dumps(account))
    certified(made, VERTEX, COMPUTE, LOGIN)
    return made


@pytest.fixture(autouse=True)
def served(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "account.json"))
    with cloud(google, folder / "cloud.pem") as made:
        for name, value in made.proxied().items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.mark.parametrize("case", good("vertex"))
def test_vertex_gets_the_document_itself(served: Cloud, case: str) -> None:
    one = work("vertex", cases("vertex")[case], PLACE)
    made = submit(one)
    last = served.asked[-1]
    assert (last.host, last.line) == (VERTEX, f"POST {JOBS}")
    assert last.plain == one.document
    assert last.headers["authorization"] == f"Bearer {TOKEN}"
    assert (made.started, made.state) == (True, "PENDING")
    assert made.identifier == "projects/1/locations/europe-west4/customJobs/1"
    assert made.words.stop == (
        "gcloud ai custom-jobs cancel 1 --project my-project --region europe-west4"
    )
    assert made.words.results == f"gs://my-bucket/runs/{RUN_ID[7:]}/"
    (call,) = sender_of("vertex").calls(one)
    assert call.parameters["body"] is one.document
    assert call.endpoint == f"https://{VERTEX}/"


def test_a_custom_job_is_not_started_twice(google: Google) -> None:
    one = work("vertex", cases("vertex")["cpu"], PLACE)
    assert submit(one).started
    assert not submit(one).started
    google.jobs[0]["state"] = "JOB_STATE_FAILED"
    again = submit(one)
    assert (again.started, again.failed, again.state) == (False, True, "FAILED")
    assert "curl -X DELETE" in again.words.anew
    google.jobs.append({**google.jobs[0], "name": "b", "state": "JOB_STATE_SUCCEEDED"})
    again = submit(one)
    assert (again.identifier, again.failed) == ("b", False)
    assert len(google.jobs) == 2


@pytest.mark.parametrize("case", good("gce"))
def test_compute_engine_gets_the_document_itself(served: Cloud, case: str) -> None:
    one = work("gce", cases("gce")[case], {"project": ""})
    made = submit(one)
    post = served.asked[-2]
    assert (post.host, post.line) == (COMPUTE, f"POST {MACHINES}")
    assert post.plain == one.document
    assert served.asked[-1].path.endswith("/operations/operation-1/wait")
    assert (made.started, made.identifier) == (True, one.document["name"])
    again = submit(one)
    assert (again.started, again.state) == (False, "RUNNING")
    assert "--zone us-central1-a" in again.words.follow


def test_what_fails_after_it_was_taken(google: Google) -> None:
    failed = {"code": "QUOTA_EXCEEDED", "message": "Quota 'GPUS_ALL_REGIONS' exceeded."}
    google.operation |= {"error": {"errors": [failed]}, "httpErrorStatusCode": 403}
    with pytest.raises(Refused) as raised:
        submit(work("gce", cases("gce")["one-gpu"], {"project": ""}))
    assert "Quota 'GPUS_ALL_REGIONS' exceeded." in raised.value.message


def test_another_runs_machine_of_that_name(google: Google) -> None:
    one = work("gce", cases("gce")["cpu"], {"project": ""})
    google.machines[one.document["name"]] = {"name": one.document["name"]}
    with pytest.raises(Refused, match="and it is not of this run"):
        submit(one)


@pytest.mark.parametrize(
    ("reply", "said", "key"),
    [
        (error(401, "UNAUTHENTICATED", "no"), "does not know who is asking", ""),
        (error(403, "PERMISSION_DENIED", "aiplatform.customJobs.create"), "does not allow", ""),
        (error(404, "NOT_FOUND", "no such project"), "does not find what the job names", ""),
        (error(409, "ALREADY_EXISTS", "there"), "has something else of that name", ""),
        (error(429, "RESOURCE_EXHAUSTED", "quota of CPUs"), "has no room for the job", ""),
        (error(500, "INTERNAL", "oh"), "fails: INTERNAL: oh", ""),
        (error(400, "INVALID_ARGUMENT", "Service account x"), "refuses the job", "identity"),
        (error(400, "INVALID_ARGUMENT", "Machine type y"), "refuses the job", "machine"),
        (Reply(status=502, plain=b"<html>"), "fails: ", ""),
    ],
)
def test_what_vertex_refuses(google: Google, reply: Reply, said: str, key: str) -> None:
    google.instead[f"POST {JOBS}"] = reply
    with pytest.raises(Refused) as raised:
        submit(work("vertex", cases("vertex")["cpu"], PLACE))
    assert said in raised.value.message
    assert raised.value.key == key
    assert raised.value.hint
    assert TOKEN not in raised.value.render()


def test_an_answer_that_is_lost(google: Google, served: Cloud) -> None:
    def lose(asked: Asked) -> Reply:
        reply = google(asked)
        return Reply(status=0) if asked.line == f"POST {JOBS}" else reply

    served.answer = lose
    assert submit(work("vertex", cases("vertex")["cpu"], PLACE)).started
    assert len(google.jobs) == 1


def test_places_and_credentials(
    served: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = work("vertex", cases("vertex")["cpu"], {"region": "", "project": ""})
    with pytest.raises(UsageError, match="vertex must be told the region"):
        submit(one)
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another")
    assert submit(one).started
    assert "/projects/another/" in served.asked[-1].path
    (call,) = sender_of("vertex").calls(one)
    assert call.parameters["parent"] == "projects/another/locations/europe-west4"
    served.answer = lambda _: Reply(status=400, plain={"error": "invalid_grant"})
    with pytest.raises(EnvironmentLacks, match=r"no credentials for Vertex AI: .*invalid_"):
        submit(one)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(
        EnvironmentLacks, match="Vertex AI cannot be reached at https://europe-west4"
    ):
        submit(one)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none"))
    with pytest.raises(EnvironmentLacks, match="there are no credentials for Vertex AI: File"):
        submit(one)
