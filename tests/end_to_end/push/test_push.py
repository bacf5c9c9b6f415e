"""`push` against the real docker-registry, also through a proxy that fails on purpose."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks
from recipec.image.image import Image
from recipec.progress import Silent
from recipec.publish import session as session_module
from recipec.publish.registry import push, survey
from recipec.publish.upload import Outcome
from recipec.store import Store, sha256
from tests.support.daemons import Registry, registry
from tests.support.faults import Fault, Proxy, proxy
from tests.support.pushing import BIG, SECRET, log_in, skopeo_digest

pytestmark = pytest.mark.engine

HTPASSWD = "me:$2b$04$SbDIKWTxRfRrnQfDkkbMdOY9QjIbmw9wBgzPeBJf3cLuH4cr9evY2\n"


@pytest.mark.parametrize("schema2", [False, True])
def test_the_registry_returns_the_same_digest(
    served: Registry, store: Store, image: Image, tmp_path: Path, schema2: bool
) -> None:
    name = f"{served.host}/team/tiny"
    pushed = push(image, store, f"{name}:v1", schema2=schema2, tags=("v2", "v1"), progress=Silent())
    manifest = image.schema2 if schema2 else image.manifest
    assert (pushed.registry, pushed.repository) == (served.host, "team/tiny")
    assert pushed.digest == manifest.digest
    assert skopeo_digest(f"{name}:v1") == manifest.digest
    assert skopeo_digest(f"{name}:v2") == manifest.digest
    copied = tmp_path / "copy"
    places = [f"docker://{name}@{manifest.digest}", f"dir:{copied}"]
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", "--preserve-digests", *places],
        check=True,
    )
    for layer in image.layers:
        data = (copied / layer.blob.digest.removeprefix("sha256:")).read_bytes()
        assert sha256(data) == layer.blob.digest


def test_a_second_push_sends_no_blob_and_another_repository_mounts_them(
    before: Proxy, store: Store, image: Image
) -> None:
    push(image, store, f"{before.host}/team/one:a", progress=Silent())
    blobs = len(image.layers) + 1
    assert before.count("POST") == blobs
    before.seen.clear()
    push(image, store, f"{before.host}/team/one:b", progress=Silent())
    assert before.count("POST") == 0
    assert before.count("PUT", "blobs") == 0
    push(image, store, f"{before.host}/other/two:a", progress=Silent())
    assert before.count("POST", "mount=.*from=team%2Fone") == blobs
    assert before.count("PUT", "blobs") == 0
    assert before.count("PATCH") == 0


def test_basic_authentication(
    tmp_path: Path, store: Store, image: Image, caplog: pytest.LogCaptureFixture
) -> None:
    with registry(tmp_path / "closed", htpasswd=HTPASSWD) as closed:
        name = f"{closed.host}/team/tiny:v1"
        with pytest.raises(EnvironmentLacks) as nobody:
            push(image, store, name, progress=Silent())
        assert nobody.value.message == f"{closed.host} wants credentials and there are none"
        assert nobody.value.hint == f"`docker login {closed.host}`"
        log_in(tmp_path / "docker", closed.host, "not the password")
        with pytest.raises(EnvironmentLacks) as wrong:
            push(image, store, name, progress=Silent())
        assert "does not accept the stored credentials" in wrong.value.message
        assert "not the password" not in wrong.value.render() + caplog.text
        log_in(tmp_path / "docker", closed.host)
        assert push(image, store, name, progress=Silent()).digest == image.manifest.digest


def test_bearer_tokens_are_fetched_and_renewed(
    served: Registry, tmp_path: Path, store: Store, image: Image
) -> None:
    with proxy(served.host, users={"me": SECRET}) as gate:
        name = f"{gate.host}/team/tiny"
        with pytest.raises(EnvironmentLacks, match="wants credentials and there are none"):
            push(image, store, f"{name}:v1", progress=Silent())
        log_in(tmp_path / "docker", gate.host)
        gate.seen.clear()
        push(image, store, f"{name}:v1", progress=Silent())
        [asked] = [path for method, path in gate.seen if path.startswith("/token")]
        assert asked == "/token?service=tests&scope=repository%3Ateam%2Ftiny%3Apull%2Cpush"
        gate.seen.clear()
        gate.token_uses = 7
        push(image, store, f"{gate.host}/team/other:v1", progress=Silent())
        assert gate.count("GET", "^/token") > 1
    assert skopeo_digest(f"{served.host}/team/tiny:v1") == image.manifest.digest


def test_a_credential_helper(
    tmp_path: Path, store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    helper = tools / "docker-credential-tested"
    answer = json.dumps({"Username": "me", "Secret": SECRET})
    helper.write_text(f"#!/bin/sh\nread host\ncat <<'END'\n{answer}\nEND\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    (tmp_path / "docker").mkdir()
    with registry(tmp_path / "closed", htpasswd=HTPASSWD) as closed:
        config = {"credHelpers": {closed.host: "tested"}}
        (tmp_path / "docker/config.json").write_text(json.dumps(config))
        pushed = push(image, store, f"{closed.host}/team/tiny", progress=Silent())
    assert pushed.digest == image.manifest.digest


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault(method="POST", path="uploads", status=503, times=2)], id="503"),
        pytest.param(
            [Fault(method="HEAD", path="blobs", status=429, headers={"Retry-After": "1"})],
            id="429",
        ),
        pytest.param([Fault(method="PUT", path="blobs", cut_after=1 << 20)], id="cut whole"),
        pytest.param(
            [
                Fault(method="PUT", path="blobs", cut_after=100_000, times=4),
                Fault(method="PATCH", path="blobs", cut_after=2 << 20, times=3),
            ],
            id="cut chunks",
        ),
        pytest.param(
            [Fault(method="PUT", path="blobs", cut_after=0, forward_first=True, times=3)],
            id="answer lost",
        ),
        pytest.param([Fault(method="PUT", path="blobs", status=500, times=5)], id="500"),
        pytest.param([Fault(method="PUT", path="manifests", status=502, times=2)], id="manifest"),
        pytest.param(
            [Fault(method="GET", path="manifests", cut_after=0, times=2)], id="reading back"
        ),
        pytest.param([Fault(method="PATCH", path="", status=416, times=2)], id="416"),
    ],
)
def test_what_fails_for_a_while_is_tried_again(
    served: Registry, before: Proxy, store: Store, image: Image, faults: list[Fault]
) -> None:
    before.faults[:] = faults
    pushed = push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert pushed.digest == image.manifest.digest
    if faults[0].method != "PATCH":
        assert [fault.times for fault in faults if fault.method != "PATCH"].count(0) > 0
    assert skopeo_digest(f"{served.host}/team/tiny:v1") == image.manifest.digest
    kept = served.blobs()
    assert {layer.blob.digest for layer in image.layers} <= set(kept)


def test_a_registry_that_refuses_large_bodies_gets_chunks(
    before: Proxy, store: Store, image: Image
) -> None:
    before.faults.append(Fault(method="PUT", path="blobs", status=413, times=5))
    push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert before.count("PATCH") >= 3  # 9 MiB in chunks of 4 MiB


def test_a_cut_between_chunks_goes_on_where_it_was(
    before: Proxy, store: Store, image: Image
) -> None:
    before.faults += [
        Fault(method="PUT", path="blobs", status=413, times=5),
        Fault(method="PATCH", path="blobs", cut_after=0, forward_first=True, times=1),
    ]
    push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert before.count("GET", "blobs/uploads") >= 1


def test_a_registry_that_stays_broken_is_named(before: Proxy, store: Store, image: Image) -> None:
    before.faults.append(Fault(method="POST", path="uploads", status=503, times=1000))
    with pytest.raises(EnvironmentLacks) as error:
        push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert error.value.message == (
        f"{before.host} does not answer as it should: status 503 "
        "(POST /v2/team/tiny/blobs/uploads/)"
    )


def test_uploads_that_never_succeed_end(before: Proxy, store: Store, image: Image) -> None:
    before.faults += [
        Fault(method=method, path="blobs", cut_after=10, times=1000) for method in ("PUT", "PATCH")
    ]
    with pytest.raises(EnvironmentLacks, match="keeps failing"):
        push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())


def test_a_survey_changes_nothing(before: Proxy, store: Store, image: Image) -> None:
    place = f"{before.host}/team/one"
    found = survey(image, store, f"{place}:v1", tags=("v2",))
    assert found.count(Outcome.SENT) == len(image.layers) + 1
    assert found.before == {"v1": "", "v2": ""}
    push(image, store, f"{place}:v1", progress=Silent())
    before.seen.clear()
    found = survey(image, store, f"{place}:v1", tags=("v2",), schema2=True)
    assert found.count(Outcome.THERE) == len(image.layers) + 1
    assert found.before == {"v1": image.manifest.digest, "v2": ""}
    found = survey(image, store, f"{before.host}/team/two:v1")
    assert {part.source for part in found.moved} == {"team/one"}
    assert found.size(Outcome.MOUNTED) > BIG
    assert {method for method, _ in before.seen} == {"GET", "HEAD"}


def test_a_read_only_registry_says_so(tmp_path: Path, store: Store, image: Image) -> None:
    with registry(tmp_path / "museum", read_only=True) as museum:
        with pytest.raises(EnvironmentLacks) as error:
            push(image, store, f"{museum.host}/team/tiny:v1", progress=Silent())
        assert re.search(r"refuses the blob sha256:\w+: status 405$", error.value.message)


def test_encrypted_and_only_where_the_certificate_is_trusted(
    tmp_path: Path, store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    words += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1"]
    places = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*words, *places], check=True, capture_output=True)
    # A registry on this machine is spoken to in the clear; this one shall count as another's.
    monkeypatch.setattr(session_module, "is_loopback", lambda _: False)
    with registry(tmp_path / "secure", tls=(certificate, key)) as secure:
        with pytest.raises(EnvironmentLacks) as error:
            push(image, store, f"{secure.host}/team/tiny:v1", progress=Silent())
        assert error.value.message.startswith(f"no trusted connection to {secure.host}: ")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        pushed = push(image, store, f"{secure.host}/team/tiny:v1", progress=Silent())
    assert pushed.digest == image.manifest.digest


def test_no_registry_there(store: Store, image: Image) -> None:
    with pytest.raises(EnvironmentLacks, match="Connection refused"):
        push(image, store, "127.0.0.1:1/team/tiny:v1", progress=Silent())


class Counting(Silent):
    """Adds up what was reported."""

    def __init__(self) -> None:
        self.total = 0
        self.done = 0

    def begin(self, what: str, total: int) -> int:
        self.total += total
        return super().begin(what, total)

    def advance(self, task: int, amount: int) -> None:
        super().advance(task, amount)
        self.done += amount


def test_progress_ends_at_its_total_whatever_happens(
    before: Proxy, store: Store, image: Image
) -> None:
    before.faults.append(Fault(method="PUT", path="blobs", cut_after=1 << 20, times=2))
    counting = Counting()
    push(image, store, f"{before.host}/team/tiny:v1", progress=counting)
    assert counting.done == counting.total > BIG
