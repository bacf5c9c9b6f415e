"""What lies beside images: evidence that names one as its subject, and signatures by cosign's tag.

In: a repository and digests of manifests in it. Out: the manifests that are about them, and about
those again; and the same beside the same digests in another repository, where nothing that lies
there already is lost. Manifests only: their blobs are the caller's to move.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recipec.errors import UnsafeInput
from recipec.publish.manifests import Index, Manifest, fetch, get, parse
from recipec.publish.referrers import Referrer, list_by_tag, referrers
from recipec.publish.remote import Remote, rows_of
from recipec.publish.signatures import add_layers, tag_of
from recipec.store import Store

_MOST = 1000
"""Companions of one image that are followed."""


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A manifest about the manifest `subject`; `referrer` is None for signatures under a tag."""

    manifest: Manifest
    subject: str
    referrer: Referrer | None


def companions(remote: Remote, subjects: Iterable[str]) -> list[Companion]:
    """Everything about these manifests, each digest once, in the registry's order.

    Raises UnsafeInput for more than anybody would attach, or for what cannot be trusted.
    """
    found: list[Companion] = []
    waiting = list(subjects)
    seen = set(waiting)
    while waiting:
        subject = waiting.pop(0)
        beside = [*_referring(remote, subject), *_signing(remote, subject)]
        for one in beside:
            found.append(one)
            digest = one.manifest.about.digest
            if one.referrer is not None and digest not in seen:
                seen.add(digest)
                waiting.append(digest)
        if len(found) > _MOST:
            raise UnsafeInput(f"{remote.name} has more than {_MOST} manifests about {subject}")
    return found


def put_companions(remote: Remote, beside: Sequence[Companion], store: Store) -> None:
    """Put them into the repository, whose blobs they name already.

    Raises EnvironmentLacks when the registry refuses, HashMismatch when it changes bytes.
    """
    for one in beside:
        about, data = one.manifest.about, one.manifest.data
        if one.referrer is None:
            _sign(remote, one, store)
            continue
        answer = remote.put_manifest(data, about.media_type, about.digest)
        if answer.headers.get("OCI-Subject") != one.subject:
            list_by_tag(remote, one.subject, [one.referrer])


def _referring(remote: Remote, subject: str) -> list[Companion]:
    repository, beside = remote.target.repository, []
    for row in referrers(remote, subject):
        manifest = fetch(remote.session, repository, row.manifest.digest)
        if isinstance(manifest, Index):
            raise UnsafeInput(f"{remote.name}@{row.manifest.digest} is an index as evidence")
        beside.append(Companion(manifest=manifest, subject=subject, referrer=row))
    return beside


def _signing(remote: Remote, subject: str) -> list[Companion]:
    tag = tag_of(subject)
    answer = get(remote.session, remote.target.repository, tag)
    if answer is None:
        return []
    kind = answer.headers.get("Content-Type", "")
    manifest = parse(answer.data, kind, f"{remote.name}:{tag}")
    if isinstance(manifest, Index):
        raise UnsafeInput(f"{remote.name}:{tag} is an index in place of signatures")
    return [Companion(manifest=manifest, subject=subject, referrer=None)]


def _sign(remote: Remote, one: Companion, store: Store) -> None:
    """The signatures as they are; beside those that the digest has there already, if any."""
    tag = tag_of(one.subject)
    if remote.manifest(tag) is None:
        remote.put_manifest(one.manifest.data, one.manifest.about.media_type, tag)
    else:
        add_layers(remote, one.subject, rows_of(json.loads(one.manifest.data), "layers"), store)
