"""Sessions without a network: waits, hosts, challenges, and what refusals say."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from recipec.errors import EnvironmentLacks
from recipec.publish.credentials import Credential
from recipec.publish.refusals import denied, refusal
from recipec.publish.session import Session
from recipec.publish.tokens import challenge_of
from recipec.publish.wire import Answer, Cut, retry_after


def answer(status: int, data: object = "", headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=status, headers=headers or {}, data=json.dumps(data).encode(), url="")


def a_session(registry: str = "registry.example", waits: list[float] | None = None) -> Session:
    kept = [] if waits is None else waits
    return Session(registry, scopes=("s",), credential=None, sleep=kept.append)


def test_waits_double_and_hold_no_chance() -> None:
    waits: list[float] = []
    session = a_session(waits=waits)
    for attempt in range(10):
        session.pause(attempt)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    session.pause(0, at_least=299.0)
    assert waits[-1] == 299.0
    with pytest.raises(EnvironmentLacks) as error:
        session.pause(0, at_least=21600.0)
    assert error.value.message == "registry.example asks to be left alone for 21600 seconds"


def test_what_may_pass_is_asked_again_and_not_for_ever() -> None:
    waits: list[float] = []
    session = a_session(waits=waits)
    answers = [answer(503), answer(429, headers={"Retry-After": "7"}), answer(200)]
    assert session.patiently(lambda: answers.pop(0), "GET /x").status == 200
    assert waits == [0.25, 7.0]

    def cut() -> Answer:
        raise Cut("connection reset")

    with pytest.raises(EnvironmentLacks) as error:
        session.patiently(cut, "GET /x")
    assert error.value.message == (
        "registry.example does not answer as it should: connection reset (GET /x)"
    )
    assert waits[2:] == [0.25, 0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "-1"}, 0.0),
        (
            {
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
                "Retry-After": "Wed, 21 Oct 2015 07:29:30 GMT",
            },
            90.0,
        ),
        ({"Retry-After": "Wed, 21 Oct 2015 07:29:30 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: Mapping[str, str], seconds: float) -> None:
    assert retry_after(answer(429, headers=headers)) == seconds


def test_where_requests_go() -> None:
    assert a_session().base == "https://registry.example"
    assert a_session("docker.io").base == "https://registry-1.docker.io"
    assert a_session("localhost:5000").base == "http://localhost:5000"
    plain = Session("registry.example", scopes=("s",), credential=None, plain_http=True)
    assert plain.base == "http://registry.example"


@pytest.mark.parametrize(
    ("registry", "place"),
    [
        ("registry.example", "http://registry.example/upload?signature=s3cret"),
        ("registry.example", "http://127.0.0.1/upload?signature=s3cret"),
        ("registry.example", "ftp://registry.example/x?signature=s3cret"),
        ("127.0.0.1:5000", "http://registry.example/upload?signature=s3cret"),
    ],
)
def test_nothing_goes_where_it_can_be_read(registry: str, place: str) -> None:
    session = a_session(registry)
    with pytest.raises(EnvironmentLacks) as error:
        session.once("PUT", place, body=b"data")
    assert error.value.message.endswith("which is not encrypted")
    assert "s3cret" not in error.value.render()


def test_challenges() -> None:
    header = 'Bearer realm="https://auth.example/token",service=x,scope="repository:a:pull,push"'
    kind, fields = challenge_of(header)
    assert (kind, fields["realm"]) == ("bearer", "https://auth.example/token")
    assert fields["service"] == "x"
    assert fields["scope"] == "repository:a:pull,push"
    assert challenge_of("Basic realm=me")[0] == "basic"
    assert challenge_of("") == ("", {})


def test_tokens_are_not_asked_for_in_the_clear() -> None:
    known = Credential(user="me", password="s3cret")
    session = Session("registry.example", scopes=("s",), credential=known)
    for realm in ("http://auth.example/token", "file:///etc/passwd"):
        with pytest.raises(EnvironmentLacks, match="which is not encrypted") as error:
            session._tokens.fetch({"realm": realm})
        assert "s3cret" not in error.value.render()


def errors(code: str, message: str) -> object:
    return {"errors": [{"code": code, "message": message}]}


ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("registry", "given", "message", "hint"),
    [
        (
            "registry.example",
            answer(400, errors("MANIFEST_INVALID", "no\x1b[31m")),
            "registry.example refuses it: MANIFEST_INVALID no\\x1b[31m",
            "it may not take this kind of manifest: try with or without --schema2",
        ),
        (
            ECR,
            answer(404, errors("NAME_UNKNOWN", "The repository does not exist")),
            f"{ECR} refuses it: NAME_UNKNOWN The repository does not exist",
            "the repository must exist: `aws ecr create-repository --repository-name NAME`, "
            "or a template with create-on-push",
        ),
        (
            "ghcr.io",
            answer(403, errors("DENIED", "permission_denied")),
            "ghcr.io does not accept the stored credentials for this (DENIED permission_denied)",
            "log in again with `docker login ghcr.io`, with a token as the password, as someone "
            "who may do this; the token needs the scope write:packages",
        ),
        (
            "registry.example",
            answer(405),
            "registry.example refuses it: status 405",
            "ask whoever runs the registry",
        ),
    ],
)
def test_refusals_say_what_to_do(registry: str, given: Answer, message: str, hint: str) -> None:
    error = refusal(given, "it", registry)
    assert (error.message, error.hint) == (message, hint)


def test_who_is_not_logged_in_is_told_how() -> None:
    anonymous = refusal(answer(403, errors("DENIED", "no")), "it", "ghcr.io", known=False)
    assert anonymous.message == "ghcr.io wants credentials and there are none"
    assert denied("team.azurecr.io", known=False).hint == (
        "`az acr login --name NAME`, or install docker-credential-acr-env"
    )
