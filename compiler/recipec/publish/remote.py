"""Reading small things from a repository: manifests, configs, what is attached to them.

In: a reference by tag or digest. Out: bytes that are checked against their digest wherever it is
known. Layers are never fetched here. It writes only what `recipec.publish.referrers` and
`recipec.publish.signatures` hand it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipec.errors import EnvironmentLacks, HashMismatch, visible
from recipec.image.image import OCI_MANIFEST, Descriptor
from recipec.publish.manifests import DOCKER_LIST, OCI_INDEX, get
from recipec.publish.reference import Target, parse_source
from recipec.publish.refusals import refusal
from recipec.publish.registry import open_session, put_manifest
from recipec.publish.session import Session
from recipec.publish.upload import Upload
from recipec.publish.wire import LIMIT, Answer
from recipec.store import DIGEST, Store, sha256


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest or index as the registry gave it."""

    descriptor: Descriptor
    data: bytes

    @property
    def plain(self) -> dict[str, Any]:
        """The manifest as JSON. Raises EnvironmentLacks if it is not a JSON object."""
        return as_object(self.data, self.descriptor.digest)


def as_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises EnvironmentLacks for anything else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EnvironmentLacks(f"{what} is not what a registry should hold: no JSON object")
    return found


def rows_of(plain: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in a list of a manifest or index; what is no object does not count."""
    found = plain.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def object_of(plain: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object in another one; empty if it is none."""
    found = plain.get(key)
    return found if isinstance(found, dict) else {}


def parse_place(text: str) -> tuple[Target, str]:
    """`registry/name[:tag][@digest]`: where it lies, and the tag or digest to ask for.

    Raises UsageError with the way out.
    """
    source = parse_source(text)
    tag = source.tag or "latest"
    target = Target(registry=source.registry, repository=source.repository, tag=tag)
    return target, source.wanted


class Remote:
    """One repository of one registry."""

    def __init__(
        self,
        target: Target,
        *,
        write: bool = False,
        plain_http: bool = False,
        session: Session | None = None,
    ) -> None:
        """`session`, if there is one already, says itself what it may do."""
        self.target = target
        self.session = session or open_session(target, write=write, plain_http=plain_http)

    @property
    def name(self) -> str:
        """`registry/repository`."""
        return f"{self.target.registry}/{self.target.repository}"

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest or index of a tag or digest; None if there is none.

        Raises HashMismatch if the bytes are not those of the digest that was asked for.
        """
        answer = get(self.session, self.target.repository, reference)
        if answer is None:
            return None
        digest = sha256(answer.data)
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        kind = str(as_object(answer.data, self.name).get("mediaType") or kind or OCI_MANIFEST)
        about = Descriptor(media_type=kind, digest=digest, size=len(answer.data))
        return Manifest(descriptor=about, data=answer.data)

    def image(self, reference: str) -> Manifest:
        """The manifest of an image; of an index, the one for linux/amd64, or its only one.

        Raises EnvironmentLacks if there is none.
        """
        found = self.manifest(reference)
        if found is None:
            raise EnvironmentLacks(
                f"{self.name} has nothing under {reference}",
                hint="check the tag or digest; `recipec push` puts an image there",
            )
        if found.descriptor.media_type not in (OCI_INDEX, DOCKER_LIST):
            return found
        rows = rows_of(found.plain, "manifests")
        fits = [row for row in rows if _is_for_us(object_of(row, "platform"))] or rows[:1]
        wanted = str(fits[0].get("digest")) if fits else ""
        inner = self.manifest(wanted) if DIGEST.fullmatch(wanted) else None
        if inner is None or inner.descriptor.media_type in (OCI_INDEX, DOCKER_LIST):
            raise EnvironmentLacks(f"the index {self.name}@{reference} leads to no image")
        return inner

    def blob(self, descriptor: Mapping[str, Any]) -> bytes:
        """A small blob by its plain descriptor. Raises HashMismatch for other bytes."""
        digest, size = str(descriptor.get("digest")), descriptor.get("size")
        if not DIGEST.fullmatch(digest) or not isinstance(size, int) or size > LIMIT:
            shown = visible(f"{digest} with {size} bytes")
            raise EnvironmentLacks(f"{self.name} names a blob that is not read: {shown}")
        answer = self.session.request("GET", f"/v2/{self.target.repository}/blobs/{digest}")
        if answer.status != 200:
            raise refusal(answer, f"to give the blob {digest}", self.target.registry)
        if sha256(answer.data) != digest:
            raise HashMismatch(f"a blob in {self.name}", expected=digest, found=sha256(answer.data))
        return answer.data

    def put_blob(self, data: bytes, media_type: str, store: Store) -> Descriptor:
        """Upload a small blob by way of the store; its descriptor."""
        blob = Descriptor(media_type=media_type, digest=store.add_bytes(data), size=len(data))
        repository = self.target.repository
        Upload(
            self.session, repository, blob, lambda: store.path(blob.digest), lambda _: None
        ).run()
        return blob

    def put_manifest(self, data: bytes, media_type: str, reference: str) -> Answer:
        """Put a manifest or index under a tag or its digest; the registry's answer."""
        about = Descriptor(media_type=media_type, digest=sha256(data), size=len(data))
        return put_manifest(self.session, self.target, reference, about, data)


def _is_for_us(platform: Mapping[str, Any]) -> bool:
    return platform.get("os") == "linux" and platform.get("architecture") == "amd64"
