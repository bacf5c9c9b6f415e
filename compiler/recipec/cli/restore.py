"""`recipec build --from-bundle FILE RECIPE`: what a bundle holds, put where a build looks for it.

In: a bundle, the recipe's path. Out: blobs in the store, and in the project the files that are not
there yet; the recipe itself may be one of them. A file that is there and differs is refused before
anything is read. Nothing is put anywhere until the bundle was read to its last byte and found whole
and complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipec.cli.project import Project, root_of
from recipec.errors import EnvironmentLacks, HashMismatch, UnsafeInput, UsageError
from recipec.pins.bundle import Blob, Manifest, ProjectFile, needs, read_manifest, receive
from recipec.pins.lockfile import from_json
from recipec.progress import Progress
from recipec.store import Store, disk_error, make_folder, replacing


@dataclass(frozen=True, kw_only=True)
class Restored:
    """How much a bundle brought: blobs into the store, files into the project."""

    blobs: int
    files: int


def restore(bundle: Path, recipes: Sequence[Path], store: Store, progress: Progress) -> Restored:
    """Bring in what the bundle has and is not here.

    Raises UsageError for a bundle of another recipe, HashMismatch for a file here that is another,
    HashMismatch or UnsafeInput for a bundle that is damaged or incomplete, EnvironmentLacks.
    """
    name = bundle.name
    try:
        stream = bundle.open("rb")
    except OSError as error:
        raise EnvironmentLacks(f"cannot read {bundle}: {error.strerror}") from error
    with stream, store.scratch() as scratch:
        manifest = read_manifest(stream, name)
        root = _root(manifest, recipes, name)
        absent = {file.path for file in manifest.files if not _there(file, root, store, name)}
        kept = [file for file in manifest.files if file.path in absent or _is_lock(file, manifest)]
        lacking = [blob for blob in manifest.blobs if not store.has(blob.sha256)]
        wanted: list[Blob | ProjectFile] = [*kept, *lacking]
        places = {entry: scratch / f"{n}" for n, entry in enumerate(wanted)}
        receive(stream, manifest, places.get, progress, name)
        _refuse_incomplete(manifest, places, name)
        for file in kept:
            if file.path in absent:
                _put_file(places[file], root / file.path)
        for blob in lacking:
            _put_blob(places[blob], blob, store)
    return Restored(blobs=len(lacking), files=len(absent))


def _root(manifest: Manifest, recipes: Sequence[Path], name: str) -> Path:
    """The project's root. Raises UsageError unless every recipe is one that the bundle holds."""
    roots = set()
    for recipe in recipes:
        path, member = _split(recipe, manifest)
        full = path.absolute().resolve()
        root = root_of(full)
        shown = Project(root=root, recipe=full, build=root).relative(full)
        if shown != manifest.recipe:
            raise UsageError(
                f"{name} was made of {manifest.recipe}, and this is {shown}",
                hint=f"name it {manifest.recipe}, in the project's root or an empty folder",
            )
        if not (member in manifest.members or (manifest.whole and not member)):
            wanted = f"member {member!a}" if member else "its matrix as a whole"
            held = ", ".join(f"{manifest.recipe}:{one}" for one in manifest.members if one)
            raise UsageError(
                f"{name} does not hold {wanted}", hint=f"it holds {held or manifest.recipe}"
            )
        roots.add(root)
    (root,) = roots
    return root


def _split(recipe: Path, manifest: Manifest) -> tuple[Path, str]:
    """The file and the member that are meant, though the file may not be there."""
    path, colon, member = str(recipe).rpartition(":")
    named = Path(manifest.recipe).name
    return (Path(path), member) if colon and Path(path).name == named else (recipe, "")


def _there(file: ProjectFile, root: Path, store: Store, name: str) -> bool:
    """Whether the project has the file. Raises HashMismatch if it has another in its place."""
    path = root / file.path
    try:
        if not path.resolve().is_relative_to(root):
            raise UnsafeInput(f"{name}: {file.path} would leave the project by a symbolic link")
        if not path.exists():
            above = next(parent for parent in path.parents if parent.exists())
            if not above.is_dir():
                raise EnvironmentLacks(f"{file.path} cannot be put here: {above} is no folder")
            return False
        digest = store.digest_of(path)
    except OSError as error:
        raise EnvironmentLacks(f"cannot read {path}: {error.strerror or error}") from error
    if digest != file.sha256:
        raise HashMismatch(
            file.path,
            expected=file.sha256,
            found=digest,
            hint=f"{name} is of another state of the project: restore the file, move it away, or"
            " make the bundle anew",
        )
    return True


def _is_lock(file: ProjectFile, manifest: Manifest) -> bool:
    """Whether it lies where the recipe's locks lie and is named like one."""
    beside = Path(file.path).parent == Path(manifest.recipe).parent
    return beside and file.path.endswith(".lock.json")


def _refuse_incomplete(
    manifest: Manifest, places: dict[Blob | ProjectFile, Path], name: str
) -> None:
    """Raises UnsafeInput when a lock in the bundle pins what the bundle does not hold."""
    digests = {blob.sha256 for blob in manifest.blobs}
    held = {(file.path, file.sha256) for file in manifest.files}
    folder, stem = Path(manifest.recipe).parent, Path(manifest.recipe).stem
    for member in manifest.members:
        lock = (folder / f"{member or stem}.lock.json").as_posix()
        if lock not in {path for path, _ in held}:
            raise _incomplete(name, lock)
    for file in manifest.files:
        if not _is_lock(file, manifest):
            continue
        try:
            blobs, files = needs(from_json(places[file].read_bytes()))
        except ValueError as error:
            raise UnsafeInput(
                f"{name}: {file.path} is not a lock that this version can read: {error}",
                hint="use the recipec that wrote it",
            ) from error
        for blob in blobs.values():
            if blob.sha256 not in digests:
                raise _incomplete(name, blob.name)
        for wanted in files.values():
            if (wanted.path, wanted.sha256) not in held:
                raise _incomplete(name, wanted.path)


def _incomplete(name: str, what: str) -> UnsafeInput:
    hint = "make it anew with `recipec bundle`; nothing of it was taken"
    return UnsafeInput(f"{name} is incomplete: it does not hold {what}", hint=hint)


def _put_blob(source: Path, blob: Blob, store: Store) -> None:
    """Both lie in the store: a rename."""
    target = store.path(blob.sha256)
    make_folder(target.parent)
    try:
        source.chmod(0o444)
        source.replace(target)
    except OSError as error:
        raise disk_error(error, store.root) from error


def _put_file(source: Path, target: Path) -> None:
    """Copy a file into the project, where it appears at once."""
    with source.open("rb") as stream, replacing(target) as out:
        shutil.copyfileobj(stream, out)
