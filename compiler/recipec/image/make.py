"""Making one layer.

In: a `Spec`, a store, what a lock promises. Out: the layer's blob in the store and its record,
which says digest, diff_id and size. Runs in worker processes too: whatever it is given can be
pickled, and it prints nothing. Inputs that are not blobs of the store are hashed before or while
they are read.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import BinaryIO, cast

from recipec.errors import HashMismatch, UnsafeInput
from recipec.image.format import CHUNK
from recipec.image.layer import LayerWriter
from recipec.image.record import Placed
from recipec.image.spec import WHEELS, Input, Spec
from recipec.image.target import Target
from recipec.image.wheel import install
from recipec.image.zipfiles import STORED, ZipFile
from recipec.store import Store, digest_of_file, make_folder

Record = dict[str, str | int | bool]
"""digest, diff_id and size of a layer, as the store keeps it under `layers`; and `promised`, where
the diff_id is a lock's word."""
Watch = Callable[[int], None]


def make_layer(
    spec: Spec,
    store: Store,
    watch: Watch = lambda _: None,
    promised: Mapping[str, str] | None = None,
) -> Record:
    """Make the layer and file its record. Raises UnsafeInput, HashMismatch, EnvironmentLacks.

    `promised` are diff_ids by blob digest. A layer that comes out as one of these blobs is, to the
    byte, what was inflated and looked at when the lock was made, so that is not done again; one
    that does not is made once more, with its eyes open. Where there is nothing to inflate, nothing
    is taken on trust.
    """
    record = _write(spec, store, watch, promised) if promised and not spec.files else None
    if record is None:
        record = _write(spec, store, watch, None)
    assert record is not None, "only a promise can be missed"
    store.put_record("layers", spec.key, record)
    return record


def _write(
    spec: Spec, store: Store, watch: Watch, promised: Mapping[str, str] | None
) -> Record | None:
    """The layer's record, its blob in the store; None for a blob that was not promised."""
    with store.writer() as blob:
        # Of packages, progress is told as they are read; writing only asks whether to go on.
        told = (lambda _: watch(0)) if spec.kind == "base" else watch
        blind = promised is not None
        layer = LayerWriter(blob, match=bool(spec.files), blind=blind, watch=told)
        if spec.kind == "base":
            _base(layer, spec, store, watch)
        elif spec.kind in WHEELS:
            _wheels(layer, spec, store)
        else:
            _files(layer, spec, store)
        diff_id = layer.close()
        if promised is not None:
            diff_id = promised.get(blob.digest)
        if diff_id is None:
            return None
        record: Record = {"digest": blob.commit(), "diff_id": diff_id, "size": blob.size}
    return record | {"promised": True} if promised is not None else record


def verify(source: Input, store: Store) -> None:
    """Raises HashMismatch if a file that is not the store's own is not the one that was pinned."""
    if source.path == store.path(source.digest):
        return
    found = digest_of_file(source.path)
    if found != source.digest:
        raise HashMismatch(source.name, expected=source.digest, found=found)


def _base(layer: LayerWriter, spec: Spec, store: Store, watch: Watch) -> None:
    from recipec.image.base import write_base
    from recipec.image.debs import read_deb

    folder = make_folder(store.root / "tmp")
    with tempfile.TemporaryFile(dir=folder) as spool:
        handle = cast("BinaryIO", spool)
        packages = []
        for source in spec.inputs:
            verify(source, store)
            packages.append(read_deb(source.path, source.name, handle))
            watch(source.size)
        write_base(layer, packages, handle, spec.python)


def _wheels(layer: LayerWriter, spec: Spec, store: Store) -> None:
    """Every file of the wheels in the order of paths; one that two wheels share, once."""
    target = Target(python=spec.python, elsewhere=spec.elsewhere)
    with ExitStack() as stack:
        found: dict[str, tuple[ZipFile, Placed]] = {}
        for source in spec.inputs:
            verify(source, store)
            wheel = stack.enter_context(ZipFile(source.path, source.name))
            for placed in install(wheel, target):
                found.setdefault(placed.path, (wheel, placed))
        for _, (wheel, placed) in sorted(found.items()):
            try:
                _place(layer, wheel, placed)
            except UnsafeInput as error:
                raise UnsafeInput(f"{wheel.label}: {error.message}", hint=error.hint) from error


def _place(layer: LayerWriter, wheel: ZipFile, placed: Placed) -> None:
    member = placed.member
    if member is None:
        layer.file(placed.path, placed.data, placed.mode)
    elif member.method == STORED:
        layer.stream(
            placed.path,
            size=member.size,
            chunks=wheel.chunks(member),
            crc=member.crc,
            mode=placed.mode,
        )
    else:
        layer.splice(
            placed.path,
            size=member.size,
            crc=member.crc,
            chunks=wheel.chunks(member),
            mode=placed.mode,
            tail=placed.data,
        )


def _files(layer: LayerWriter, spec: Spec, store: Store) -> None:
    for name, mode in spec.folders:
        layer.folder(name, mode)
    for name, data in spec.files:
        layer.file(name, data)
    for source in spec.inputs:
        layer.stream(source.name, size=source.size, chunks=_checked(source, store))


def _checked(source: Input, store: Store) -> Iterator[bytes]:
    """A file's bytes; the last of them only if all of them are what was pinned."""
    found = hashlib.sha256()
    trusted = source.path == store.path(source.digest)
    size = 0
    with source.path.open("rb") as stream:
        while data := stream.read(CHUNK):
            size += len(data)
            if not trusted:
                found.update(data)
            if size > source.size:
                break
            yield data
    digest = source.digest if trusted else "sha256:" + found.hexdigest()
    if size != source.size:
        raise HashMismatch(source.name, expected=f"{source.size} bytes", found=f"{size} or more")
    if digest != source.digest:
        raise HashMismatch(source.name, expected=source.digest, found=digest)
