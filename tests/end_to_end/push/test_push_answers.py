"""What a push makes of a registry's answers: wrong digests, limits, silence, tags that stay."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from recipec.catalog.registries import Quirks
from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.image.image import Image
from recipec.progress import Silent
from recipec.publish import upload as upload_module
from recipec.publish import wire as wire_module
from recipec.publish.parallel import PARALLEL
from recipec.publish.registry import push
from recipec.store import Store, sha256
from tests.support.daemons import Registry
from tests.support.faults import Fault, Proxy, proxy
from tests.support.images import make_image, make_layer
from tests.support.pushing import BIG, SECRET, log_in, skopeo_digest

pytestmark = pytest.mark.engine


def test_other_bytes_or_another_digest_are_a_mismatch(
    before: Proxy, store: Store, image: Image
) -> None:
    other = sha256(b"other")
    before.faults.append(
        Fault(method="PUT", path="manifests", headers={"Docker-Content-Digest": other})
    )
    with pytest.raises(HashMismatch) as error:
        push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert (error.value.expected, error.value.found) == (image.manifest.digest, other)
    before.faults[:] = [Fault(method="GET", path="manifests", replace=b"other")]
    with pytest.raises(HashMismatch) as error:
        push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert error.value.found == other


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "blobs"), ("PUT", "blobs"), ("POST", "mount")]
)
def test_a_blob_under_another_digest_is_a_mismatch(
    served: Registry, before: Proxy, store: Store, image: Image, method: str, path: str
) -> None:
    push(image, store, f"{before.host}/team/one:v1", progress=Silent())
    other = sha256(b"other")
    spoilt = Fault(method=method, path=path, headers={"Docker-Content-Digest": other})
    if method == "PUT":  # nothing to mount from: the blobs are sent
        store = Store(store.root.parent / "another cache")
        image = make_image(store, [make_layer(store, "new", {"new": os.urandom(1000)})])
    repository = "team/one" if method == "HEAD" else "team/two"
    before.faults.append(spoilt)
    with pytest.raises(HashMismatch) as error:
        push(image, store, f"{before.host}/{repository}:v2", progress=Silent())
    assert error.value.found == other
    tags = served.folder / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    assert not (tags / "v2").exists()


def test_a_tag_that_was_given_to_spoilt_bytes_is_put_right(
    served: Registry, before: Proxy, store: Store, image: Image
) -> None:
    # One bit of the last digit of a size: still a manifest, but another one.
    data = store.read(image.manifest.digest)
    place = data.rindex(b'"size":') + len(b'"size":')
    before.faults.append(Fault(method="PUT", path="manifests/v1", flip=(place + 0.5) / len(data)))
    with pytest.raises(HashMismatch):
        push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    link = "docker/registry/v2/repositories/team/tiny/_manifests/tags/v1/current/link"
    assert (served.folder / link).read_text() == image.manifest.digest


def test_a_damaged_blob_of_the_cache_is_told_apart(
    before: Proxy, store: Store, image: Image
) -> None:
    path = store.path(image.layers[0].blob.digest)
    damaged = bytes(path.stat().st_size)
    path.unlink()  # a link of the template's
    path.write_bytes(damaged)
    with pytest.raises(HashMismatch) as error:
        push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert error.value.what == "a blob of the cache"
    assert before.count("PUT", "manifests") == 0


def test_a_tag_that_cannot_move_and_need_not_is_fine(
    before: Proxy, store: Store, image: Image
) -> None:
    push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    before.faults.append(Fault(method="PUT", path="manifests/v1", status=400, times=9))
    assert push(image, store, f"{before.host}/team/tiny:v1", progress=Silent()).tags == ("v1",)
    other = make_image(store, [make_layer(store, "new", {"new": os.urandom(1000)})])
    with pytest.raises(EnvironmentLacks, match="refuses the manifest as v1: TESTED"):
        push(other, store, f"{before.host}/team/tiny:v1", progress=Silent())


def sizes(before: Proxy) -> list[tuple[str, int]]:
    """Method and size of every request with a body for a blob."""
    found: list[tuple[str, int]] = []

    def watch(method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        size = int(headers.get("Content-Length") or 0)
        if "/blobs/" in path and size:
            found.append((method, size))
        return None

    before.chaos = watch
    return found


@pytest.mark.parametrize(
    ("quirks", "method", "largest"),
    [
        (Quirks(whole_max=1 << 20, chunk=512 << 10), "PATCH", 512 << 10),
        (Quirks(chunk=1 << 20), "PUT", BIG),
    ],
    ids=["small requests only", "whole first"],
)
def test_what_the_table_says_is_done(
    before: Proxy,
    store: Store,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
    quirks: Quirks,
    method: str,
    largest: int,
) -> None:
    monkeypatch.setattr(upload_module, "quirks_of", lambda _: quirks)
    found = sizes(before)
    push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert max(size for _, size in found) == pytest.approx(largest, abs=100_000)
    assert max(found, key=lambda pair: pair[1])[0] == method


def test_a_registry_without_chunks_gets_the_blob_from_its_start(
    served: Registry, before: Proxy, store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_module, "quirks_of", lambda _: Quirks(chunks=False))
    before.faults.append(Fault(method="PUT", path="blobs", cut_after=1 << 20, times=3))
    push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert before.count("PATCH") == 0
    assert skopeo_digest(f"{served.host}/team/tiny:v1") == image.manifest.digest


def test_chunks_shrink_until_they_are_taken(before: Proxy, store: Store, image: Image) -> None:
    def refuse(_method: str, _path: str, headers: Mapping[str, str]) -> Fault | None:
        large = int(headers.get("Content-Length") or 0) > 600_000
        return Fault(method="", path="", status=413) if large else None

    before.chaos = refuse
    pushed = push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert pushed.digest == image.manifest.digest


def test_silence_is_not_waited_for_without_end(
    before: Proxy, store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "READ", 2.0)
    before.faults.append(Fault(method="HEAD", path="blobs", stall=3.0))
    push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert before.count("HEAD") > len(image.layers) + 1


def test_connections_are_used_again(before: Proxy, store: Store, image: Image) -> None:
    push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())
    assert before.connections <= PARALLEL + 1
    assert len(before.seen) > 3 * before.connections


def test_a_long_wait_stops_the_push(
    before: Proxy, store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("DOCKER_CONFIG", str(store.root))
    busy = Fault(method="HEAD", path="blobs", status=429, headers={"Retry-After": "3600"}, times=9)
    before.faults.append(busy)
    with pytest.raises(EnvironmentLacks, match="asks to be left alone for 3600 seconds"):
        push(image, store, f"{before.host}/team/tiny:v1", progress=Silent())


def test_a_token_for_less_will_do(
    served: Registry, tmp_path: Path, store: Store, image: Image
) -> None:
    """Where no token for the repository to mount from is to be had, the blobs are sent."""
    with proxy(served.host, users={"me": SECRET}) as gate:
        log_in(tmp_path / "docker", gate.host)
        push(image, store, f"{gate.host}/team/one:v1", progress=Silent())
        gate.faults.append(Fault(method="GET", path="/token.*team%2Fone", status=403, times=9))
        push(image, store, f"{gate.host}/team/two:v1", progress=Silent())
        assert gate.count("GET", "^/token") >= 3
