"""From pinned inputs to an image: the pass `image`.

In: a lock, the emitted recipe, the runtime, where each pinned file lies. Out: an `Image` whose
every blob lies in the store. What was made once is never made again: each layer's record is filed
under a key of everything that its bytes depend on. The result does not depend on `jobs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipec.emit.bundle import Bundle
from recipec.errors import EnvironmentLacks
from recipec.image.config import config, manifest
from recipec.image.image import (
    BORROWED,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Image,
    Layer,
)
from recipec.image.spec import WHEELS, Spec, layer_specs
from recipec.image.work import Task, checked_key, known_layer, run_tasks
from recipec.pins.baseimage import environment_of
from recipec.pins.lockfile import BaseImage, Lock
from recipec.progress import Progress
from recipec.store import Store


def build_image(
    lock: Lock,
    *,
    recipe: Bundle,
    runtime: Bundle,
    environment: Sequence[tuple[str, str]],
    sources: Mapping[str, Path],
    store: Store,
    jobs: int,
    progress: Progress,
    promised: Mapping[str, str] | None = None,
) -> Image:
    """Make every layer that the store lacks, then config and manifests.

    `sources` gives the local file of every digest in the lock. `jobs` is the number of worker
    processes; 1 stays in this one. `promised` are the diff_ids of layers by the digests of their
    blobs, as a lock has them: nothing in such a layer is inflated again. Raises UnsafeInput for
    wheels and packages that must not be unpacked or do not fit together, HashMismatch for a file
    that is not what was pinned, EnvironmentLacks when a file is missing or the disk is full.
    """
    promised = dict(promised or {})
    specs = layer_specs(lock, recipe=recipe, runtime=runtime, sources=sources)
    cached = {spec.key for spec in specs if known_layer(store, spec.key, promised) is not None}
    tasks = [
        Task(kind="layer", specs=(spec,), promised=promised)
        for spec in specs
        if spec.key not in cached
    ]
    wheels = tuple(spec for spec in specs if spec.kind in WHEELS)
    unchecked = [Task(kind="check", specs=wheels)]
    if store.record("checked", checked_key(wheels)) is not None:
        unchecked = []
    if not promised:
        tasks, unchecked = tasks + unchecked, []
    if tasks:
        run_tasks(tasks, store, jobs=jobs, progress=progress)
    layers = tuple(_layer(spec, store, promised, cached=spec.key in cached) for spec in specs)
    # Layers that stood beside each other in the locked image were held against each other then.
    if unchecked and any(one.kind in WHEELS and one.blob.digest not in promised for one in layers):
        run_tasks(unchecked, store, jobs=jobs, progress=progress)
    borrowed = _borrowed(lock.base) if lock.base is not None else ()
    return _assemble(lock, (*borrowed, *layers), environment, store)


def _borrowed(base: BaseImage) -> tuple[Layer, ...]:
    """The layers of the image that ours begins with, as they are."""
    return tuple(
        Layer(
            kind=BORROWED,
            name=f"{base.repository}@{base.manifest} {number}/{len(base.layers)}",
            blob=Descriptor(media_type=OCI_LAYER, digest=layer.digest, size=layer.size),
            diff_id=layer.diff_id,
            cached=True,
        )
        for number, layer in enumerate(base.layers, 1)
    )


def _inherited(base: BaseImage | None, store: Store) -> dict[str, str]:
    """The variables of the image that ours begins with."""
    if base is None:
        return {}
    try:
        return environment_of(json.loads(store.read(base.config)))
    except FileNotFoundError:
        raise EnvironmentLacks(
            f"the config of the base, {base.config}, is not in the store",
            hint="`recipec lock` fetches what is pinned",
        ) from None


def _layer(spec: Spec, store: Store, promised: Mapping[str, str], *, cached: bool) -> Layer:
    record = known_layer(store, spec.key, promised)
    assert record is not None, spec.key
    blob = Descriptor(media_type=OCI_LAYER, digest=str(record["digest"]), size=int(record["size"]))
    return Layer(
        kind=spec.kind, name=spec.name, blob=blob, diff_id=str(record["diff_id"]), cached=cached
    )


def _assemble(
    lock: Lock, layers: tuple[Layer, ...], environment: Sequence[tuple[str, str]], store: Store
) -> Image:
    data = config(lock, layers, environment, _inherited(lock.base, store))
    settings = _blob(store, OCI_CONFIG, data)
    return Image(
        manifest=_blob(store, OCI_MANIFEST, manifest(settings, layers, docker=False)),
        schema2=_blob(store, DOCKER_MANIFEST, manifest(settings, layers, docker=True)),
        config=settings,
        layers=layers,
    )


def _blob(store: Store, media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=store.add_bytes(data), size=len(data))
