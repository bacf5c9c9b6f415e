"""An image as one tar file that everything loads.

In: an image and its store. Out: a tar that is an OCI layout and a docker archive at once: `docker
load`, `podman load`, `skopeo copy oci-archive:` and `docker-archive:` read it. The same image under
the same reference gives the same bytes.
"""

from __future__ import annotations

from typing import BinaryIO

from recipec.errors import EnvironmentLacks
from recipec.image import tarball
from recipec.image.image import Image
from recipec.image.layout import LAYOUT, blobs, index
from recipec.store import CHUNK, Store, canonical

_RECORD = 20 * tarball.BLOCK


def write_archive(image: Image, store: Store, stream: BinaryIO, *, reference: str) -> None:
    """Write the archive to `stream`, which need not seek.

    `reference` is a full name with a tag, such as registry.example/team/legal-t5:latest. Raises
    EnvironmentLacks if a blob has left the cache.
    """
    out = _Archive(stream)
    out.folder("blobs/")
    out.folder("blobs/sha256/")
    for blob in blobs(image):
        out.blob(store, blob.digest, blob.size)
    out.file("index.json", index(image, reference))
    out.file("manifest.json", _docker(image, reference))
    out.file("oci-layout", LAYOUT)
    out.end()


def _inside(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _docker(image: Image, reference: str) -> bytes:
    """manifest.json, by which docker finds its way in an archive."""
    return canonical(
        [
            {
                "Config": _inside(image.config.digest),
                "RepoTags": [reference],
                "Layers": [_inside(layer.blob.digest) for layer in image.layers],
            }
        ]
    )


class _Archive:
    """A tar being written."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = 0

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._size += len(data)

    def folder(self, path: str) -> None:
        self._write(tarball.header(path, kind=tarball.DIRECTORY, mode=0o755))

    def file(self, path: str, data: bytes) -> None:
        self._write(tarball.header(path, kind=tarball.REGULAR, mode=0o644, size=len(data)))
        self._write(data + tarball.padding(len(data)))

    def blob(self, store: Store, digest: str, size: int) -> None:
        path = store.path(digest)
        if not path.is_file() or path.stat().st_size != size:
            raise EnvironmentLacks(
                f"the blob {digest} is no longer in the cache", hint="build the image again"
            )
        self._write(tarball.header(_inside(digest), kind=tarball.REGULAR, mode=0o644, size=size))
        with path.open("rb") as source:
            while chunk := source.read(CHUNK):
                self._write(chunk)
        self._write(tarball.padding(size))

    def end(self) -> None:
        self._write(tarball.END)
        self._write(bytes(-self._size % _RECORD))
