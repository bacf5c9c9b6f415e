"""An image of a registry, pinned as the base of ours.

In: a name by digest, somebody who can ask the registry. Out: a `BaseImage`: the manifest for our
platform, its layers, and the Python that was found in them. A pin that fits is kept and asks
nobody. Layers are fetched only where something in them must be looked at, and stay in the store; a
build needs none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recipec.errors import StaleLock, UnusableBase, visible
from recipec.pins.lockfile import BaseImage, BaseLayer, Lock
from recipec.store import DIGEST

GZIP_LAYERS = frozenset(
    {
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
)
_REASONS = {
    "encrypted": "is encrypted",
    "foreign": "lies outside the registry",
    "nondistributable": "lies outside the registry",
    "zstd": "is compressed with zstd, which older engines cannot read",
}
MOST_LAYERS = 60
"""Engines stop at 125 layers, and ours has up to 61 of its own."""
_PATHS = ("opt", "opt/recipec", "out", "trained")
"""Where our own layers put folders."""
_WRONG = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class ServedLayer:
    """A layer as a manifest names it; `size` in bytes."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a registry has under a name: digests of manifest and config, the config's bytes."""

    manifest: str
    config: str
    data: bytes
    layers: tuple[ServedLayer, ...]


class BaseSource(Protocol):
    """The repository of a registry that a base lies in."""

    def image(self) -> Served:
        """The image for linux/amd64, its config in the store.

        Raises EnvironmentLacks where it cannot be had, HashMismatch, UnsafeInput.
        """
        ...

    def config(self, digest: str, size: int) -> bytes:
        """A config by its digest, from the store or into it. Raises as `image` does."""
        ...

    def layer(self, layer: BaseLayer) -> Path:
        """A layer's blob, from the store or into it. Raises as `image` does."""
        ...


def fits(pinned: BaseImage | None, repository: str, digest: str) -> bool:
    """Whether a pin is of the image that a recipe names."""
    return pinned is not None and (pinned.repository, pinned.digest) == (repository, digest)


def pin_base(
    repository: str,
    digest: str,
    *,
    old: BaseImage | None,
    source: Callable[[], BaseSource],
    has: Callable[[str], bool],
    locked: bool,
) -> BaseImage:
    """The pin of an image; `old` if it is one. Its config is in the store afterwards.

    `has` says whether the store has a blob; `source` is only called to fetch something. Raises
    StaleLock when `locked` and it must be pinned anew, UnusableBase for an image that training
    cannot begin with, and what a `BaseSource` raises.
    """
    if old is not None and fits(old, repository, digest):
        if not has(old.config):
            source().config(old.config, old.config_size)
        return old
    if locked:
        raise StaleLock(
            f"the lock does not fit: the base is now {repository}@{digest[:19]}",
            hint="run `recipec lock` (or `recipec build` without --locked) and commit the lock",
        )
    asked = source()
    served = asked.image()
    config = _config(served)
    layers = _layers(served, config)
    return _with_python(repository, digest, served, config, layers, asked.layer)


def _with_python(
    repository: str,
    digest: str,
    served: Served,
    config: Mapping[str, Any],
    layers: tuple[BaseLayer, ...],
    obtain: Callable[[BaseLayer], Path],
) -> BaseImage:
    from recipec.pins.basefiles import Root
    from recipec.pins.basepython import Started, find_python

    root = Root(layers=layers, obtain=obtain)
    settings = config.get("config") or {}
    command = (*(settings.get("Entrypoint") or ()), *(settings.get("Cmd") or ()))
    started = Started(command=command, environment=environment_of(config))
    python = find_python(root, started)
    for path in _PATHS:
        entry = root.entry(path)
        if entry is not None and entry.kind != "folder":
            raise UnusableBase(
                f"it has a {entry.kind} at /{path}, where ours puts a folder",
                hint="make a base without it",
            )
    return BaseImage(
        repository=repository,
        digest=digest,
        manifest=served.manifest,
        config=served.config,
        config_size=len(served.data),
        layers=layers,
        interpreter=python.interpreter,
        python=python.version,
        glibc=python.glibc,
        packages=python.packages,
    )


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The variables that an image sets."""
    settings = config.get("config") or {}
    pairs = (str(row).partition("=") for row in settings.get("Env") or ())
    return {name: value for name, _, value in pairs}


def _config(served: Served) -> dict[str, Any]:
    """The config as JSON, of an image for linux/amd64. Raises UnusableBase."""
    try:
        plain = json.loads(served.data)
        platform = f"{plain.get('os')}/{plain.get('architecture')}"
        settings = plain.get("config") or {}
        kinds = {"Env": list, "Entrypoint": list, "Cmd": list}
        sound = all(isinstance(settings.get(k) or t(), t) for k, t in kinds.items())
        words = [word for key in kinds for word in settings.get(key) or ()]
        if not sound or not all(isinstance(word, str) for word in words):
            raise ValueError("its settings are none")
    except _WRONG:
        raise UnusableBase("its config cannot be read") from None
    if platform != "linux/amd64":
        raise UnusableBase(
            f"it is for {visible(platform)}, and recipec's images are for linux/amd64",
            hint="name the digest of its manifest for linux/amd64, or of its index",
        )
    return dict(plain)


def _layers(served: Served, config: Mapping[str, Any]) -> tuple[BaseLayer, ...]:
    """The layers with the digests of their tars. Raises UnusableBase for what cannot be used."""
    try:
        diff_ids = [str(found) for found in config["rootfs"]["diff_ids"]]
        pairs = list(zip(served.layers, diff_ids, strict=True))
    except _WRONG:
        raise UnusableBase("its config does not fit its layers") from None
    if not all(DIGEST.fullmatch(found) for found in diff_ids):
        raise UnusableBase("its config does not name the tars of its layers by sha256")
    if not 0 < len(pairs) <= MOST_LAYERS:
        raise UnusableBase(
            f"it has {len(pairs)} layers; up to {MOST_LAYERS} leave room for ours",
            hint="squash it",
        )
    for layer, _ in pairs:
        if layer.media_type not in GZIP_LAYERS:
            raise _unusable_layer(layer)
    return tuple(
        BaseLayer(digest=layer.digest, size=layer.size, media_type=layer.media_type, diff_id=found)
        for layer, found in pairs
    )


def _unusable_layer(layer: ServedLayer) -> UnusableBase:
    reasons = (why for word, why in _REASONS.items() if word in layer.media_type)
    why = next(reasons, f"is of the kind {visible(layer.media_type)!r}, and not a gzip'ed tar")
    hint = "`skopeo copy --dest-compress-format gzip` makes one that every engine reads"
    return UnusableBase(
        f"its layer {layer.digest} {why}",
        hint=hint if "encrypted" not in layer.media_type else "decrypt it into a registry first",
    )


def shadowed(old: Lock | None, lock: Lock) -> tuple[str, ...]:
    """What the lock's wheels hide of the base: its packages of the same name and another version.

    Nothing where `old` had the same base and wheels: it has been said then.
    """
    if lock.base is None or (
        old is not None and (old.base, old.wheels) == (lock.base, lock.wheels)
    ):
        return ()
    wheels = {wheel.name: wheel.version for wheel in lock.wheels}
    return tuple(
        f"{found.name} {found.version} of the base is hidden by {wheels[found.name]} of the lock"
        for found in lock.base.packages
        if wheels.get(found.name, found.version) != found.version
    )
