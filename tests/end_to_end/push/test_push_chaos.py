"""`push`, `pull` and `copy` on lines that fail at random: they finish, or say why.

After each round the registry's own files are read: a blob is what its name says, and a tag names
our manifest or does not exist.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.image.image import Image
from recipec.progress import Silent
from recipec.publish import upload as upload_module
from recipec.publish import wire as wire_module
from recipec.publish.copy import copy
from recipec.publish.pull import pull
from recipec.publish.registry import push
from recipec.store import Store, digest_of_file
from tests.support.chaos import Chaos
from tests.support.daemons import Registry
from tests.support.faults import Proxy
from tests.support.images import make_image, make_layer

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks and a short read timeout: more happens in a second."""
    monkeypatch.setattr(upload_module, "PIECE", 96 << 10)
    monkeypatch.setattr(wire_module, "READ", 5.0)


def an_image(store: Store, number: int) -> Image:
    """Layers that no other image has: three small ones, one of several chunks."""
    data = random.Random(number)
    sizes = {"a": 1, "b": 100, "c": 5_000, "big": 400_000}
    layers = [make_layer(store, name, {name: data.randbytes(s)}) for name, s in sizes.items()]
    return make_image(store, layers)


def check_registry(served: Registry, allowed: dict[str, str]) -> None:
    """Every blob has its digest; a tag of `allowed` names its digest or does not exist."""
    kept = served.folder / "docker/registry/v2/blobs/sha256"
    for path in kept.glob("*/*/data"):
        assert digest_of_file(path) == f"sha256:{path.parent.name}"
    for repository, digest in allowed.items():
        tags = served.folder / "docker/registry/v2/repositories" / repository / "_manifests/tags"
        for link in tags.glob("*/current/link"):
            assert link.read_text() == digest


def rounds(seeds: range, served: Registry, before: Proxy, store: Store) -> Counter[str]:
    """Push through chaos, with lies in every third round; what came of it."""
    ends: Counter[str] = Counter()
    digests: dict[str, str] = {}
    for seed in seeds:
        image, repository = an_image(store, seed), f"team/r{seed}"
        digests[repository] = image.manifest.digest
        before.chaos = Chaos(seed, rate=0.25, lies=seed % 3 == 0)
        try:
            push(image, store, f"{before.host}/{repository}:v1", progress=Silent())
            ends["done"] += 1
        except (EnvironmentLacks, HashMismatch) as error:
            ends[type(error).__name__] += 1
        ends += before.chaos.kinds
        check_registry(served, digests)
        before.chaos = None
        again = push(image, store, f"{before.host}/{repository}:v1", progress=Silent())
        assert again.digest == image.manifest.digest
        check_registry(served, digests)
    return ends


def test_pushes_through_chaos(served: Registry, before: Proxy, tmp_path: Path) -> None:
    ends = rounds(range(9), served, before, Store(tmp_path / "cache"))
    assert ends["done"] >= 4
    assert ends["HashMismatch"] >= 1


@pytest.mark.slow
def test_many_pushes_through_chaos(served: Registry, before: Proxy, tmp_path: Path) -> None:
    ends = rounds(range(100, 220), served, before, Store(tmp_path / "cache"))
    assert ends["done"] >= 60
    assert ends["HashMismatch"] >= 4
    for kind in ("status", "busy", "cut", "reset", "lost", "stall", "flip", "short", "lie"):
        assert ends[kind] >= 10, kind


def pull_rounds(seeds: range, served: Registry, before: Proxy, folder: Path) -> Counter[str]:
    """Pull and copy through chaos into stores of their own; what came of it."""
    ends: Counter[str] = Counter()
    store = Store(folder / "cache")
    for seed in seeds:
        image, repository = an_image(store, seed), f"team/p{seed}"
        push(image, store, f"{served.host}/{repository}:v1", progress=Silent())
        other = Store(folder / f"cache-{seed}")
        place = f"{before.host}/{repository}:v1"
        # A wrong byte may be under way in any round: it costs a repetition or the command.
        before.chaos = Chaos(seed, rate=0.3, lies=seed % 3 == 0)
        try:
            if seed % 2:
                pull(place, other, progress=Silent())
            else:
                copy(place, f"{before.host}/copies/p{seed}", other, progress=Silent())
            ends["done"] += 1
        except (EnvironmentLacks, HashMismatch) as error:
            ends[type(error).__name__] += 1
        before.chaos = None
        assert all(other.verified(digest) for digest in other.digests())
        check_registry(served, {f"copies/p{seed}": image.manifest.digest})
        pulled = pull(place, other, progress=Silent())
        assert pulled.image.manifest.digest == image.manifest.digest
        assert all(other.verified(layer.blob.digest) for layer in image.layers)
    return ends


def test_pulls_and_copies_through_chaos(served: Registry, before: Proxy, tmp_path: Path) -> None:
    ends = pull_rounds(range(8), served, before, tmp_path)
    assert ends["done"] >= 3


@pytest.mark.slow
def test_many_pulls_and_copies_through_chaos(
    served: Registry, before: Proxy, tmp_path: Path
) -> None:
    ends = pull_rounds(range(100, 200), served, before, tmp_path)
    assert ends["done"] >= 50
