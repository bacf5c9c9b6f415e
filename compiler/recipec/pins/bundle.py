"""A bundle: every input of a recipe's locks in one file, for machines without a network.

In: blobs of the store and files of the project, by digest. Out: one plain tar whose bytes depend on
these alone; and back. The first member, bundle.json, names all others with size and sha256, and the
last one holds its own; the headers follow from it, so that a reader accepts exactly the bytes that
a writer makes and nothing else that a tar can hold. Nothing is put into the store or the project
here.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from recipec.errors import EnvironmentLacks, HashMismatch, UnsafeInput
from recipec.pins.lockfile import Lock
from recipec.pins.models import place_in_project
from recipec.progress import Progress
from recipec.store import CHUNK, DIGEST, canonical, disk_error

BUNDLE_VERSION = 1
MANIFEST = "bundle.json"
SUM = "bundle.sha256"
"""The last member: the manifest's digest, as `sha256sum` writes it."""
_MTIME = 315_619_200
"""Seconds: 1980-01-02, which no tool takes for a mistake."""
_BLOCK = 512
_MOST = 64 << 20
"""Bytes of a manifest."""
_NEVER = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_HINT = "copy it again, or make it anew with `recipec bundle`; nothing of it was taken"


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A blob of the store: a wheel, a package, a file of a model. `name` is for people."""

    name: str
    sha256: str
    size: int

    @property
    def member(self) -> str:
        """Its name in the bundle."""
        return f"blobs/sha256/{self.sha256.removeprefix('sha256:')}"


@dataclass(frozen=True, kw_only=True)
class ProjectFile:
    """A file of the project; `path` is relative to the project's root."""

    path: str
    sha256: str
    size: int

    @property
    def member(self) -> str:
        """Its name in the bundle."""
        return f"project/{self.path}"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle holds, and of which recipe."""

    bundle: int = BUNDLE_VERSION
    recipe: str
    """The recipe's file, relative to the project's root."""
    members: tuple[str, ...]
    """Members of the recipe's matrix; one empty name for a recipe without a matrix."""
    whole: bool
    """Whether these are all members that the recipe has."""
    blobs: tuple[Blob, ...]
    files: tuple[ProjectFile, ...]

    @property
    def entries(self) -> tuple[Blob | ProjectFile, ...]:
        """Everything in the order of the tar."""
        return (*self.blobs, *self.files)

    @property
    def size(self) -> int:
        """Bytes of all that the bundle holds."""
        return sum(entry.size for entry in self.entries)


def needs(lock: Lock) -> tuple[dict[str, Blob], dict[str, ProjectFile]]:
    """What a build of this lock reads: blobs of the store by digest, project's files by path."""
    named = [(w.file, w.sha256, w.size) for w in lock.wheels]
    named += [(d.file, d.sha256, d.size) for d in lock.debs]
    if lock.base is not None:
        base, name = lock.base, lock.base.repository
        named.append((f"{name}: config", base.config, base.config_size))
        named += [(f"{name}: layer", layer.digest, layer.size) for layer in base.layers]
    places = [(s.path, s.sha256, s.size) for file in lock.data for s in file.read_from]
    source = lock.model.source
    for file in lock.model.files:
        if source.startswith("path:"):
            places.append((place_in_project(source, file.path), file.sha256, file.size))
        else:
            named.append((f"{source}: {file.path}", file.sha256, file.size))
    return (
        {digest: Blob(name=n, sha256=digest, size=size) for n, digest, size in named},
        {path: ProjectFile(path=path, sha256=d, size=size) for path, d, size in places},
    )


def write_bundle(
    manifest: Manifest, sources: Mapping[str, Path], out: BinaryIO, progress: Progress
) -> str:
    """Write the bundle; its digest. `sources` says where each member's bytes lie.

    Raises HashMismatch for a file that is not what the manifest says, EnvironmentLacks for one that
    cannot be read, OSError when `out` takes no more.
    """
    found = hashlib.sha256()
    task = progress.begin("bundle", manifest.size)

    def write(data: bytes) -> None:
        found.update(data)
        out.write(data)

    try:
        write(_member_of(MANIFEST, _text(manifest)))
        for entry in manifest.entries:
            write(_header(entry.member, entry.size))
            for chunk in _chunks(entry, sources[entry.member]):
                write(chunk)
                progress.advance(task, len(chunk))
            write(bytes(-entry.size % _BLOCK))
        write(_end(manifest))
    finally:
        progress.end(task)
    return "sha256:" + found.hexdigest()


def read_manifest(stream: BinaryIO, name: str) -> Manifest:
    """The manifest of a bundle, checked. Raises UnsafeInput, and EnvironmentLacks for a newer one.

    `name` is the file's, for messages.
    """
    head = stream.read(_BLOCK)
    try:
        size = tarfile.TarInfo.frombuf(head, "ascii", "strict").size
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError):
        size = -1
    if not 0 <= size <= _MOST or head != _header(MANIFEST, size):
        raise _refused(name, "is not a bundle that `recipec bundle` wrote")
    text = _read(stream, size, name)
    _padding(stream, size, name)
    try:
        version = msgspec.json.decode(text).get("bundle")
        if version != BUNDLE_VERSION:
            raise EnvironmentLacks(
                f"{name} is a bundle of version {version}, this recipec reads {BUNDLE_VERSION}",
                hint="use the recipec that wrote it",
            )
        manifest = msgspec.json.decode(text, type=Manifest, strict=True)
        _check(manifest)
        if _text(manifest) != text:
            raise ValueError("it is written in another way than ours")
    except (msgspec.MsgspecError, AttributeError, ValueError) as error:
        raise _refused(name, f"has a {MANIFEST} that cannot be right: {error}") from error
    return manifest


def receive(
    stream: BinaryIO,
    manifest: Manifest,
    place: Callable[[Blob | ProjectFile], Path | None],
    progress: Progress,
    name: str,
) -> None:
    """Read all members after the manifest, each to the file that `place` gives, if it gives one.

    Raises HashMismatch or UnsafeInput for a bundle that is not whole to its last byte.
    """
    task = progress.begin("bundle", manifest.size)
    try:
        for entry in manifest.entries:
            wanted = _header(entry.member, entry.size)
            if _read(stream, len(wanted), name) != wanted:
                raise _refused(name, f"is damaged: {entry.member} does not follow")
            _member(stream, entry, place(entry), progress, task, name)
            _padding(stream, entry.size, name)
        wanted = _end(manifest)
        if _read(stream, len(wanted), name) != wanted or stream.read(1):
            raise _refused(name, "is damaged: it does not end where it should")
    finally:
        progress.end(task)


def _member(
    stream: BinaryIO,
    entry: Blob | ProjectFile,
    target: Path | None,
    progress: Progress,
    task: int,
    name: str,
) -> None:
    found, left = hashlib.sha256(), entry.size
    try:
        out = target.open("xb") if target is not None else None
        try:
            while left:
                chunk = _read(stream, min(left, CHUNK), name)
                found.update(chunk)
                left -= len(chunk)
                if out is not None:
                    out.write(chunk)
                progress.advance(task, len(chunk))
        finally:
            if out is not None:
                out.close()
    except OSError as error:
        raise disk_error(error, target.parent if target else Path(name)) from error
    digest = "sha256:" + found.hexdigest()
    if digest != entry.sha256:
        raise HashMismatch(
            f"{name}: {entry.member}", expected=entry.sha256, found=digest, hint=_HINT
        )


def _chunks(entry: Blob | ProjectFile, source: Path) -> Iterator[bytes]:
    """A file's bytes, if they are what they should be when all are read."""
    found, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                found.update(chunk)
                size += len(chunk)
                if size > entry.size:
                    break
                yield chunk
    except OSError as error:
        raise EnvironmentLacks(f"cannot read {source}: {error.strerror}") from error
    digest = "sha256:" + found.hexdigest()
    if digest != entry.sha256:
        label = entry.name if isinstance(entry, Blob) else entry.path
        hint = "`recipec cache verify --repair` drops what has changed in the store"
        raise HashMismatch(label, expected=entry.sha256, found=digest, hint=hint)


def _text(manifest: Manifest) -> bytes:
    return canonical(msgspec.to_builtins(manifest)) + b"\n"


def _member_of(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % _BLOCK)


def _end(manifest: Manifest) -> bytes:
    """What follows the last blob and file: the manifest's sum, and two empty blocks."""
    line = f"{hashlib.sha256(_text(manifest)).hexdigest()}  {MANIFEST}\n"
    return _member_of(SUM, line.encode()) + bytes(2 * _BLOCK)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, _MTIME
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _read(stream: BinaryIO, size: int, name: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise _refused(name, "is cut off")
    return data


def _padding(stream: BinaryIO, size: int, name: str) -> None:
    if any(_read(stream, -size % _BLOCK, name)):
        raise _refused(name, "is damaged: there is something between its members")


def _check(manifest: Manifest) -> None:
    """Raises ValueError for what no writer writes."""
    digests = [blob.sha256 for blob in manifest.blobs]
    paths = [file.path for file in manifest.files]
    for what, names in (("blobs", digests), ("files", paths), ("members", [*manifest.members])):
        if names != sorted(set(names)):
            raise ValueError(f"its {what} are not in order")
    for entry in manifest.entries:
        if not DIGEST.fullmatch(entry.sha256) or entry.size < 0:
            raise ValueError(f"no digest and size: {entry.sha256}, {entry.size}")
    for path in (*paths, manifest.recipe):
        if not safe_path(path):
            raise ValueError(f"a path that leaves the project: {path!a}")
    if manifest.recipe not in paths or not manifest.members:
        raise ValueError("it holds no recipe")


def safe_path(path: str) -> bool:
    """Whether a path is relative, normal and below the project's root."""
    pure = PurePosixPath(path)
    plain = not _NEVER.search(path) and not pure.is_absolute()
    return plain and str(pure) == path and path != "." and ".." not in pure.parts


def _refused(name: str, what: str) -> UnsafeInput:
    return UnsafeInput(f"{name} {what}", hint=_HINT)
