"""A folder from which BuildKit makes an image of the same files as ours.

In: an image whose blobs lie in the store, its lock, the wheel of pip. Out: Dockerfile,
requirements.txt, folders.py, base.tar.gz, pip/, wheels/, and model, data, runtime and recipe as
files. The same image and lock give the same folder, byte for byte and mode for mode. It stands
whole or not at all, and asks no network.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from recipec.emit.bundle import Bundle
from recipec.emit.dockerfile import dockerfile_bundle
from recipec.errors import EnvironmentLacks
from recipec.image.image import OUTPUT, ROOT, TRAINED, Image, Layer
from recipec.image.layout import link_or_copy
from recipec.image.names import safe
from recipec.pins.lockfile import Lock, Wheel
from recipec.store import CHUNK, Store, disk_error, make_folder

COPIED = ("model", "data", "runtime", "recipe")
"""Kinds of layers that are files in the context, in image order; each is a folder below ROOT."""
_FOLDERS = {OUTPUT: 0o1777, TRAINED: 0o755}


def write_twin(
    image: Image, lock: Lock, store: Store, folder: Path, *, name: str, pip: Wheel, wheels: bool
) -> None:
    """Make `folder` the context of the image's twin; with `wheels` every wheel lies in it.

    The caller sees to it that nobody else writes there meanwhile. Raises EnvironmentLacks when a
    blob has left the store or the disk refuses.
    """
    layers = {layer.kind: layer for layer in image.layers if layer.kind in (*COPIED, "base")}
    texts = dockerfile_bundle(
        json.loads(store.read(image.config.digest)),
        lock,
        name=name,
        pip=pip,
        root=ROOT,
        copied=[kind for kind in COPIED if kind in layers],
        folders=_FOLDERS,
        offline=wheels,
    )
    blobs = {f"pip/{pip.file}": pip.sha256, "base.tar.gz": layers["base"].blob.digest}
    if wheels:
        blobs |= {f"wheels/{wheel.file}": wheel.sha256 for wheel in lock.wheels}
    parent = make_folder(folder.parent)
    for left in parent.glob(f".{folder.name}-*"):  # by a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}-"))
    try:
        _write_texts(beside, texts)
        _place_blobs(beside, blobs, store)
        for kind in COPIED:
            if kind in layers:
                _unpack(layers[kind], store, beside)
        _set_modes(beside, kept={beside / path for path in blobs})
        _swap(beside, folder)
    except OSError as error:
        raise disk_error(error, parent) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_texts(folder: Path, texts: Bundle) -> None:
    for path, data in texts:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _place_blobs(folder: Path, blobs: Mapping[str, str], store: Store) -> None:
    for path, digest in blobs.items():
        if not store.has(digest):
            raise EnvironmentLacks(
                f"the blob {digest} of {path} is no longer in the cache",
                hint="build the image again; `recipec lock` fetches what is pinned",
            )
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(store.path(digest), target)


def _unpack(layer: Layer, store: Store, folder: Path) -> None:
    """The files of a layer of ours, which are all below ROOT."""
    if not store.has(layer.blob.digest):
        raise EnvironmentLacks(
            f"the layer {layer.blob.digest} is no longer in the cache",
            hint="build the image again",
        )
    with (
        gzip.open(store.path(layer.blob.digest)) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            source = archive.extractfile(member) if member.isreg() else None
            if source is None:
                continue
            inside = safe(member.name.removeprefix(f"{ROOT.lstrip('/')}/"), f"the {layer.kind}")
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(source, out, CHUNK)


def _set_modes(folder: Path, *, kept: Collection[Path]) -> None:
    """COPY keeps modes, so they must not be the umask's; `kept` may be the store's own files."""
    for path in (folder, *folder.rglob("*")):
        if path not in kept:
            path.chmod(0o755 if path.is_dir() else 0o644)


def _swap(new: Path, place: Path) -> None:
    """Put a finished folder where an older one may stand."""
    if place.exists():
        old = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
        try:
            place.rename(old / "old")
            new.rename(place)
        finally:
            shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(place)
