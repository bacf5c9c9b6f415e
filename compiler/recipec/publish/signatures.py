"""Signatures of images in a registry, laid out as cosign does.

In: a manifest's digest and a key. Out: a manifest under the tag `sha256-HEX.sig`, whose layers are
simple-signing payloads with the signature as annotation; or the word that a key has signed. No
transparency log and no certificate: whoever verifies has the public key. Other signers' layers
stay as they are, and the same key signs only once.

Sources: cosign's SIGNATURE_SPEC; containers-signature(5) for the payload.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from recipec.errors import NotSigned
from recipec.evidence.keys import Signer, Verifier
from recipec.image.image import OCI_CONFIG, OCI_MANIFEST
from recipec.publish.remote import Remote, as_object, object_of, rows_of
from recipec.store import Store, canonical

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
TYPE = "cosign container image signature"
_NEVER = "0001-01-01T00:00:00Z"
"""The time that cosign writes for no time."""


def tag_of(digest: str) -> str:
    """Where cosign looks for the signatures of a manifest."""
    return f"{digest.replace(':', '-')}.sig"


def payload(name: str, digest: str) -> bytes:
    """What is signed: that `digest` is meant by `name` (registry/repository)."""
    return canonical(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": digest},
                "type": TYPE,
            },
            "optional": None,
        }
    )


def sign(remote: Remote, digest: str, signer: Signer, store: Store) -> None:
    """Put a signature of `digest` beside it, unless this key's is there."""
    data = payload(remote.name, digest)
    signature = base64.b64encode(signer.sign(data)).decode("ascii")
    layers = _layers(remote, digest)
    if any(object_of(row, "annotations").get(ANNOTATION) == signature for row in layers):
        return
    blob = remote.put_blob(data, PAYLOAD, store)
    row = {
        "mediaType": PAYLOAD,
        "digest": blob.digest,
        "size": blob.size,
        "annotations": {ANNOTATION: signature},
    }
    _put(remote, digest, [*layers, row], store)


def add_layers(remote: Remote, digest: str, rows: list[dict[str, Any]], store: Store) -> None:
    """Put signatures beside those of `digest` that are there; their blobs must be there, too."""
    layers = _layers(remote, digest)
    missing = [row for row in rows if row not in layers]
    if missing:
        _put(remote, digest, layers + missing, store)


def _put(remote: Remote, digest: str, layers: list[dict[str, Any]], store: Store) -> None:
    config = remote.put_blob(_config(layers), OCI_CONFIG, store)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size},
        "layers": layers,
    }
    remote.put_manifest(canonical(manifest), OCI_MANIFEST, tag_of(digest))


def verify(remote: Remote, digest: str, verifier: Verifier) -> dict[str, Any]:
    """The payload that the key has signed for `digest`.

    Raises NotSigned if there is none: what another key signed does not count, nor what this key
    signed for another digest.
    """
    layers = _layers(remote, digest)
    for data in _signed(remote, layers, verifier):
        found = _critical(data)
        if found.get("type") == TYPE and _image(found) == digest:
            plain: dict[str, Any] = json.loads(data)
            return plain
    count = len(layers)
    said = "nobody has signed it" if not count else f"none of {count} signatures is of this key"
    raise NotSigned(
        f"{remote.name}@{digest} is not signed by the key: {said}",
        hint="check that this is the signer's public key; do not use the image otherwise",
    )


def _signed(remote: Remote, layers: list[dict[str, Any]], verifier: Verifier) -> Iterator[bytes]:
    """The payloads with a signature of the key that holds."""
    for row in layers:
        try:
            signature = base64.b64decode(object_of(row, "annotations")[ANNOTATION], validate=True)
        except (KeyError, TypeError, ValueError):
            continue
        if row.get("mediaType") == PAYLOAD:
            data = remote.blob(row)
            if verifier.holds(signature, data):
                yield data


def _layers(remote: Remote, digest: str) -> list[dict[str, Any]]:
    found = remote.manifest(tag_of(digest))
    return rows_of(found.plain, "layers") if found is not None else []


def _critical(data: bytes) -> Mapping[str, Any]:
    return object_of(as_object(data, "a signed payload"), "critical")


def _image(critical: Mapping[str, Any]) -> str:
    return str(object_of(critical, "image").get("docker-manifest-digest", ""))


def _config(layers: list[dict[str, Any]]) -> bytes:
    """The config that makes a signature look like an image: its layers are their own diff_ids."""
    return canonical(
        {
            "architecture": "",
            "os": "",
            "created": _NEVER,
            "config": {},
            "history": [{"created": _NEVER} for _ in layers],
            "rootfs": {"type": "layers", "diff_ids": [row["digest"] for row in layers]},
        }
    )
