"""Manifests and indexes as a registry serves them.

In: bytes from a registry, which nobody vouches for. Out: a `Manifest` or an `Index` whose bytes
have the digest that was asked for, with every descriptor checked; or HashMismatch, or UnsafeInput
saying what is wrong. Specifications: OCI image-spec 1.1 (manifest.md, image-index.md), Docker image
manifest V2, schema 2. The bytes are kept as they came: nothing is written anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from recipec.errors import EnvironmentLacks, HashMismatch, UnsafeInput, visible
from recipec.image.image import DOCKER_MANIFEST, OCI_MANIFEST, Descriptor
from recipec.publish.session import Session
from recipec.publish.wire import Answer
from recipec.store import DIGEST, sha256

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST))
"""What we ask for; older kinds are not among them."""

LARGEST_CONFIG = 8 << 20
"""Bytes: a config is read into memory."""
_LARGEST = 1 << 50
"""Bytes: no blob is larger."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One image's manifest."""

    about: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of an index; `platform` is os/architecture, empty where none is said."""

    about: Descriptor
    platform: str


@dataclass(frozen=True, kw_only=True)
class Index:
    """Manifests of one image for several platforms."""

    about: Descriptor
    data: bytes
    entries: tuple[Entry, ...]


def fetch(
    session: Session, repository: str, wanted: str, *, about: Descriptor | None = None
) -> Manifest | Index:
    """The manifest or index that a tag or digest names; `about` is what an index said of it.

    Raises EnvironmentLacks if there is none, HashMismatch if the bytes or the registry's own words
    are of another digest, UnsafeInput if it is no manifest that can be trusted.
    """
    name = _name(session, repository, wanted)
    answer = get(session, repository, wanted)
    if answer is None:
        raise EnvironmentLacks(f"there is no {name}", hint="check the name and the tag")
    if about is not None and about.size != len(answer.data):
        raise _broken(name, "its size is not what the index says")
    return parse(answer.data, answer.headers.get("Content-Type", ""), name)


def get(session: Session, repository: str, wanted: str) -> Answer | None:
    """The registry's answer for a tag or digest, its bytes checked; None if it has nothing there.

    Raises EnvironmentLacks if it refuses, HashMismatch as `fetch` does.
    """
    answer = session.request(
        "GET", f"/v2/{repository}/manifests/{wanted}", headers={"Accept": ACCEPT}
    )
    if answer.status == 404:
        return None
    name = _name(session, repository, wanted)
    if answer.status != 200:
        raise session.refusal(answer, f"the manifest of {name}")
    digest = sha256(answer.data)
    told = answer.headers.get("Docker-Content-Digest", "") or digest
    for expected in (wanted if ":" in wanted else digest, told):
        if expected != digest:
            raise HashMismatch(f"the manifest of {name}", expected=expected, found=digest)
    return answer


def has(session: Session, repository: str, digest: str) -> bool:
    """Whether a repository has a manifest. Raises EnvironmentLacks if the registry does not say."""
    answer = session.request(
        "HEAD", f"/v2/{repository}/manifests/{digest}", headers={"Accept": ACCEPT}
    )
    if answer.status in {200, 404}:
        return answer.status == 200
    raise session.refusal(answer, f"to say whether it has {_name(session, repository, digest)}")


def _name(session: Session, repository: str, wanted: str) -> str:
    return f"{session.registry}/{repository}{'@' if ':' in wanted else ':'}{wanted}"


def parse(data: bytes, content_type: str, name: str) -> Manifest | Index:
    """Bytes as what they are; `name` is for messages. Raises UnsafeInput."""
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        raise _broken(name, "it is not JSON") from None
    if not isinstance(plain, dict) or plain.get("schemaVersion") != 2:
        raise _broken(name, "it is not of schema version 2")
    served = content_type.partition(";")[0].strip()
    kind = plain.get("mediaType", served)
    if "manifests" in plain and ("layers" in plain or "config" in plain):
        raise _broken(name, "it is an index and a manifest at once")
    about = Descriptor(media_type=str(kind), digest=sha256(data), size=len(data))
    if kind in {OCI_INDEX, DOCKER_LIST}:
        entries = tuple(_entry(entry, name) for entry in _list(plain, "manifests", name))
        return Index(about=about, data=data, entries=entries)
    if kind in {OCI_MANIFEST, DOCKER_MANIFEST}:
        return Manifest(
            about=about,
            data=data,
            config=_descriptor(plain.get("config"), name),
            layers=tuple(_descriptor(layer, name) for layer in _list(plain, "layers", name)),
        )
    raise _broken(name, f"it is of the kind {visible(str(kind))!r}")


def choose(index: Index, platform: str, name: str) -> Descriptor:
    """The manifest for a platform. Raises EnvironmentLacks with the platforms that there are."""
    found = [entry.about for entry in index.entries if entry.platform == platform]
    if found:
        return found[0]
    every = sorted({entry.platform for entry in index.entries if entry.platform})
    raise EnvironmentLacks(
        f"{name} has nothing for {platform}", hint=f"it has {visible(', '.join(every)) or 'none'}"
    )


def _entry(plain: Any, name: str) -> Entry:
    about = _descriptor(plain, name)
    platform = plain.get("platform")
    if not isinstance(platform, dict):
        return Entry(about=about, platform="")
    return Entry(about=about, platform=f"{platform.get('os')}/{platform.get('architecture')}")


def _list(plain: dict[str, Any], key: str, name: str) -> list[Any]:
    found = plain.get(key)
    if not isinstance(found, list):
        raise _broken(name, f"it has no {key}")
    return found


def _descriptor(plain: Any, name: str) -> Descriptor:
    if not isinstance(plain, dict):
        raise _broken(name, "a descriptor is missing")
    digest, size, kind = plain.get("digest"), plain.get("size"), plain.get("mediaType", "")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise _broken(name, "a digest is not sha256 and 64 hex digits")
    if type(size) is not int or not 0 <= size <= _LARGEST:
        raise _broken(name, f"the size of {digest} is no size")
    if not isinstance(kind, str) or plain.get("urls"):
        raise _broken(name, f"the blob {digest} lies outside the registry")
    return Descriptor(media_type=kind, digest=digest, size=size)


def _broken(name: str, why: str) -> UnsafeInput:
    return UnsafeInput(
        f"the manifest of {name} cannot be used: {why}",
        hint="pull an image with an OCI or a Docker schema2 manifest",
    )
