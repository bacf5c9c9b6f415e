"""References and credentials: what is understood, what is refused, and that secrets stay secret."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks, UsageError
from recipec.publish import credentials
from recipec.publish.reference import Target, is_loopback, parse, parse_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example/team/name", ("registry.example", "team/name", "latest")),
        ("registry.example:5000/n:v1.2", ("registry.example:5000", "n", "v1.2")),
        ("localhost/a/b/c:x", ("localhost", "a/b/c", "x")),
        ("[::1]:5000/a__b/c-d.e:_t", ("[::1]:5000", "a__b/c-d.e", "_t")),
        ("docker.io/name", ("docker.io", "library/name", "latest")),
        ("index.docker.io/team/name:v1", ("docker.io", "team/name", "v1")),
        ("registry-1.docker.io/library/name", ("docker.io", "library/name", "latest")),
        ("ghcr.io/name", ("ghcr.io", "name", "latest")),
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


DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "wanted", "shown"),
    [
        ("r.example/a:v1", "v1", "r.example/a:v1"),
        ("r.example/a", "latest", "r.example/a:latest"),
        (f"r.example/a@{DIGEST}", DIGEST, f"r.example/a@{DIGEST}"),
        (f"docker.io/a:v1@{DIGEST}", DIGEST, f"docker.io/library/a@{DIGEST}"),
    ],
)
def test_sources(text: str, wanted: str, shown: str) -> None:
    source = parse_source(text)
    assert (source.wanted, str(source)) == (wanted, shown)


@pytest.mark.parametrize("digest", ["", "sha256:00", f"sha512:{'0' * 128}", DIGEST.upper()])
def test_digests_that_cannot_be_checked(digest: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_source(f"r.example/a@{digest}")
    assert error.value.message == f"{digest!r} is no digest that can be checked"


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


def test_the_narrowest_entry_of_podman_counts(tmp_path: Path) -> None:
    config = {
        "auths": {
            "registry.example": entry("everywhere", "x"),
            "registry.example/team": entry("team", "x"),
            "registry.example/team/one": entry("one", "x"),
        }
    }
    folder = tmp_path / "containers"
    folder.mkdir()
    (folder / "auth.json").write_text(json.dumps(config))

    def user(repository: str, variable: str = "XDG_RUNTIME_DIR") -> str:
        found = credentials.find(
            "registry.example", {variable: str(tmp_path)}, repository=repository
        )
        assert found is not None
        return found.user

    assert user("team/one") == "one"
    assert user("team/two") == "team"
    assert user("teams") == "everywhere"
    assert user("") == "everywhere"
    assert user("team/one", "XDG_CONFIG_HOME") == "one"


def test_docker_hub_goes_by_its_old_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = {"DOCKER_CONFIG": str(tmp_path)}
    key = "https://index.docker.io/v1/"
    (tmp_path / "config.json").write_text(json.dumps({"auths": {key: entry("me", "x")}}))
    found = credentials.find("docker.io", hub, repository="team/name")
    assert found is not None
    assert found.user == "me"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    helper = tmp_path / "docker-credential-tested"
    helper.write_text(
        '#!/bin/sh\nread host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"p\\"}"\n'
    )
    helper.chmod(0o755)
    for config in ({"credsStore": "tested", "auths": {key: {}}}, {"credHelpers": {key: "tested"}}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        found = credentials.find("docker.io", hub)
        assert found is not None
        assert found.user == key


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
