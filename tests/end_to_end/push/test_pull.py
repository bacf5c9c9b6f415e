"""`pull` and `copy` with real registries: tags, digests, both kinds of manifest, indexes, cuts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipec.cli.main import main
from recipec.errors import EnvironmentLacks, HashMismatch, UnsafeInput, UsageError
from recipec.image.image import OCI_MANIFEST, Image
from recipec.progress import Silent
from recipec.publish.copy import copy
from recipec.publish.manifests import OCI_INDEX
from recipec.publish.pull import pull
from recipec.publish.registry import push
from recipec.publish.upload import Outcome
from recipec.store import Store, canonical, sha256
from tests.support.daemons import Registry, registry
from tests.support.faults import Fault, Proxy, proxy
from tests.support.images import make_image, make_layer

pytestmark = pytest.mark.engine

BIG = 3 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "other registry") as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def image(served: Registry, store: Store) -> Image:
    """An image in the registry as team/tiny: `oci` and `docker`."""
    layers = [make_layer(store, "a", {"opt/a": b"a" * 100}, kind="model")]
    image = make_image(store, [*layers, make_layer(store, "big", {"big": os.urandom(BIG)})])
    for tag, schema2 in (("oci", False), ("docker", True)):
        push(image, store, f"{served.host}/team/tiny:{tag}", schema2=schema2, progress=Silent())
    return image


def put(served: Registry, place: str, data: bytes, media_type: str) -> str:
    """Put a manifest that no push would make; its digest."""
    url = f"http://{served.host}/v2/{place}"
    request = urllib.request.Request(url, data, {"Content-Type": media_type}, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()
    return sha256(data)


def an_index(served: Registry, image: Image, *platforms: str, tag: str = "many") -> str:
    """An index in team/tiny in which each platform has the OCI manifest; its digest."""
    entries: list[dict[str, object]] = []
    for platform in platforms:
        system, architecture = platform.split("/")
        about = {"mediaType": OCI_MANIFEST, "digest": image.manifest.digest}
        about["platform"] = {"os": system, "architecture": architecture}  # type: ignore[assignment]
        entries.append({**about, "size": image.manifest.size})
    data = canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    return put(served, f"team/tiny/manifests/{tag}", data, OCI_INDEX)


@pytest.mark.parametrize("schema2", [False, True])
def test_every_byte_comes_back(
    served: Registry, image: Image, tmp_path: Path, schema2: bool
) -> None:
    manifest = image.schema2 if schema2 else image.manifest
    fresh = Store(tmp_path / "fresh")
    name = f"{served.host}/team/tiny"
    pulled = pull(f"{name}:{'docker' if schema2 else 'oci'}", fresh, progress=Silent())
    assert pulled.reference == f"{name}@{manifest.digest}"
    assert pulled.image.manifest == manifest
    assert pulled.received == sum(part.blob.size for part in image.layers) + image.config.size
    assert [part.blob.digest for part in pulled.image.layers] == [
        part.blob.digest for part in image.layers
    ]
    assert [part.diff_id for part in pulled.image.layers] == [p.diff_id for p in image.layers]
    assert all(fresh.verified(digest) for digest in fresh.digests())
    assert len(list(fresh.digests())) == len(image.layers) + 2
    assert list((fresh.root / "partial").iterdir()) == []
    again = pull(f"{name}@{manifest.digest}", fresh, progress=Silent())
    assert (again.received, again.image) == (0, pulled.image)


def test_an_index_is_followed_to_our_platform(
    served: Registry, image: Image, tmp_path: Path
) -> None:
    an_index(served, image, "linux/arm64", "linux/amd64", "unknown/unknown")
    pulled = pull(f"{served.host}/team/tiny:many", Store(tmp_path / "fresh"), progress=Silent())
    assert pulled.image.manifest.digest == image.manifest.digest
    an_index(served, image, "linux/arm64", "windows/amd64", tag="strange")
    with pytest.raises(EnvironmentLacks) as error:
        pull(f"{served.host}/team/tiny:strange", Store(tmp_path / "fresh"), progress=Silent())
    assert error.value.message == f"{served.host}/team/tiny:strange has nothing for linux/amd64"
    assert error.value.hint == "it has linux/arm64, windows/amd64"


@pytest.mark.usefixtures("image")
def test_what_is_not_there_is_named(served: Registry, tmp_path: Path) -> None:
    fresh = Store(tmp_path / "fresh")
    with pytest.raises(EnvironmentLacks) as error:
        pull(f"{served.host}/team/tiny:v9", fresh, progress=Silent())
    assert error.value.message == f"there is no {served.host}/team/tiny:v9"
    with pytest.raises(UsageError) as usage:
        pull(f"{served.host}/team/tiny@sha256:12", fresh, progress=Silent())
    assert usage.value.message == "'sha256:12' is no digest that can be checked"


@pytest.mark.usefixtures("image")
def test_a_cut_download_goes_on_where_it_was(before: Proxy, tmp_path: Path) -> None:
    fresh = Store(tmp_path / "fresh")
    ranges: list[str] = []

    def watch(method: str, path: str, headers: object) -> Fault | None:
        assert isinstance(headers, dict)
        if method == "GET" and "blobs/sha256" in path:
            ranges.append(headers.get("Range", ""))
            return Fault(method="", path="", short=0.6) if len(ranges) == 1 else None
        return None

    before.chaos = watch
    pull(f"{before.host}/team/tiny:oci", fresh, progress=Silent())
    assert len([found for found in ranges if found]) == 1
    assert all(fresh.verified(digest) for digest in fresh.digests())


def test_a_part_of_something_else_is_not_built_upon(
    served: Registry, image: Image, tmp_path: Path
) -> None:
    fresh = Store(tmp_path / "fresh")
    big = image.layers[-1].blob
    part = fresh.root / "partial" / big.digest.removeprefix("sha256:")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    pull(f"{served.host}/team/tiny:oci", fresh, progress=Silent())
    assert fresh.verified(big.digest)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="GET", path="blobs/sha256", flip_answer=0.5, times=100),
        Fault(method="GET", path="manifests", flip_answer=0.5),
        Fault(method="GET", path="manifests", headers={"Docker-Content-Digest": sha256(b"x")}),
    ],
    ids=["blob", "manifest", "header"],
)
def test_wrong_bytes_never_reach_the_store(
    before: Proxy, image: Image, tmp_path: Path, fault: Fault
) -> None:
    before.faults[:] = [fault]
    fresh = Store(tmp_path / "fresh")
    place = f"{before.host}/team/tiny@{image.manifest.digest}"
    with pytest.raises(HashMismatch) as error:
        pull(place, fresh, progress=Silent())
    assert error.value.found != error.value.expected
    assert all(fresh.verified(digest) for digest in fresh.digests())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is not of schema version 2"),
        (b'{"schemaVersion": 2, "mediaType": "x"}', "it is of the kind 'x'"),
        (
            b'{"schemaVersion": 2, "layers": [], "manifests": []}',
            "it is an index and a manifest at once",
        ),
        (b'{"schemaVersion": 2, "config": {}}', "a digest is not sha256 and 64 hex digits"),
        (
            b'{"schemaVersion": 2, "config": {"digest": "sha256:'
            + b"0" * 64
            + b'", "size": -1}, "layers": []}',
            f"the size of sha256:{'0' * 64} is no size",
        ),
    ],
)
@pytest.mark.usefixtures("image")
def test_manifests_that_cannot_be_used(
    before: Proxy, tmp_path: Path, data: bytes, why: str
) -> None:
    headers = {"Docker-Content-Digest": sha256(data)}
    before.faults[:] = [Fault(method="GET", path="manifests", replace=data, headers=headers)]
    with pytest.raises(UnsafeInput) as error:
        pull(f"{before.host}/team/tiny:oci", Store(tmp_path / "fresh"), progress=Silent())
    assert error.value.message.endswith(f"cannot be used: {why}")


def test_blobs_come_from_another_host_without_our_credentials(
    served: Registry, image: Image, tmp_path: Path
) -> None:
    with proxy(served.host) as storage, proxy(served.host, users={"me": "s3cret"}) as gate:
        gate.storage = storage.host
        (tmp_path / "docker").mkdir()
        auth = {"auth": base64.b64encode(b"me:s3cret").decode()}
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {gate.host: auth}}))
        fresh = Store(tmp_path / "fresh")
        pull(f"{gate.host}/team/tiny:oci", fresh, progress=Silent())
        assert storage.count("GET", "blobs") == len(image.layers) + 1
        assert set(storage.authorizations) == {""}
        assert any(sent.startswith("Bearer ") for sent in gate.authorizations)
        elsewhere = Store(tmp_path / "elsewhere")
        gate.storage = "registry.invalid"
        with pytest.raises(EnvironmentLacks) as error:
            pull(f"{gate.host}/team/tiny:oci", elsewhere, progress=Silent())
        assert "which is not encrypted" in error.value.message
        assert "signature" not in error.value.render()


def test_layouts_and_archives_are_read_by_others(
    served: Registry, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIPEC_CACHE", str(tmp_path / "fresh"))
    name = f"{served.host}/team/tiny"
    # skopeo finds a schema2 manifest in a layout only where it is the one and goes unnamed.
    kinds = [("oci", image.manifest, f":{name}:oci"), ("docker", image.schema2, "")]
    for tag, manifest, named in kinds:
        layout = tmp_path / f"layout {tag}"
        assert main(["pull", f"{name}:{tag}", "-o", str(layout)]) == 0
        raw = subprocess.run(
            ["skopeo", "inspect", "--raw", f"oci:{layout}{named}"],
            check=True,
            capture_output=True,
        ).stdout
        assert sha256(raw) == manifest.digest
    archive = tmp_path / "tiny.tar"
    assert main(["pull", f"{name}@{image.manifest.digest}", "-o", str(archive)]) == 0
    copied = ["skopeo", "copy", "-q", f"docker-archive:{archive}", f"dir:{tmp_path / 'out'}"]
    subprocess.run(copied, check=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious").write_text("")
    assert main(["pull", f"{name}:oci", "-o", str(tmp_path / "mine")]) == 2
    assert main(["pull", f"{name}:oci", "-o", str(archive / "x")]) == 3


def test_copy_to_another_registry_and_back(
    served: Registry, other: Registry, image: Image, tmp_path: Path
) -> None:
    digest = an_index(served, image, "linux/amd64", "linux/arm64", tag="both")
    fresh = Store(tmp_path / "fresh")
    copied = copy(
        f"{served.host}/team/tiny:both", f"{other.host}/here/tiny", fresh, progress=Silent()
    )
    assert (copied.digest, copied.tags) == (digest, ("both",))
    assert copied.count(Outcome.SENT) == len(image.layers) + 1
    raw = subprocess.run(
        [
            "skopeo",
            "inspect",
            "--raw",
            "--tls-verify=false",
            f"docker://{other.host}/here/tiny:both",
        ],
        check=True,
        capture_output=True,
    ).stdout
    assert sha256(raw) == digest
    back = copy(
        f"{other.host}/here/tiny@{image.manifest.digest}",
        f"{served.host}/back/tiny:v1",
        Store(tmp_path / "third"),
        progress=Silent(),
    )
    assert (back.digest, back.tags) == (image.manifest.digest, ("v1",))


def test_copy_inside_a_registry_mounts(before: Proxy, image: Image, tmp_path: Path) -> None:
    fresh = Store(tmp_path / "fresh")
    copied = copy(
        f"{before.host}/team/tiny:oci", f"{before.host}/inside/tiny", fresh, progress=Silent()
    )
    assert copied.count(Outcome.MOUNTED) == len(image.layers) + 1
    assert before.sent == 2 * image.manifest.size
    assert list(fresh.digests()) == []
