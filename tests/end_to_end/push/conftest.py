"""A registry, a proxy before it, and an image in a store, for the tests of push and pull."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipec.image.image import Image
from recipec.publish import session as session_module
from recipec.store import Store
from tests.support.daemons import Registry, registry
from tests.support.faults import Proxy, proxy
from tests.support.images import make_image, make_layer
from tests.support.pushing import BIG


@pytest.fixture(autouse=True)
def _no_user_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(session_module.Session, "pause", lambda *_: None)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def before(served: Registry) -> Iterator[Proxy]:
    with proxy(served.host) as running:
        yield running


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Path]:
    """Small layers, and one of 9 MiB that does not compress; and the store that has them."""
    store = Store(tmp_path_factory.mktemp("made"))
    small = {f"opt/{n}": bytes([n]) * 100 for n in range(3)}
    layers = [make_layer(store, name, {name: data}) for name, data in small.items()]
    big = make_layer(store, "big", {"big": os.urandom(BIG)})
    return make_image(store, [*layers, big]), store.root


@pytest.fixture
def store(made: tuple[Image, Path], tmp_path: Path) -> Store:
    """A store of the test's own that has the blobs of `image`, as links."""
    shutil.copytree(made[1], tmp_path / "cache", copy_function=os.link)
    return Store(tmp_path / "cache")


@pytest.fixture
def image(made: tuple[Image, Path]) -> Image:
    return made[0]
