"""Machines are asked for at a stub of IBM Cloud's API by ibm-vpc."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipec.clients.send.call import Refused
from recipec.clients.send.make import sender_of
from recipec.errors import EnvironmentLacks
from tests.support.clouds import Asked, Cloud, Reply, certified, cloud
from tests.support.jobs import cases
from tests.support.submitting import submit, work

KEY = "not-to-be-shown-anywhere"
CLAIMS = base64.urlsafe_b64encode(b'{"iat": 1, "exp": 9000000000}').decode().rstrip("=")
TOKEN = f"eyJhbGciOiJIUzI1NiJ9.{CLAIMS}.bm8"
"""A token as the service's are made; the client reads when it ends."""
VPC, IAM = "us-south.iaas.cloud.ibm.com", "iam.cloud.ibm.com"


class Ibm:
    """The machines of a region, and what is answered in the place of making one."""

    def __init__(self) -> None:
        self.machines: list[Any] = []
        self.instead: Reply | None = None

    def __call__(self, asked: Asked) -> Reply:
        if asked.host == IAM:
            return Reply(plain={"access_token": TOKEN, "expires_in": 3600})
        if asked.method == "GET":
            (name,) = asked.query["name"]
            return Reply(plain={"instances": [m for m in self.machines if m["name"] == name]})
        if self.instead is not None:
            return self.instead
        self.machines.append({**asked.plain, "id": "0717-1", "status": "pending"})
        return Reply(status=201, plain=self.machines[-1])


def error(status: int, code: str, message: str, field: str = "") -> Reply:
    target = {"target": {"type": "field", "name": field}} if field else {}
    return Reply(status=status, plain={"errors": [{"code": code, "message": message, **target}]})


@pytest.fixture
def ibm() -> Ibm:
    return Ibm()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified(tmp_path_factory.mktemp("ibm"), VPC, IAM)


@pytest.fixture(autouse=True)
def served(ibm: Ibm, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("VPC_APIKEY", "VPC_URL", "VPC_AUTH_TYPE", "IBM_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IBMCLOUD_API_KEY", KEY)
    with cloud(ibm, certificate) as made:
        for name, value in made.proxied().items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.mark.parametrize("case", ["one-gpu", "eight-gpus", "spot", "cpu"])
def test_a_machine_is_asked_for_with_the_document_itself(served: Cloud, case: str) -> None:
    one = work("ibm-vpc", cases("ibm-vpc")[case])
    made = submit(one)
    post = served.asked[-1]
    assert (post.host, post.line) == (VPC, "POST /v1/instances")
    assert post.plain == one.document
    assert post.headers["authorization"] == f"Bearer {TOKEN}"
    assert KEY.encode() in served.asked[0].body
    assert (made.started, made.identifier, made.state) == (True, "0717-1", "pending")
    again = submit(one)
    assert (again.started, again.identifier) == (False, "0717-1")
    (call,) = sender_of("ibm-vpc").calls(one)
    assert call.endpoint == f"https://{VPC}/v1"
    assert call.parameters["instance_prototype"] is one.document


@pytest.mark.parametrize(
    ("reply", "said", "key"),
    [
        (error(401, "unauthorized", "no"), "does not know who is asking", ""),
        (error(403, "forbidden", "not allowed"), "does not allow it", ""),
        (error(404, "not_found", "nothing", "image.id"), "does not find", "boot"),
        (error(409, "instance_name_duplicate", "taken"), "has something else of that name", ""),
        (error(400, "over_quota", "The quota is exceeded"), "has no room for the job", ""),
        (error(400, "bad_field", "no such subnet", "subnet.id"), "refuses the job", "compute"),
        (error(429, "too_many", "slow"), "has no room for the job", ""),
        (error(500, "internal_error", "oh"), "fails: internal_error: oh", ""),
    ],
)
def test_what_ibm_refuses(ibm: Ibm, reply: Reply, said: str, key: str) -> None:
    ibm.instead = reply
    with pytest.raises(Refused) as raised:
        submit(work("ibm-vpc", cases("ibm-vpc")["cpu"]))
    assert said in raised.value.message
    assert raised.value.key == key
    assert KEY not in raised.value.render()
    assert TOKEN not in raised.value.render()


def test_an_answer_that_is_lost(ibm: Ibm, served: Cloud) -> None:
    def lose(asked: Asked) -> Reply:
        reply = ibm(asked)
        return Reply(status=0) if asked.line == "POST /v1/instances" else reply

    served.answer = lose
    assert submit(work("ibm-vpc", cases("ibm-vpc")["cpu"])).started
    assert len(ibm.machines) == 1


def test_no_credentials_and_no_answer(served: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    one = work("ibm-vpc", cases("ibm-vpc")["cpu"])
    served.answer = lambda _: Reply(status=400, plain={"errorMessage": "Provided API key is wrong"})
    with pytest.raises(EnvironmentLacks, match="no credentials for IBM Cloud: Provided API key"):
        submit(one)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(EnvironmentLacks, match="IBM Cloud cannot be reached at https://us-south"):
        submit(one)
    monkeypatch.delenv("IBMCLOUD_API_KEY")
    with pytest.raises(EnvironmentLacks) as raised:
        submit(one)
    assert raised.value.message == "there are no credentials for IBM Cloud"
