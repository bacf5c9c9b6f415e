"""The same image for another user: the layers of ours, and a config that differs in `User` alone.

In: an image whose config and manifests lie in the store. Out: the image as root, which follows from
ours and from nothing else: a config and two manifests of a few KB. No layer is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from recipec.image.image import USER, Descriptor, Image
from recipec.store import Store, canonical, sha256

ROOT = "0:0"
"""User and group of the variant. SageMaker's folders are root's, and it has no field for a user."""


def as_root(image: Image, store: Store) -> Image:
    """The image as root, its config and manifests in the store."""
    config, *manifests = _changed(image.config.digest, _manifests(image), store.read)
    kinds = (image.config, image.manifest, image.schema2)
    settings, oci, docker = (
        Descriptor(media_type=kind.media_type, digest=store.add_bytes(data), size=len(data))
        for kind, data in zip(kinds, (config, *manifests), strict=True)
    )
    return replace(image, config=settings, manifest=oci, schema2=docker)


def root_digests(config: str, manifests: Sequence[str], store: Store) -> tuple[str, ...]:
    """The digests of an image's manifests as root, in the same order; nothing is stored."""
    _, *made = _changed(config, manifests, store.read)
    return tuple(map(sha256, made))


def _manifests(image: Image) -> tuple[str, str]:
    return image.manifest.digest, image.schema2.digest


def _changed(
    config: str, manifests: Sequence[str], read: Callable[[str], bytes]
) -> tuple[bytes, ...]:
    """The bytes of the config and of each manifest, as root."""
    settings = _for(json.loads(read(config)), ROOT)
    about = {"digest": sha256(settings), "size": len(settings)}
    made = [settings]
    for digest in manifests:
        plain = json.loads(read(digest))
        made.append(canonical({**plain, "config": {**plain["config"], **about}}))
    return tuple(made)


def _for(config: Mapping[str, Any], user: str) -> bytes:
    return canonical({**config, "config": {**config["config"], "User": user}})


def original_of(config: Mapping[str, Any], digest: str) -> str:
    """The digest of the config that one is the variant of; empty if it is no variant of ours.

    Ours are canonical JSON: what its own values do not give back to the byte, another has written.
    """
    if sha256(canonical(config)) != digest or (config.get("config") or {}).get("User") != ROOT:
        return ""
    return sha256(_for(config, USER))
