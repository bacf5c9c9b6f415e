"""An image as an OCI layout: a folder that skopeo, umoci, podman and buildah read.

In: an image and its store. Out: `oci-layout`, `index.json` and `blobs/sha256/`, whose files are
hard links of the store's where the file system allows it. Blobs of earlier images are removed. Of
an image that begins with another one, that one's layers are there if they lie in the store.
index.json is written last, so that a reader never meets a blob that is not there yet.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recipec.errors import EnvironmentLacks
from recipec.image.config import plain
from recipec.image.image import Descriptor, Image, Layer
from recipec.store import Store, canonical, disk_error, make_folder, write_atomically

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_INDEX = "application/vnd.oci.image.index.v1+json"
_SCHEMA2 = "io.recipec.schema2"
"""Annotation of the index: digest of the Docker schema2 manifest over the same blobs."""


def blobs(image: Image) -> tuple[Descriptor, ...]:
    """Every blob of the image, once, in the order of digests."""
    every = (image.manifest, image.schema2, image.config, *(layer.blob for layer in image.layers))
    return tuple({blob.digest: blob for blob in sorted(every, key=lambda b: b.digest)}.values())


def lacking(image: Image, store: Store) -> tuple[Layer, ...]:
    """Borrowed layers of the image whose blobs are not in the store."""
    return tuple(x for x in image.layers if x.borrowed and not store.has(x.blob.digest))


def index(image: Image, reference: str) -> bytes:
    """index.json: one manifest, under its full reference, as containerd, podman and skopeo ask.

    A reference without a host would be taken for `localhost/...` by some of them.
    """
    entry = plain(image.manifest, image.manifest.media_type)
    entry["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference,
    }
    twin = {"annotations": {_SCHEMA2: image.schema2.digest}}
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [entry],
            **(twin if image.schema2 != image.manifest else {}),
        }
    )


def write_layout(image: Image, store: Store, folder: Path, *, reference: str) -> None:
    """Make `folder` the layout of this image. Raises EnvironmentLacks if the disk refuses."""
    target = make_folder(folder / "blobs" / "sha256")
    kept = set()
    absent = {layer.blob.digest for layer in lacking(image, store)}
    try:
        for blob in blobs(image):
            if blob.digest in absent:
                continue
            source = store.path(blob.digest)
            kept.add(source.name)
            _place(source, target / source.name)
        _put(folder / "oci-layout", LAYOUT)
        _put(folder / "index.json", index(image, reference))
        for stale in _stale(target, kept):
            stale.unlink()
    except OSError as error:
        raise disk_error(error, folder) from error


def _put(path: Path, data: bytes) -> None:
    """Write a file unless it is the same already: what did not change keeps its time."""
    if not (path.is_file() and path.read_bytes() == data):
        write_atomically(path, data)


def _stale(folder: Path, kept: set[str]) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.name not in kept)


def _place(source: Path, target: Path) -> None:
    """Link or copy one blob; one that is there already, and whole, stays."""
    try:
        about = source.stat()
    except FileNotFoundError:
        raise EnvironmentLacks(
            f"the blob {source.name} is no longer in the cache", hint="build the image again"
        ) from None
    if target.exists() and _same(target.stat(), about):
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".blob-")
    os.close(handle)
    beside = Path(name)
    try:
        link_or_copy(source, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _same(there: os.stat_result, blob: os.stat_result) -> bool:
    """Whether a file is the blob's own, or a copy of it.

    One that is older than the blob was made from another file of that name, which the store has
    dropped since: perhaps because its bytes were wrong.
    """
    return os.path.samestat(there, blob) or (
        there.st_size == blob.st_size and there.st_mtime_ns >= blob.st_mtime_ns
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Another name of a blob of the store, or a copy where the file system has no such links."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        # Another file system, or one without hard links; the copy reports real trouble.
        shutil.copyfile(source, target)
        target.chmod(0o444)
