"""Azure ML and Azure's machines: their requests, as Microsoft's own SDKs send them to a stub."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipec.clients.send.call import Refused, Work
from recipec.errors import EnvironmentLacks, UsageError
from tests.support.clouds import Asked, Cloud, Reply, certified, cloud
from tests.support.jobs import RUN_ID, cases, job, only_document
from tests.support.submitting import good, submit, work

SECRET = "not-to-be-shown-anywhere"
LOGIN, ARM = "login.microsoftonline.com", "management.azure.com"
TENANT = "00000000-0000-0000-0000-000000000000"
PLACES = {"subscription": TENANT, "project": "group", "workspace": "space"}
WORKSPACE = (
    f"/subscriptions/{TENANT}/resourceGroups/group/providers"
    "/Microsoft.MachineLearningServices/workspaces/space"
)
MACHINES = "/subscriptions/a/resourceGroups/b/providers/Microsoft.Compute/virtualMachines"


class Azure:
    """The resources of Azure's manager by path; what it answers in the place of some."""

    def __init__(self) -> None:
        self.resources: dict[str, Any] = {}
        self.instead: dict[str, Reply] = {}

    def __call__(self, asked: Asked) -> Reply:
        if asked.host == LOGIN:
            return self._login(asked)
        for start, reply in self.instead.items():
            if asked.line.startswith(start):
                return reply
        if asked.method == "PUT":
            if asked.headers.get("if-none-match") == "*" and asked.path in self.resources:
                return error(412, "PreconditionFailed", "it is there")
            name = asked.path.rpartition("/")[2]
            self.resources[asked.path] = {"id": asked.path, "name": name, **asked.plain}
            return Reply(status=201, plain=self._shown(asked.path))
        if asked.method == "DELETE":
            del self.resources[asked.path]
            return Reply(status=200, plain={})
        if asked.path in self.resources:
            return Reply(plain=self._shown(asked.path))
        if asked.path == WORKSPACE:
            return Reply(
                plain={
                    "id": WORKSPACE,
                    "name": "space",
                    "location": "westeurope",
                    "properties": {"discoveryUrl": f"https://{ARM}/discovery"},
                }
            )
        kind = "Job" if "/jobs/" in asked.path else "Resource"
        return error(404, f"{kind}NotFound", f"the {kind} {asked.path} is not there")

    def _shown(self, path: str) -> Any:
        plain = json.loads(json.dumps(self.resources[path]))
        if "/jobs/" in path:
            plain["properties"].setdefault("status", "Starting")
        else:
            plain["properties"]["provisioningState"] = "Succeeded"
        return plain

    def _login(self, asked: Asked) -> Reply:
        base = f"https://{LOGIN}/{TENANT}"
        if asked.method == "GET":
            return Reply(
                plain={
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "issuer": f"{base}/v2.0",
                    "tenant_discovery_endpoint": f"{base}/v2.0/.well-known/openid-configuration",
                    "metadata": [],
                }
            )
        claims = base64.urlsafe_b64encode(b'{"tid": "t", "oid": "o", "upn": "me"}').decode()
        token = f"e30.{claims.rstrip('=')}.{SECRET}"
        return Reply(plain={"access_token": token, "expires_in": 3600, "token_type": "Bearer"})


def error(status: int, code: str, message: str) -> Reply:
    return Reply(status=status, plain={"error": {"code": code, "message": message}})


@pytest.fixture
def azure() -> Azure:
    return Azure()


@pytest.fixture(autouse=True)
def served(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (("TENANT_ID", TENANT), ("CLIENT_ID", TENANT), ("CLIENT_SECRET", SECRET)):
        monkeypatch.setenv(f"AZURE_{name}", value)
    for name in ("SUBSCRIPTION_ID", "DEFAULTS_GROUP", "DEFAULTS_WORKSPACE", "TOKEN_CREDENTIALS"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    with cloud(azure, certified(tmp_path, LOGIN, ARM)) as made:
        for name, value in made.proxied().items():
            monkeypatch.setenv(name, value)
        yield made


def machine_learning(folder: Path, case: str, **more: str) -> Work:
    one = work("azureml", cases("azureml")[case], PLACES | more)
    path = folder / "azureml.yaml"
    path.write_bytes(only_document(job("azureml", cases("azureml")[case])))
    return replace(one, path=str(path))


@pytest.mark.parametrize("case", good("azureml"))
def test_azure_ml_gets_the_job(served: Cloud, azure: Azure, tmp_path: Path, case: str) -> None:
    one = machine_learning(tmp_path, case)
    made = submit(one)
    name = one.document["name"]
    (put,) = [a for a in served.asked if a.line == f"PUT {WORKSPACE}/jobs/{name}"]
    sent, document = put.plain["properties"], one.document
    assert sent["jobType"] == "Command"
    assert sent["command"] == document["command"]
    assert sent["environmentVariables"] == document["environment_variables"]
    assert sent["tags"]["recipec-run-id"] == RUN_ID
    assert sent["resources"]["instanceCount"] == document["resources"]["instance_count"]
    assert sent["outputs"]["trained"]["uri"] == document["outputs"]["trained"]["path"]
    environments = [a for a in served.asked if a.method == "PUT" and "/environments/" in a.path]
    assert environments[0].plain["properties"]["image"] == document["environment"]["image"]
    assert (made.started, made.identifier, made.state) == (True, name, "Starting")
    assert f"--name {name} --resource-group group --workspace-name space" in made.words.follow
    served.asked.clear()
    again = submit(one)
    assert (again.started, again.failed) == (False, False)
    assert not [
        asked
        for asked in served.asked
        if asked.method in ("PUT", "POST", "PATCH") and asked.host == ARM
    ]
    azure.resources[f"{WORKSPACE}/jobs/{name}"]["properties"]["status"] = "Failed"
    assert submit(one).failed


@pytest.mark.parametrize(
    ("reply", "said", "key"),
    [
        (error(401, "InvalidAuthenticationToken", "no"), "does not know who is asking", ""),
        (error(403, "AuthorizationFailed", "not allowed"), "does not allow it", ""),
        (error(409, "Conflict", "taken"), "has something else of that name", ""),
        (error(429, "TooManyRequests", "slow"), "has no room for the job", ""),
        (error(400, "UserError", "Compute target gpu is not there"), "refuses the job", "compute"),
        (error(500, "InternalError", "oh"), "fails: InternalError: oh", ""),
    ],
)
def test_what_azure_ml_refuses(
    azure: Azure, tmp_path: Path, reply: Reply, said: str, key: str
) -> None:
    azure.instead[f"PUT {WORKSPACE}/jobs/"] = reply
    with pytest.raises(Refused) as raised:
        submit(machine_learning(tmp_path, "cpu"))
    assert said in raised.value.message
    assert raised.value.key == key
    assert SECRET not in raised.value.render()


def test_azure_ml_must_be_told_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine_learning(tmp_path, "cpu", workspace="")
    with pytest.raises(UsageError, match="azureml must be told the workspace"):
        submit(one)
    monkeypatch.setenv("AZURE_DEFAULTS_WORKSPACE", "space")
    assert submit(one).started


def test_a_workspace_that_is_not_there(azure: Azure, tmp_path: Path) -> None:
    azure.instead[f"GET {WORKSPACE}"] = error(404, "ResourceNotFound", "the workspace is not there")
    with pytest.raises(Refused, match="does not find what the job names"):
        submit(machine_learning(tmp_path, "cpu"))


@pytest.mark.parametrize("case", good("azure-vm"))
def test_a_machine_is_asked_for_with_the_document_itself(served: Cloud, case: str) -> None:
    one = work("azure-vm", cases("azure-vm")[case])
    made = submit(one)
    name = one.document["properties"]["osProfile"]["computerName"]
    (put,) = [asked for asked in served.asked if asked.method == "PUT"]
    assert (put.host, put.line) == (ARM, f"PUT {MACHINES}/{name}")
    assert put.plain == one.document
    assert put.headers["if-none-match"] == "*"
    assert (made.started, made.state) == (True, "Succeeded")
    again = submit(one)
    assert (again.started, again.identifier) == (False, name)
    assert f"--resource-group b --name {name} --subscription a" in again.words.stop


@pytest.mark.parametrize(
    ("reply", "said", "key"),
    [
        (error(401, "InvalidAuthenticationToken", "no"), "does not know who is asking", ""),
        (error(403, "AuthorizationFailed", "not allowed"), "does not allow it", ""),
        (error(404, "ImageNotFound", "The platform image is not there"), "does not find", "boot"),
        (error(409, "OperationNotAllowed", "exceeding approved quota"), "has no room", ""),
        (error(409, "SkuNotAvailable", "The requested VM size"), "something else", "machine"),
        (error(429, "TooManyRequests", "slow"), "has no room for the job", ""),
        (error(500, "InternalServerError", "oh"), "fails: InternalServerError: oh", ""),
    ],
)
def test_what_azure_refuses(azure: Azure, reply: Reply, said: str, key: str) -> None:
    azure.instead[f"PUT {MACHINES}"] = reply
    with pytest.raises(Refused) as raised:
        submit(work("azure-vm", cases("azure-vm")["cpu"]))
    assert said in raised.value.message
    assert raised.value.key == key
    assert SECRET not in raised.value.render()


def test_a_machine_that_cannot_be_made_is_taken_away(azure: Azure, served: Cloud) -> None:
    one = work("azure-vm", cases("azure-vm")["cpu"])
    state = f"https://{ARM}/subscriptions/a/operations/1"

    def fail(asked: Asked) -> Reply:
        reply = azure(asked)
        if asked.method == "PUT":
            return replace(reply, headers={"Azure-AsyncOperation": state, "Retry-After": "0"})
        if asked.path == "/subscriptions/a/operations/1":
            failed = {"code": "AllocationFailed", "message": "There is no capacity for this."}
            return Reply(plain={"status": "Failed", "error": failed})
        return reply

    served.answer = fail
    with pytest.raises(Refused, match="There is no capacity for this"):
        submit(one)
    assert azure.resources == {}


def test_credentials_that_are_refused_and_no_network(
    served: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = work("azure-vm", cases("azure-vm")["cpu"])
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    honest = served.answer

    def refuse(asked: Asked) -> Reply:
        if asked.host == LOGIN and asked.method == "POST":
            return Reply(status=401, plain={"error": "invalid_client", "error_description": "no"})
        return honest(asked)

    served.answer = refuse
    with pytest.raises(EnvironmentLacks, match=r"there are no credentials for Azure: .*"):
        submit(one)
    served.answer = lambda _: Reply(status=0)
    with pytest.raises(EnvironmentLacks):
        submit(one)
