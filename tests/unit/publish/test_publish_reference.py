"""References and credentials: what is understood, what is refused, and that secrets stay secret."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks, UsageError
from recipec.publish import credentials
from recipec.publish.reference import Target, is_loopback, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example/team/name", ("registry.example", "team/name", "latest")),
        ("registry.example:5000/n:v1.2", ("registry.example:5000", "n", "v1.2")),
        ("localhost/a/b/c:x", ("localhost", "a/b/c", "x")),
        ("[::1]:5000/a__b/c-d.e:_t", ("[::1]:5000", "a__b/c-d.e", "_t")),
    ],
)
def test_references(text: str, expected: tuple[str, str, str]) -> None:
    registry, repository, tag = expected
    assert parse(text) == Target(registry=registry, repository=repository, tag=tag)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name", "'name' names no registry"),
        ("team/name:v1", "'team/name:v1' names no registry"),
        ("registry.example/", "'registry.example/' names no registry"),
        ("registry.example/Team/x", "'Team/x' is no repository name"),
        ("registry.example/a//b", "'a//b' is no repository name"),
        ("registry.example/a:", "'' is no tag"),
        ("registry.example/a:.b", "'.b' is no tag"),
        ("registry.example/a:" + "x" * 129, f"{'x' * 129!r} is no tag"),
        ("https://registry.example/a", "'https:' is no registry name"),
        ("me@registry.example/a", "'me@registry.example' is no registry name"),
        (
            "registry.example/a@sha256:00",
            "'registry.example/a@sha256:00' has a digest, which follows from the image and "
            "cannot be chosen",
        ),
    ],
)
def test_wrong_references(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert error.value.message == message
    assert error.value.hint


def test_loopback() -> None:
    ours = ["localhost", "localhost:5000", "127.0.0.1:80", "127.1.2.3", "[::1]:5000", "[::1]"]
    others = ["registry.example", "localhost.example", "10.0.0.1:5000", "127.0.0.1.example"]
    assert [name for name in ours + others if is_loopback(name)] == ours


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def find(folder: Path, config: object) -> credentials.Credential | None:
    (folder / "config.json").write_text(json.dumps(config))
    return credentials.find("registry.example", {"DOCKER_CONFIG": str(folder)})


def test_stored_credentials(tmp_path: Path) -> None:
    found = find(tmp_path, {"auths": {"registry.example": entry("me", "a:b")}})
    assert found is not None
    assert (found.user, found.password) == ("me", "a:b")
    assert found.basic == "Basic " + base64.b64encode(b"me:a:b").decode()
    assert "a:b" not in repr(found)
    found = find(tmp_path, {"auths": {"https://registry.example": {"identitytoken": "t0ken"}}})
    assert found is not None
    assert found.token == "t0ken"
    assert "t0ken" not in repr(found)
    assert find(tmp_path, {"auths": {"other.example": entry("me", "x")}}) is None
    assert credentials.find("registry.example", {"HOME": str(tmp_path / "none")}) is None


def test_damaged_configuration_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": "s3cret')
    with pytest.raises(EnvironmentLacks) as error:
        credentials.find("registry.example", {"DOCKER_CONFIG": str(tmp_path)})
    assert error.value.message == f"{tmp_path}/config.json is not a docker configuration"
    assert error.value.__cause__ is None
    with pytest.raises(EnvironmentLacks) as error:
        find(tmp_path, {"auths": {"registry.example": {"auth": "s3cret!"}}})
    assert "s3cret" not in error.value.render()


def test_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = {"credsStore": "tested"}
    with pytest.raises(EnvironmentLacks) as error:
        find(tmp_path, config)
    assert error.value.message == (
        "the credential helper docker-credential-tested is not installed"
    )
    helper = tmp_path / "docker-credential-tested"
    for script, expected in (
        ('echo \'{"Username": "<token>", "Secret": "tt"}\'', ("<token>", "", "tt")),
        (
            'read host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"pp\\"}"',
            ("registry.example", "pp", ""),
        ),
    ):
        helper.write_text(f"#!/bin/sh\n{script}\n")
        helper.chmod(0o755)
        found = find(tmp_path, config)
        assert found is not None
        assert (found.user, found.password, found.token) == expected
    helper.write_text("#!/bin/sh\necho credentials not found; exit 1\n")
    assert find(tmp_path, config) is None
    helper.write_text("#!/bin/sh\necho s3cret\n")
    with pytest.raises(EnvironmentLacks) as error:
        find(tmp_path, config)
    assert "s3cret" not in error.value.render()
    assert error.value.__cause__ is None
