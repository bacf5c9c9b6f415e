"""A layer's blob becomes a folder, once, and only if its bytes are the promised ones.

In: layers whose gzip blobs lie in the store. Out: `Tree`s under `rootfs/DIFF_ID_HEX/` of the
store: `tree/` holds the files, `layer.json` the whiteouts. A folder gets that name by one rename
after the whole tar hashed to its diff_id, so a kill or a full disk leaves nothing that counts.
Owners are not kept: every file belongs to the caller. Devices and set-id bits are never made;
devices in /dev are passed over.
"""

# ruff: noqa: PTH101, PTH102, PTH108, PTH211
# os, not pathlib: tens of thousands of files, and plain calls are several times faster.

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from recipec.errors import EnvironmentLacks, HashMismatch, UnsafeInput
from recipec.filelocks import hold
from recipec.image.image import Layer
from recipec.progress import Progress, Silent
from recipec.store import Store, disk_error, make_folder, write_atomically
from recipec.tarstream import TarStream


@dataclass(frozen=True, kw_only=True)
class Tree:
    """An unpacked layer: `removed` paths hide what is below, `opaque` folders all below them."""

    folder: Path
    removed: frozenset[str]
    opaque: frozenset[str]


def unpack_layers(
    layers: Sequence[Layer], store: Store, *, jobs: int = 0, progress: Progress | None = None
) -> tuple[Tree, ...]:
    """Every layer as a folder, bottom first, unpacking what is not there yet.

    Raises HashMismatch for a layer whose tar is not its diff_id, UnsafeInput for one that reaches
    out of its folder, EnvironmentLacks when the disk is full.
    """
    progress = progress or Silent()
    fresh = [layer for layer in layers if not _folder(layer, store).is_dir()]
    if fresh:
        task = progress.begin("unpacking", sum(layer.blob.size for layer in fresh))

        def one(layer: Layer) -> None:
            _unpack_once(layer, store)
            progress.advance(task, layer.blob.size)

        # Inflating, hashing and writing release the interpreter lock. Largest first.
        fresh.sort(key=lambda layer: (-layer.blob.size, layer.diff_id))
        with ThreadPoolExecutor(max_workers=jobs or min(4, os.cpu_count() or 1)) as pool:
            for done in [pool.submit(one, layer) for layer in fresh]:
                done.result()
        progress.end(task)
    return tuple(_read_tree(_folder(layer, store)) for layer in layers)


def _folder(layer: Layer, store: Store) -> Path:
    return store.root / "rootfs" / layer.diff_id.removeprefix("sha256:")


def _read_tree(folder: Path) -> Tree:
    about: dict[str, Any] = json.loads((folder / "layer.json").read_bytes())
    return Tree(
        folder=folder / "tree",
        removed=frozenset(about["removed"]),
        opaque=frozenset(about["opaque"]),
    )


def _unpack_once(layer: Layer, store: Store) -> None:
    """Unpack under a lock, so that two processes do not write one layer twice."""
    target = _folder(layer, store)
    make_folder(target.parent)
    partial = target.parent / f".new-{target.name}"
    with hold(target.parent / f".lock-{target.name}"):
        if target.is_dir():
            return
        remove_tree(partial)  # left by a run that was killed: nobody else holds the lock
        try:
            _unpack(layer, store, partial)
            partial.rename(target)
        except OSError as error:
            raise disk_error(error, target.parent) from error
        finally:
            remove_tree(partial)


def _unpack(layer: Layer, store: Store, folder: Path) -> None:
    from isal import igzip, igzip_lib

    inflater = cast(type[Exception], igzip_lib.IsalError)
    damaged = (tarfile.TarError, EOFError, igzip.BadGzipFile, inflater)
    (folder / "tree").mkdir(parents=True)
    writer = _TreeWriter(folder / "tree", f"{layer.kind} layer {layer.name}")
    try:
        with (
            store.path(layer.blob.digest).open("rb") as blob,
            igzip.IGzipFile(fileobj=blob, mode="rb") as stream,
        ):
            archive = TarStream(stream)
            for member in archive:
                writer.add(archive, member)
            found = archive.digest()
    except damaged as error:
        raise HashMismatch(
            f"{layer.kind} layer {layer.name}",
            expected=layer.diff_id,
            found=f"bytes that do not unpack ({error})",
            hint="the cached blob is damaged: run `recipec cache verify`, then build again",
        ) from error
    except FileNotFoundError as error:
        raise EnvironmentLacks(
            f"{layer.kind} layer {layer.name} ({layer.blob.digest}) is not in the store",
            hint="run `recipec build` again",
        ) from error
    if found != layer.diff_id:
        raise HashMismatch(
            f"{layer.kind} layer {layer.name}",
            expected=layer.diff_id,
            found=found,
            hint="the cached blob is damaged: run `recipec cache verify`, then build again",
        )
    writer.finish()
    about = {"removed": sorted(writer.removed), "opaque": sorted(writer.opaque)}
    write_atomically(folder / "layer.json", json.dumps(about).encode())


class _TreeWriter:
    """Writes tar members below one folder and nowhere else."""

    def __init__(self, root: Path, what: str) -> None:
        self._root = os.fspath(root)
        self._what = what
        self._folders: dict[str, int] = {"": 0o755}
        self.removed: set[str] = set()
        self.opaque: set[str] = set()

    def add(self, archive: TarStream, member: tarfile.TarInfo) -> None:
        """Write one member. Raises UnsafeInput if it would reach outside."""
        path = self._safe(member.name)
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            self._make_folder(parent)
            self.opaque.add(parent)
        elif name.startswith(".wh."):
            self._make_folder(parent)
            self.removed.add(f"{parent}/{name[4:]}" if parent else name[4:])
        elif member.isdir():
            self._make_folder(path)
            self._folders[path] = (member.mode & 0o777) | 0o700
        elif member.isreg():
            self._file(archive, member, path, parent)
        elif member.issym():
            self._clear(path, parent)
            os.symlink(member.linkname, self._place(path))
        elif member.islnk():
            source = self._safe(member.linkname)
            if source.rpartition("/")[0] not in self._folders:
                raise self._unsafe(member.name, "links to a file outside its layer")
            self._clear(path, parent)
            os.link(self._place(source), self._place(path), follow_symlinks=False)
        elif parent != "dev":  # bases of others may have some there; the sandbox has its own /dev
            raise self._unsafe(member.name, "is a device or a pipe")

    def finish(self) -> None:
        """Give the folders their modes, deepest first, once nothing is written into them."""
        for path in sorted(self._folders, reverse=True):
            os.chmod(self._place(path), self._folders[path])

    def _file(self, archive: TarStream, member: tarfile.TarInfo, path: str, parent: str) -> None:
        self._clear(path, parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._place(path), flags, 0o600)
        try:
            for data in archive.pieces():
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
            os.fchmod(handle, (member.mode & 0o777) | 0o400)
            os.utime(handle, (member.mtime, member.mtime))
        finally:
            os.close(handle)

    def _clear(self, path: str, parent: str) -> None:
        """Make room for `path`: a later member of a tar replaces an earlier one."""
        self._make_folder(parent)
        if path in self._folders:
            raise self._unsafe(path, "is both a folder and a file")
        place = self._place(path)
        if os.path.lexists(place):
            os.unlink(place)

    def _make_folder(self, path: str) -> None:
        if path in self._folders:
            return
        self._make_folder(path.rpartition("/")[0])
        try:
            os.mkdir(self._place(path))
        except FileExistsError:
            # Not a folder that we made, so a file or a link, through which nothing is written.
            raise self._unsafe(path, "is used as a folder but is a link or a file") from None
        self._folders[path] = 0o755

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _safe(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in name:
            raise self._unsafe(name, "leaves its folder")
        return "/".join(parts)

    def _unsafe(self, name: str, why: str) -> UnsafeInput:
        return UnsafeInput(
            f"{self._what}: the member {name!r} {why}",
            hint="the image was not made by recipec, or was changed since; build it again",
        )


def remove_tree(folder: Path) -> None:
    """Remove a folder of unpacked files, whatever their modes."""
    if not folder.is_dir():
        return
    for top, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(top, name)
            if not path.is_symlink() and path.stat().st_mode & stat.S_IRWXU != stat.S_IRWXU:
                path.chmod(0o700)
    shutil.rmtree(folder)
