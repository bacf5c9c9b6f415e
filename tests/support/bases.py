"""Roots of real Debian packages for tests: resolved, fetched, written and made an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipec.catalog.debian import release_of, set_packages
from recipec.image.image import OCI_LAYER, Descriptor, Image, Layer
from recipec.image.make import make_layer
from recipec.image.spec import Input, Spec
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import Deb, Platform, Wheel
from recipec.progress import Silent
from recipec.store import Store
from tests.support.images import make_image


def upstream(store: Store, base: str, package_set: str, *more: str, jit: bool = False) -> Upstream:
    """The user's mirrors, asked for what such a recipe asks for."""
    release = release_of(base)
    return Upstream(
        store=store,
        project=Path.cwd(),
        platform=Platform(python=release.python, debian=release.name),
        exclude_newer=None,
        packages=release.base,
        extra=(*set_packages(release.name, package_set, jit=jit), *more),
        progress=Silent(),
        jobs=4,
    )


def base_layer(store: Store, debs: Sequence[Deb], base: str) -> Layer:
    """The base layer of these packages, as a build makes it."""
    return _layer(store, "base", debs, base)


def wheel_layer(store: Store, wheels: Sequence[Wheel], base: str) -> Layer:
    """A layer of these wheels, installed for the base's Python."""
    return _layer(store, "wheels", wheels, base)


def _layer(store: Store, kind: str, packages: Sequence[Deb | Wheel], base: str) -> Layer:
    inputs = tuple(
        Input(name=one.file, path=store.path(one.sha256), digest=one.sha256, size=one.size)
        for one in packages
    )
    spec = Spec(kind=kind, name=kind, python=release_of(base).python, inputs=inputs)
    made = make_layer(spec, store)
    blob = Descriptor(media_type=OCI_LAYER, digest=str(made["digest"]), size=int(made["size"]))
    return Layer(kind=kind, name=kind, blob=blob, diff_id=str(made["diff_id"]), cached=False)


def root_image(store: Store, layers: Sequence[Layer], *entrypoint: str) -> Image:
    """An image of these layers."""
    environment = ("PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8")
    return make_image(store, layers, environment=environment, entrypoint=entrypoint)
