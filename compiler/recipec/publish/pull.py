"""pull: an image out of a registry and into the store, every byte as the registry has it.

In: a reference by tag or digest. Out: the image, whose every blob was checked against its digest
and lies in the store. An index is followed to one platform. Nothing is unpacked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from recipec.errors import UnsafeInput
from recipec.image.image import DOCKER_CONFIG, OCI_CONFIG, Descriptor, Image, Layer
from recipec.progress import Progress
from recipec.publish.blobs import Download
from recipec.publish.manifests import LARGEST_CONFIG, Index, Manifest, choose, fetch
from recipec.publish.parallel import each, largest_first
from recipec.publish.reference import Source, parse_source
from recipec.publish.registry import open_session, remember
from recipec.publish.session import Session
from recipec.store import Store

PLATFORM = "linux/amd64"
"""What recipec's images are for."""


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """An image that was pulled. `image` has one manifest: as both the OCI and the schema2 one.

    `received` is the bytes of the blobs that were not in the store yet.
    """

    source: Source
    image: Image
    received: int

    @property
    def reference(self) -> str:
        """The image by its digest."""
        return f"{self.source.place}@{self.image.manifest.digest}"

    @property
    def name(self) -> str:
        """A name with a tag, as layouts and archives want one; of the digest if none was given."""
        tag = self.source.tag or self.image.manifest.digest.replace(":", "-")[:19]
        return f"{self.source.place}:{tag}"


def pull(
    reference: str,
    store: Store,
    *,
    progress: Progress,
    plain_http: bool = False,
    platform: str = PLATFORM,
) -> Pulled:
    """Pull an image. Plain HTTP is used for loopback registries, for others with `plain_http`.

    Raises UsageError for a wrong reference, EnvironmentLacks when the registry cannot be reached,
    refuses or has no such image, HashMismatch when it gives other bytes than the digest's,
    UnsafeInput when what it gives is no image.
    """
    source = parse_source(reference)
    session = open_session(source, write=False, plain_http=plain_http)
    found = fetch(session, source.repository, source.wanted)
    if isinstance(found, Index):
        about = choose(found, platform, str(source))
        found = fetch(session, source.repository, about.digest, about=about)
    if not isinstance(found, Manifest) or found.config.media_type not in {
        OCI_CONFIG,
        DOCKER_CONFIG,
    }:
        raise UnsafeInput(
            f"{source} is no image", hint="`recipec copy` copies artifacts of any kind"
        )
    if found.config.size > LARGEST_CONFIG:
        raise UnsafeInput(f"{source} has a config of {found.config.size} bytes")
    received = _receive(session, source, found, store, progress)
    store.add_bytes(found.data)
    return Pulled(source=source, image=_image(found, store, str(source)), received=received)


def _receive(
    session: Session, source: Source, manifest: Manifest, store: Store, progress: Progress
) -> int:
    blobs = largest_first((manifest.config, *manifest.layers))
    missing = sum(blob.size for blob in blobs if not store.has(blob.digest))
    task = progress.begin(f"pulling from {source.registry}", sum(blob.size for blob in blobs))

    def receive(blob: Descriptor) -> None:
        Download(
            session, source.repository, blob, store, lambda amount: progress.advance(task, amount)
        ).run()
        remember(store, source.registry, source.repository, blob.digest)

    each(blobs, receive, session)
    progress.end(task)
    return missing


def _image(manifest: Manifest, store: Store, name: str) -> Image:
    """The image of a manifest whose blobs are in the store."""
    try:
        config = json.loads(store.read(manifest.config.digest))
        diff_ids = config["rootfs"]["diff_ids"]
        words = [
            _words(step) for step in config.get("history") or [] if not step.get("empty_layer")
        ]
        pairs = list(zip(manifest.layers, map(str, diff_ids), strict=True))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UnsafeInput(f"the config of {name} does not fit its layers") from None
    if len(words) != len(pairs):
        words = [("layer", "")] * len(pairs)
    return Image(
        manifest=manifest.about,
        schema2=manifest.about,
        config=manifest.config,
        layers=tuple(
            Layer(kind=kind, name=said, blob=blob, diff_id=diff_id, cached=True)
            for (blob, diff_id), (kind, said) in zip(pairs, words, strict=True)
        ),
    )


def _words(step: dict[str, Any]) -> tuple[str, str]:
    """Kind and name of a layer, as our own configs write them in the history."""
    mark, _, rest = str(step.get("created_by", "")).partition(": ")
    kind, colon, name = rest.partition(": ")
    return (kind, name) if mark == "recipec" and colon else ("layer", "")
