"""Evidence beside images in the real docker-registry; signatures checked by openssl."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipec.cli.main import main
from recipec.errors import EnvironmentLacks, HashMismatch, NotSigned
from recipec.evidence import keys, sbom
from recipec.evidence.keys import make_pair, read_private, read_public
from recipec.image.image import Descriptor
from recipec.progress import Silent
from recipec.publish.reference import Target
from recipec.publish.referrers import Artifact, attach, document, referrers
from recipec.publish.registry import push
from recipec.publish.remote import Remote, parse_place
from recipec.publish.signatures import ANNOTATION, sign, tag_of, verify
from recipec.store import Store, sha256
from tests.support.daemons import Registry, registry
from tests.support.faults import Fault, proxy
from tests.support.projects import make_project
from tests.support.referrers import with_referrers
from tests.support.small import Small, bill, make_small

pytestmark = pytest.mark.engine

PASSWORD = "pa:ss wörd"


@pytest.fixture(autouse=True)
def _no_user_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("COSIGN_PASSWORD", PASSWORD)
    monkeypatch.setitem(keys._SCRYPT, "N", 1 << 10)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return make_small(tmp_path / "in", Store(tmp_path / "cache"))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    private, public = tmp_path / "cosign.key", tmp_path / "cosign.pub"
    make_pair(private, public, PASSWORD.encode)
    return private, public


def put(small: Small, host: str, *, schema2: bool = False) -> Descriptor:
    """Push the image as team/small:v1; its manifest there."""
    push(small.image, small.store, f"{host}/team/small:v1", schema2=schema2, progress=Silent())
    return small.image.schema2 if schema2 else small.image.manifest


def remote(host: str) -> Remote:
    return Remote(Target(registry=host, repository="team/small", tag="v1"), write=True)


def artifacts(small: Small) -> list[Artifact]:
    return [
        Artifact(media_type=sbom.MEDIA_TYPE, title="sbom.cdx.json", data=bill(small)),
        Artifact(media_type="application/vnd.in-toto+json", title="p.json", data=b'{"a":1}'),
    ]


def get(url: str, accept: str = "application/vnd.oci.image.index.v1+json") -> Any:
    """What the registry holds, asked without any code of ours."""
    request = urllib.request.Request(f"http://{url}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


OCI = "application/vnd.oci.image.manifest.v1+json"


def test_evidence_lies_in_an_index_by_tag(served: Registry, small: Small) -> None:
    subject = put(small, served.host)
    pushed = attach(remote(served.host), subject, artifacts(small), small.store)
    base = f"{served.host}/v2/team/small"
    index = get(f"{base}/manifests/{subject.digest.replace(':', '-')}")
    assert [row["digest"] for row in index["manifests"]] == [one.digest for one in pushed]
    assert [row["artifactType"] for row in index["manifests"]] == [
        "application/vnd.cyclonedx+json",
        "application/vnd.in-toto+json",
    ]
    manifest = get(f"{base}/manifests/{pushed[0].digest}", OCI)
    assert manifest["subject"] == {
        "mediaType": OCI,
        "digest": subject.digest,
        "size": subject.size,
    }
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    found = referrers(remote(served.host), subject.digest)
    assert document(remote(served.host), found[0]) == bill(small)
    # The image itself is what it was.
    assert get(f"{base}/manifests/v1", OCI) == json.loads(small.store.read(subject.digest))


def test_attaching_twice_changes_nothing_and_others_stay(served: Registry, small: Small) -> None:
    subject = put(small, served.host)
    own = Artifact(media_type="application/x.scan", title="scan", data=b"another's")
    attach(remote(served.host), subject, [own], small.store)
    attach(remote(served.host), subject, artifacts(small), small.store)
    before = served.blobs(), referrers(remote(served.host), subject.digest)
    attach(remote(served.host), subject, artifacts(small), small.store)
    assert (served.blobs(), referrers(remote(served.host), subject.digest)) == before
    kinds = [row.artifact_type for row in before[1]]
    assert kinds == ["application/x.scan", *(one.media_type for one in artifacts(small))]


def test_a_registry_with_the_referrers_api(served: Registry, small: Small) -> None:
    with with_referrers(served.host, page=1) as modern:
        subject = put(small, modern.host)
        pushed = attach(remote(modern.host), subject, artifacts(small), small.store)
        found = referrers(remote(modern.host), subject.digest)
        assert [row.manifest.digest for row in found] == [one.digest for one in pushed]
        tag = subject.digest.replace(":", "-")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{served.host}/v2/team/small/manifests/{tag}")


def test_openssl_accepts_what_lies_in_the_registry(
    served: Registry, small: Small, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """The layout of cosign's specification, read without any code of ours."""
    private, public = pair
    subject = put(small, served.host)
    sign(remote(served.host), subject.digest, read_private(private, PASSWORD.encode), small.store)
    base = f"{served.host}/v2/team/small"
    manifest = get(f"{base}/manifests/{subject.digest.replace(':', '-')}.sig", OCI)
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    with urllib.request.urlopen(f"http://{base}/blobs/{layer['digest']}", timeout=30) as answer:
        payload = answer.read()
    assert json.loads(payload)["critical"] == {
        "identity": {"docker-reference": f"{served.host}/team/small"},
        "image": {"docker-manifest-digest": subject.digest},
        "type": "cosign container image signature",
    }
    text = layer["annotations"]["dev.cosignproject.cosign/signature"]
    (tmp_path / "sig").write_bytes(base64.b64decode(text))
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(tmp_path / "sig")],
        input=payload,
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"Verified OK\n"
    config = get(f"{base}/blobs/{manifest['config']['digest']}")
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]


def test_a_key_signs_once_and_beside_others(
    served: Registry, small: Small, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    subject = put(small, served.host)
    make_pair(tmp_path / "b.key", tmp_path / "b.pub", PASSWORD.encode)
    for private in (pair[0], tmp_path / "b.key", pair[0]):
        signer = read_private(private, PASSWORD.encode)
        sign(remote(served.host), subject.digest, signer, small.store)
    found = remote(served.host).manifest(tag_of(subject.digest))
    assert found is not None
    assert len(found.plain["layers"]) == 2
    for public in (pair[1], tmp_path / "b.pub"):
        assert verify(remote(served.host), subject.digest, read_public(public))


def test_a_signature_of_another_image_is_none(
    served: Registry, small: Small, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Somebody copies a good signature beside an image that the key has never signed."""
    private, public = pair
    subject = put(small, served.host)
    sign(remote(served.host), subject.digest, read_private(private, PASSWORD.encode), small.store)
    other = make_small(tmp_path / "other", small.store, script=b"print('evil')\n")
    put(other, served.host)
    there = remote(served.host)
    stolen = there.manifest(tag_of(subject.digest))
    assert stolen is not None
    there.put_manifest(stolen.data, OCI, tag_of(other.image.manifest.digest))
    with pytest.raises(NotSigned) as caught:
        verify(there, other.image.manifest.digest, read_public(public))
    assert "none of 1 signatures is of this key" in caught.value.message
    # A signature over other words, a text that is no base64, and no annotation at all.
    rows = [{**stolen.plain["layers"][0], "annotations": a} for a in ({ANNOTATION: "!"}, {})]
    there.put_manifest(
        json.dumps({**stolen.plain, "layers": rows}).encode(), OCI, tag_of(subject.digest)
    )
    with pytest.raises(NotSigned):
        verify(there, subject.digest, read_public(public))


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """The document that `recipec WORDS --json` prints."""
    assert main([*words, "--json"]) == code, capsys.readouterr()
    return json.loads(capsys.readouterr().out)


def test_verify_signature(
    served: Registry, small: Small, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = pair
    subject = put(small, served.host)
    name = f"{served.host}/team/small:v1"
    words = ("verify-signature", name, "--key", str(public))
    assert run(capsys, *words, code=4)["error"].endswith("nobody has signed it")
    attached = attach(remote(served.host), subject, artifacts(small), small.store)
    signer = read_private(private, PASSWORD.encode)
    for digest in (subject.digest, attached[0].digest):
        sign(remote(served.host), digest, signer, small.store)
    told = run(capsys, *words)
    assert told["image"] == f"{served.host}/team/small@{subject.digest}"
    assert [row["signed"] for row in told["evidence"]] == [True, False]
    assert main([*words[:1], f"{served.host}/team/small@{subject.digest}", *words[2:]]) == 0
    assert "NOT signed" in capsys.readouterr().err


def test_inspect_of_a_registry_pulls_no_layer(
    served: Registry, small: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    with with_referrers(served.host) as modern:
        subject = put(small, modern.host)
        name = f"{modern.host}/team/small:v1"
        plain = run(capsys, "inspect", name)
        assert plain["digest"] == subject.digest
        assert plain["layers"][0]["from"] == []  # the history names no Debian package
        attach(remote(modern.host), subject, artifacts(small), small.store)
        modern.proxy.seen.clear()
        plain = run(capsys, "inspect", f"{modern.host}/team/small@{subject.digest}")
        layers = {layer.blob.digest for layer in small.image.layers}
        fetched = {path.rpartition("/")[2] for _, path in modern.proxy.seen}
        assert not layers & fetched
    debs = {row["name"]: row for row in plain["layers"][0]["from"]}
    assert debs["libc6"]["sha256"] == small.lock.debs[2].sha256
    assert {row["type"] for row in plain["evidence"]} == {
        one.media_type for one in artifacts(small)
    }
    assert plain["signatures"] == 0
    assert main(["inspect", name, "--files"]) == 2


def test_diff_of_two_images_in_registries(
    served: Registry, small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(small, served.host)
    other = make_small(tmp_path / "other", small.store, script=b"print('more of it')\n")
    push(other.image, small.store, f"{served.host}/team/small:v2", progress=Silent())
    names = [f"{served.host}/team/small:{tag}" for tag in ("v1", "v2")]
    plain = run(capsys, "diff", *names)
    assert [change["after"]["kind"] for change in plain["layers"]] == ["recipe"]
    assert plain["differences"][-1] == "files are not compared: the layers are in a registry"
    layout = other.layout(tmp_path / "layout")
    assert run(capsys, "diff", names[1], str(layout))["same"]


def test_places_and_what_is_not_there(served: Registry, small: Small) -> None:
    put(small, served.host)
    digest = small.image.manifest.digest
    target, asked = parse_place(f"{served.host}/team/small@{digest}")
    assert Remote(target).image(asked).descriptor.digest == digest
    with pytest.raises(EnvironmentLacks, match="has nothing under none"):
        remote(served.host).image("none")
    with pytest.raises(EnvironmentLacks, match="has nothing under sha256:000"):
        remote(served.host).image("sha256:" + "0" * 64)


def test_a_registry_that_gives_other_bytes(served: Registry, small: Small) -> None:
    put(small, served.host)
    digest = small.image.manifest.digest
    kept = served.folder / "docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises((HashMismatch, EnvironmentLacks)):
        remote(served.host).image(digest)


@pytest.mark.slow
def test_attest_from_a_recipe_to_a_signed_image(
    served: Registry, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """What a user does: build, push, attest, verify; twice, with the same bytes."""
    project = make_project(tmp_path / "project")
    project.environment = {name: os.environ[name] for name in ("DOCKER_CONFIG", "COSIGN_PASSWORD")}
    name = f"{served.host}/team/tiny:v1"
    project.run("attest", "recipes/tiny.yaml", "--sign", str(pair[0]), code=2)
    digest = project.json("push", "recipes/tiny.yaml", name)["digest"]
    words = ("attest", "recipes/tiny.yaml", name, "--sign", str(pair[0]))
    told = project.json(*words)
    assert told["subject"] == f"{served.host}/team/tiny@{digest}"
    blobs = served.blobs()
    assert project.json(*words) == told
    assert served.blobs() == blobs
    evidence = project.build / "evidence"
    assert told["files"] == {
        f"build/tiny/evidence/{file}": sha256((evidence / file).read_bytes())
        for file in ("sbom.cdx.json", "provenance.json")
    }
    seen = project.json("verify-signature", name, "--key", str(pair[1]))
    assert [row["signed"] for row in seen["evidence"]] == [True, True]
    inspected = project.json("inspect", "recipes/tiny.yaml")
    assert inspected["digest"] == digest
    assert inspected["run_id"].startswith("sha256:")
    assert project.json("diff", "recipes/tiny.yaml", "build/tiny")["same"]
    assert project.json("diff", "recipes/tiny.yaml", name, "--image")["same"]
    project.edit("seed: 7", "seed: 8")
    error = project.json(*words, code=4)["error"]
    assert error.startswith(f"{served.host}/team/tiny:v1: expected sha256:")


NONSENSE = (
    *(b" ", b"[]", b"null", b'"x"', b"{}", b"[" * 60_000, b'{"layers": {}}'),
    b'{"manifests": [1, {}, {"digest": 7}, {"digest": "../x", "size": "y"}]}',
    b'{"layers": ["a", {"annotations": 3}, {"annotations": {"',
    b'{"layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",'
    b' "digest": "x", "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}}]}',
)


def test_a_registry_that_gives_nonsense(
    served: Registry,
    small: Small,
    pair: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever it says, the answer is an error or what is known without it, never a crash."""
    put(small, served.host)
    with proxy(served.host) as between:
        name = f"{between.host}/team/small:v1"
        for data in NONSENSE:
            between.faults = [Fault(method="GET", path="/sha256-", times=9, replace=data)]
            assert main(["verify-signature", name, "--key", str(pair[1])]) in (3, 4), data
            assert main(["inspect", name]) in (0, 3, 4), data
            between.faults = [Fault(method="GET", path="/manifests/", times=9, replace=data)]
            assert main(["inspect", name]) in (3, 4), data
            between.faults = [Fault(method="GET", path="/blobs/", times=9, replace=data)]
            assert main(["diff", name, name]) == 4, data
    assert "bug" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "data", [b"{}", b"[]", b'{"components": [1, {"properties": [2], "hashes": 3}, {"name": 4}]}']
)
def test_a_bill_of_materials_that_is_none(
    served: Registry, small: Small, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = put(small, served.host)
    bad = Artifact(media_type=sbom.MEDIA_TYPE, title="sbom", data=data)
    attach(remote(served.host), subject, [bad], small.store)
    assert main(["inspect", f"{served.host}/team/small:v1"]) in (0, 3)
    assert "bug" not in capsys.readouterr().err
