"""Evidence beside an image in a registry: manifests that name it as their `subject`.

In: an image's manifest in a repository, and documents about it. Out: OCI 1.1 artifact manifests
there, and what is attached already. A registry that keeps no referrers itself gets them in an index
under the tag `sha256-HEX`, which two writers at once may overwrite: it is read back after writing.

Sources: OCI image-spec 1.1 (manifest.md, "Guidelines for Artifact Usage"), distribution-spec 1.1
("Pushing Manifests with Subject", "Listing Referrers", "Referrers Tag Schema").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from recipec.errors import EnvironmentLacks
from recipec.image.image import OCI_MANIFEST, Descriptor
from recipec.publish.manifests import OCI_INDEX
from recipec.publish.refusals import refusal
from recipec.publish.remote import Remote, as_object, object_of, rows_of
from recipec.store import DIGEST, Store, canonical, sha256

EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
_TRIES = 4
_PAGES = 20
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A document to attach: its media type is the artifact's type too."""

    media_type: str
    title: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Referrer:
    """A manifest that is about another one."""

    manifest: Descriptor
    artifact_type: str
    annotations: Mapping[str, str]


def attach(
    remote: Remote, subject: Descriptor, artifacts: Sequence[Artifact], store: Store
) -> tuple[Descriptor, ...]:
    """Put the artifacts beside `subject`; their manifests. What is there already is not doubled.

    Raises EnvironmentLacks when the registry refuses, HashMismatch when it changes bytes.
    """
    pushed: list[Descriptor] = []
    unlisted: list[Referrer] = []
    for artifact in artifacts:
        config = remote.put_blob(b"{}", EMPTY, store)
        blob = remote.put_blob(artifact.data, artifact.media_type, store)
        data = _manifest(subject, config, blob, artifact)
        manifest = Descriptor(media_type=OCI_MANIFEST, digest=sha256(data), size=len(data))
        answer = remote.put_manifest(data, OCI_MANIFEST, manifest.digest)
        pushed.append(manifest)
        if answer.headers.get("OCI-Subject") != subject.digest:
            unlisted.append(
                Referrer(
                    manifest=manifest,
                    artifact_type=artifact.media_type,
                    annotations=_annotations(artifact),
                )
            )
    if unlisted:
        list_by_tag(remote, subject.digest, unlisted)
    return tuple(pushed)


def referrers(remote: Remote, digest: str) -> tuple[Referrer, ...]:
    """Everything that is attached to the manifest of `digest`, in the registry's order."""
    rows: list[dict[str, Any]] = []
    url = f"/v2/{remote.target.repository}/referrers/{digest}"
    for page in range(_PAGES):
        answer = remote.session.request("GET", url, headers={"Accept": OCI_INDEX})
        if answer.status in {400, 404, 405} and page == 0:  # a registry without this endpoint
            found = remote.manifest(_tag(digest))
            rows = rows_of(found.plain, "manifests") if found is not None else []
            break
        if answer.status != 200:
            raise refusal(answer, "to list what is attached", remote.target.registry)
        rows += rows_of(as_object(answer.data, f"the referrers of {digest}"), "manifests")
        following = _NEXT.search(answer.headers.get("Link", ""))
        if following is None:
            break
        url = urljoin(url, following[1])
    return tuple(_referrer(row) for row in rows if DIGEST.fullmatch(str(row.get("digest"))))


def document(remote: Remote, referrer: Referrer) -> bytes:
    """The one document of an attached artifact. Raises EnvironmentLacks if it has not just one."""
    found = remote.manifest(referrer.manifest.digest)
    layers = rows_of(found.plain, "layers") if found is not None else []
    if len(layers) != 1:
        raise EnvironmentLacks(
            f"{remote.name}@{referrer.manifest.digest} is listed as evidence and holds"
            f" {len(layers)} documents, not one"
        )
    return remote.blob(layers[0])


def _manifest(
    subject: Descriptor, config: Descriptor, blob: Descriptor, artifact: Artifact
) -> bytes:
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact.media_type,
            "config": _plain(config),
            "layers": [{**_plain(blob), "annotations": {TITLE: artifact.title}}],
            "subject": _plain(subject),
            "annotations": _annotations(artifact),
        }
    )


def _annotations(artifact: Artifact) -> dict[str, str]:
    return {TITLE: artifact.title}


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def list_by_tag(remote: Remote, subject: str, new: Sequence[Referrer]) -> None:
    """Add to the index under the subject's tag whatever it does not list yet.

    Raises EnvironmentLacks if somebody else keeps writing it.
    """
    tag = _tag(subject)
    for _ in range(_TRIES):
        found = remote.manifest(tag)
        rows = rows_of(found.plain, "manifests") if found is not None else []
        there = {row.get("digest") for row in rows}
        missing = [_row(one) for one in new if one.manifest.digest not in there]
        if not missing:
            return
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows + missing}
        remote.put_manifest(canonical(index), OCI_INDEX, tag)
    raise EnvironmentLacks(
        f"{remote.name}:{tag} keeps being overwritten by somebody else", hint="attest again"
    )


def _row(referrer: Referrer) -> dict[str, Any]:
    """A descriptor as the list of referrers holds it."""
    return {
        **_plain(referrer.manifest),
        "artifactType": referrer.artifact_type,
        "annotations": dict(referrer.annotations),
    }


def _referrer(row: Mapping[str, Any]) -> Referrer:
    return Referrer(
        manifest=Descriptor(
            media_type=str(row.get("mediaType", "")),
            digest=str(row.get("digest", "")),
            size=row["size"] if isinstance(row.get("size"), int) else 0,
        ),
        artifact_type=str(row.get("artifactType", "")),
        annotations={str(k): str(v) for k, v in object_of(row, "annotations").items()},
    )
