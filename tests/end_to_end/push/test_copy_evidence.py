"""`copy` takes along what is about an image: evidence, signatures, and what is about these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recipec.evidence.keys import Signer, Verifier, make_pair, read_private, read_public
from recipec.image.image import Descriptor
from recipec.progress import Silent
from recipec.publish.copy import copy
from recipec.publish.reference import Target
from recipec.publish.referrers import Artifact, attach, document, referrers
from recipec.publish.registry import Pushed, push
from recipec.publish.remote import Remote
from recipec.publish.signatures import sign, verify
from recipec.store import Store
from tests.support.daemons import Registry, registry
from tests.support.referrers import with_referrers
from tests.support.small import Small, make_small

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("push")]

BILL = Artifact(media_type="application/vnd.cyclonedx+json", title="b.json", data=b'{"a":1}')
SCAN = Artifact(media_type="application/x.scan", title="scan.json", data=b"[]")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "here") as running:
        yield running


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "there") as running:
        yield running


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return make_small(tmp_path / "small", Store(tmp_path / "store"))


def keys(folder: Path, name: str) -> tuple[Signer, Verifier]:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    make_pair(private, public, lambda: b"secret")
    return read_private(private, lambda: b"secret"), read_public(public)


def remote(host: str, repository: str = "team/small") -> Remote:
    return Remote(Target(registry=host, repository=repository, tag="v1"), write=True)


def published(small: Small, host: str, signer: Signer) -> tuple[Descriptor, ...]:
    """The image with two documents and a signature; of one document a signature, too."""
    push(small.image, small.store, f"{host}/team/small:v1", progress=Silent())
    documents = attach(remote(host), small.image.manifest, [BILL, SCAN], small.store)
    sign(remote(host), small.image.manifest.digest, signer, small.store)
    sign(remote(host), documents[0].digest, signer, small.store)
    return documents


def copied(source: str, target: str, folder: Path, *, evidence: bool = True) -> Pushed:
    return copy(
        f"{source}/team/small:v1",
        f"{target}/prod/small",
        Store(folder / "fresh"),
        progress=Silent(),
        evidence=evidence,
    )


def test_all_that_is_about_an_image_comes_along(
    here: Registry, there: Registry, small: Small, tmp_path: Path
) -> None:
    signer, verifier = keys(tmp_path, "cosign")
    documents = published(small, here.host, signer)
    moved = copied(here.host, there.host, tmp_path)
    assert (moved.digest, moved.beside) == (small.image.manifest.digest, 4)
    place = remote(there.host, "prod/small")
    found = referrers(place, moved.digest)
    assert found == referrers(remote(here.host), moved.digest)
    assert [one.manifest for one in found] == list(documents)
    assert [document(place, one) for one in found] == [BILL.data, SCAN.data]
    for digest in (moved.digest, documents[0].digest):
        verify(place, digest, verifier)
    again = there.blobs()
    assert copied(here.host, there.host, tmp_path / "again").beside == 4
    assert there.blobs() == again


def test_without_evidence_nothing_but_the_image_comes(
    here: Registry, there: Registry, small: Small, tmp_path: Path
) -> None:
    published(small, here.host, keys(tmp_path, "cosign")[0])
    moved = copied(here.host, there.host, tmp_path, evidence=False)
    assert moved.beside == 0
    assert referrers(remote(there.host, "prod/small"), moved.digest) == ()
    assert (
        remote(there.host, "prod/small").manifest(f"{moved.digest.replace(':', '-')}.sig") is None
    )


def test_what_the_target_has_about_it_stays(
    here: Registry, there: Registry, small: Small, tmp_path: Path
) -> None:
    (signer, verifier), (other, also) = keys(tmp_path, "one"), keys(tmp_path, "two")
    documents = published(small, here.host, signer)
    copied(here.host, there.host, tmp_path, evidence=False)
    place = remote(there.host, "prod/small")
    sign(place, small.image.manifest.digest, other, small.store)
    own = Artifact(media_type="application/x.own", title="own", data=b"1")
    kept = attach(place, small.image.manifest, [own], small.store)
    copied(here.host, there.host, tmp_path)
    for key in (verifier, also):
        verify(place, small.image.manifest.digest, key)
    listed = {one.manifest.digest for one in referrers(place, small.image.manifest.digest)}
    assert listed == {one.digest for one in (*documents, *kept)}


def test_between_registries_that_list_referrers_and_that_do_not(
    here: Registry, there: Registry, small: Small, tmp_path: Path
) -> None:
    signer, verifier = keys(tmp_path, "cosign")
    with with_referrers(here.host) as modern:
        documents = published(small, modern.host, signer)
        assert copied(modern.host, there.host, tmp_path).beside == 4
    place = remote(there.host, "prod/small")
    found = referrers(place, small.image.manifest.digest)
    assert [one.manifest.digest for one in found] == [one.digest for one in documents]
    verify(place, small.image.manifest.digest, verifier)
    with with_referrers(there.host) as back:
        moved = copy(
            f"{back.host}/prod/small:v1",
            f"{back.host}/back/small",
            Store(tmp_path / "2"),
            progress=Silent(),
        )
        assert moved.digest == small.image.manifest.digest
