"""Roots of real Debian packages for tests: resolved, fetched, written and made an image."""

from __future__ import annotations

from pathlib import Path

from recipec.catalog.debian import release_of, set_packages
from recipec.image.image import OCI_LAYER, Descriptor, Image, Layer
from recipec.image.make import make_layer
from recipec.image.spec import Input, Spec
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import Deb, Platform
from recipec.progress import Silent
from recipec.store import Store
from tests.support.images import make_image


def upstream(store: Store, base: str, package_set: str, *more: str, jit: bool = False) -> Upstream:
    """The user's mirrors, asked for what such a recipe asks for."""
    release = release_of(base)
    return Upstream(
        store=store,
        project=Path("/nowhere"),
        platform=Platform(python=release.python, debian=release.name),
        exclude_newer=None,
        packages=release.base,
        extra=(*set_packages(release.name, package_set, jit=jit), *more),
        progress=Silent(),
        jobs=4,
    )


def base_layer(store: Store, debs: tuple[Deb, ...], base: str) -> Layer:
    """The base layer of these packages, as a build makes it."""
    spec = Spec(
        kind="base",
        name="base",
        python=release_of(base).python,
        inputs=tuple(
            Input(name=deb.file, path=store.path(deb.sha256), digest=deb.sha256, size=deb.size)
            for deb in debs
        ),
    )
    made = make_layer(spec, store)
    blob = Descriptor(media_type=OCI_LAYER, digest=str(made["digest"]), size=int(made["size"]))
    diff_id = str(made["diff_id"])
    return Layer(kind="base", name="base", blob=blob, diff_id=diff_id, cached=False)


def root_image(store: Store, layer: Layer, *entrypoint: str) -> Image:
    """An image of that one layer."""
    environment = ("PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8")
    return make_image(store, (layer,), environment=environment, entrypoint=entrypoint)
