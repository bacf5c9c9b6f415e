"""The pin of a base: what is taken, what is kept, what is refused before any layer is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipec.errors import StaleLock, UnusableBase
from recipec.image.image import DOCKER_LAYER, OCI_LAYER, Layer
from recipec.pins.baseimage import Served, environment_of, fits, pin_base, shadowed
from recipec.pins.bundle import needs
from recipec.pins.changes import describe
from recipec.pins.lockfile import (
    BaseImage,
    BaseLayer,
    Lock,
    Model,
    Platform,
    Wheel,
    from_json,
    to_json,
)
from recipec.store import Store, canonical, sha256
from tests.support.foreign import config_of, layers_of, python, served, system

DIGEST = "sha256:" + "d" * 64


class Here:
    """A source that serves what lies in a store, and remembers what it was asked."""

    def __init__(self, store: Store, answer: Served) -> None:
        self.store = store
        self.answer = answer
        self.asked: list[str] = []

    def image(self) -> Served:
        self.asked.append("image")
        return self.answer

    def config(self, digest: str, size: int) -> bytes:
        assert (digest, size) == (self.answer.config, len(self.answer.data))
        self.asked.append("config")
        self.store.add_bytes(self.answer.data)
        return self.answer.data

    def layer(self, layer: BaseLayer) -> Path:
        self.asked.append(layer.digest)
        return self.store.path(layer.digest)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def layers(store: Store) -> tuple[Layer, ...]:
    return layers_of(store, system(), python())


def pin(here: Here, old: BaseImage | None = None, *, locked: bool = False) -> BaseImage:
    return pin_base(
        "org/python", DIGEST, old=old, source=lambda: here, has=here.store.has, locked=locked
    )


def here_of(store: Store, layers: Sequence[Layer], kind: str = OCI_LAYER, **more: Any) -> Here:
    return Here(store, served(layers, config_of(layers, **more), kind))


@pytest.mark.parametrize("kind", [OCI_LAYER, DOCKER_LAYER])
def test_the_pin_says_all_that_a_build_needs(
    store: Store, layers: tuple[Layer, ...], kind: str
) -> None:
    here = here_of(store, layers, kind)
    base = pin(here)
    assert (base.repository, base.digest, base.manifest) == (
        "org/python",
        DIGEST,
        here.answer.manifest,
    )
    assert base.config == sha256(here.answer.data)
    assert [(x.digest, x.diff_id, x.media_type) for x in base.layers] == [
        (x.blob.digest, x.diff_id, kind) for x in layers
    ]
    assert (base.interpreter, base.python, base.glibc) == (
        "/usr/local/bin/python3.11",
        "3.11",
        "2.36",
    )
    assert [(p.name, p.version) for p in base.packages] == [("pip", "24.0")]


def test_a_pin_that_fits_is_kept_and_nobody_is_asked(
    store: Store, layers: tuple[Layer, ...]
) -> None:
    here = here_of(store, layers)
    base = pin(here)
    here.asked.clear()
    assert pin(here, base) == base
    assert here.asked == ["config"]  # which the store did not have
    here.asked.clear()
    assert pin(here, base, locked=True) == base
    assert here.asked == []
    assert not fits(base, "org/other", DIGEST)
    assert not fits(None, "org/python", DIGEST)


def test_another_base_is_pinned_anew_unless_locked(store: Store, layers: tuple[Layer, ...]) -> None:
    here = here_of(store, layers)
    old = replace(pin(here), digest="sha256:" + "0" * 64)
    assert pin(here, old).digest == DIGEST
    with pytest.raises(StaleLock) as caught:
        pin(here, old, locked=True)
    assert caught.value.message == (
        "the lock does not fit: the base is now org/python@sha256:dddddddddddd"
    )


def refusal(here: Here) -> str:
    with pytest.raises(UnusableBase) as caught:
        pin(here)
    # What a manifest and a config tell costs no layer.
    assert here.asked == ["image"]
    return caught.value.message


def test_another_platform(store: Store, layers: tuple[Layer, ...]) -> None:
    said = refusal(here_of(store, layers, architecture="arm64"))
    assert said == "it is for linux/arm64, and recipec's images are for linux/amd64"
    assert "windows/amd64" in refusal(here_of(store, layers, os="windows"))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "is compressed with zstd, which older engines cannot read",
        ),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "is encrypted"),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "lies outside the registry",
        ),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "lies outside the registry"),
        (
            "application/vnd.oci.image.layer.v1.tar",
            "is of the kind 'application/vnd.oci.image.layer.v1.tar', and not a gzip'ed tar",
        ),
    ],
)
def test_layers_that_cannot_be_used(
    store: Store, layers: tuple[Layer, ...], kind: str, why: str
) -> None:
    assert refusal(here_of(store, layers, kind)) == f"its layer {layers[0].blob.digest} {why}"


def test_a_config_that_does_not_fit(store: Store, layers: tuple[Layer, ...]) -> None:
    short = {"type": "layers", "diff_ids": [layers[0].diff_id]}
    fault = "its config does not fit its layers"
    assert refusal(here_of(store, layers, rootfs=short)) == fault
    assert refusal(here_of(store, layers, rootfs=None)) == fault
    named = {"diff_ids": ["md5:1", "md5:2"]}
    assert "by sha256" in refusal(here_of(store, layers, rootfs=named))
    for settings in ({"Env": "PATH=/bin"}, {"Cmd": [1]}, {"Entrypoint": {"a": 1}}):
        assert refusal(here_of(store, layers, settings=settings)) == "its config cannot be read"
    broken = replace(served(layers, {}), data=b"{")
    assert refusal(Here(store, broken)) == "its config cannot be read"


def test_too_many_layers_and_none(store: Store, layers: tuple[Layer, ...]) -> None:
    many = layers[:1] * 61
    assert refusal(here_of(store, many)) == "it has 61 layers; up to 60 leave room for ours"
    assert refusal(here_of(store, ())) == "it has 0 layers; up to 60 leave room for ours"


@pytest.mark.parametrize("path", ["opt", "out", "trained"])
def test_a_link_where_ours_puts_a_folder(store: Store, path: str) -> None:
    layers = layers_of(store, {**system(), **python(), path: "/srv"})
    with pytest.raises(UnusableBase, match=f"it has a link at /{path}, where ours puts a folder"):
        pin(here_of(store, layers))


def lock_of(base: BaseImage | None, *wheels: tuple[str, str]) -> Lock:
    return Lock(
        recipe="tiny",
        recipe_digest=sha256(b""),
        platform=Platform(python="3.11", debian="") if base else Platform(),
        uv="0",
        layer_format=1,
        wheels=tuple(
            Wheel(name=name, version=version, file=f"{name}.whl", sha256=sha256(b""), size=1)
            for name, version in wheels
        ),
        debs=(),
        base=base,
        model=Model(source="path:m", files=()),
        data=(),
    )


def test_a_lock_holds_it_only_where_there_is_one(store: Store, layers: tuple[Layer, ...]) -> None:
    base = pin(here_of(store, layers))
    lock = lock_of(base)
    assert from_json(to_json(lock)) == lock
    assert b'"base"' not in to_json(lock_of(None))
    assert b"://" not in to_json(lock)
    assert describe(lock_of(None), lock) == (
        "base: Debian packages -> org/python@sha256:dddddddddddd",
        "platform, debian: bookworm -> none",
    )
    assert describe(lock, replace(lock, base=replace(base, glibc="2.40"))) == (
        "base org/python@sha256:dddddddddddd: other facts",
    )


def test_a_bundle_holds_its_config_and_every_layer(store: Store, layers: tuple[Layer, ...]) -> None:
    base = pin(here_of(store, layers))
    blobs, files = needs(lock_of(base))
    assert blobs.keys() == {base.config, *(layer.digest for layer in base.layers)}
    assert {blob.name for blob in blobs.values()} == {"org/python: config", "org/python: layer"}
    assert not files


def test_what_our_wheels_hide_is_told_once(store: Store, layers: tuple[Layer, ...]) -> None:
    lock = lock_of(pin(here_of(store, layers)), ("pip", "26.3"), ("torch", "2.13.0"))
    said = ("pip 24.0 of the base is hidden by 26.3 of the lock",)
    assert shadowed(None, lock) == said
    assert shadowed(lock, lock) == ()
    assert shadowed(replace(lock, wheels=()), lock) == said
    assert shadowed(None, replace(lock, wheels=lock.wheels[1:])) == ()
    same = replace(lock, wheels=(replace(lock.wheels[0], version="24.0"),))
    assert shadowed(None, same) == ()
    assert shadowed(None, lock_of(None, ("pip", "26.3"))) == ()


def test_variables_of_a_config() -> None:
    config = {"config": {"Env": ["A=1", "B=x=y", "C="]}}
    assert environment_of(config) == {"A": "1", "B": "x=y", "C": ""}
    assert environment_of({"config": None}) == {}
    assert canonical(environment_of({})) == b"{}"
