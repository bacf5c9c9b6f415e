"""The image as a value: descriptors of blobs that lie in the store.

No bytes here, only names of bytes. `recipec.image.build` makes one; layouts, archives, engines and
registries read it.
"""

from __future__ import annotations

from dataclasses import dataclass

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

ROOT = "/opt/recipec"
"""Where recipe/, model/ and data/ stand inside the image."""
OUTPUT = "/out"
"""Where a run may write; the only writable mount beside /tmp."""
TRAINED = "/trained"
ADAPTED = "/adapted"
"""Where evaluation finds what training wrote, read-only."""
PREFIX = f"{ROOT}/python"
"""Where the wheels stand beside the Python of an image that ours begins with."""
BORROWED = "base-image"
"""Kind of the layers of that image."""
USER = "65532:65532"
"""The non-root user and group that training runs as."""


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """A blob in the store: OCI media type, digest, size in bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: a gzip blob, the digest of its tar, and what it holds in words."""

    kind: str
    """base, base-image, mounts, wheel, wheels, model, data, runtime or recipe."""
    name: str
    blob: Descriptor
    diff_id: str
    cached: bool
    """Whether the layer was in the store already and no byte of it was made."""

    @property
    def borrowed(self) -> bool:
        """Whether it is another image's, whose blob need not lie in the store."""
        return self.kind == BORROWED


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image whose every blob lies in the store, or in a registry if it is borrowed: two
    manifests over the same blobs."""

    manifest: Descriptor
    """OCI manifest."""
    schema2: Descriptor
    """Docker schema2 manifest over the same config and layers.

    An image that was pulled has one manifest of either kind, which then stands in both places."""
    config: Descriptor
    layers: tuple[Layer, ...]
