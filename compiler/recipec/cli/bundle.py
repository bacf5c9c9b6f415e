"""`recipec bundle RECIPE`: every input of a lock in one file, for machines without a network."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recipec.cli.common import add_recipe
from recipec.cli.compile import of_member, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say, size
from recipec.cli.members import members
from recipec.cli.project import Project, find_project
from recipec.errors import OK, EnvironmentLacks, StaleLock
from recipec.filelocks import hold, use_of
from recipec.progress import Progress
from recipec.store import Store, digest_of_file, replacing

if TYPE_CHECKING:
    from recipec.cli.frontend import Loaded
    from recipec.pins.bundle import Blob, Manifest, ProjectFile
    from recipec.pins.lockfile import Lock
    from recipec.plan.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: NAME.bundle.tar, here"
    )


@dataclass(kw_only=True)
class Inputs:
    """What goes into a bundle, gathered recipe by recipe."""

    project: Project
    blobs: dict[str, Blob] = field(default_factory=dict)
    """By digest."""
    files: dict[str, ProjectFile] = field(default_factory=dict)
    """By path."""
    sources: dict[str, Path] = field(default_factory=dict)
    """Where each member of the bundle lies."""

    def add_file(self, path: Path) -> None:
        """A file of the project, as it is now. Raises EnvironmentLacks for one outside of it."""
        from recipec.pins.bundle import ProjectFile, safe_path

        relative = self.project.relative(path)
        if not safe_path(relative):
            raise EnvironmentLacks(
                f"{path} cannot be in a bundle: it lies outside of the project",
                hint=f"move it below {self.project.root}",
            )
        try:
            digest, about = digest_of_file(path), path.stat()
        except OSError as error:
            raise EnvironmentLacks(f"cannot read {path}: {error.strerror}") from error
        self._add(ProjectFile(path=relative, sha256=digest, size=about.st_size), path)

    def add_lock(self, lock: Lock, store: Store) -> None:
        """Everything that a lock pins."""
        from recipec.pins.bundle import needs

        blobs, files = needs(lock)
        self.blobs |= blobs
        self.sources |= {blob.member: store.path(digest) for digest, blob in blobs.items()}
        for file in files.values():
            self._add(file, self.project.root / file.path)

    def _add(self, file: ProjectFile, path: Path) -> None:
        self.files[file.path] = file
        self.sources[file.member] = path


def run(options: argparse.Namespace) -> int:
    """Write the bundle under a temporary name, then rename it.

    Raises StaleLock when the lock does not fit the recipe: a bundle is of what is locked.
    """
    from recipec.pins.bundle import write_bundle

    project, store = find_project(options.recipe), Store()
    with quiet_or_bars(options.json) as bars, hold(use_of(store), shared=True):
        manifest, sources = gather(project, store, bars)
        name = project.member or project.recipe.stem
        target: Path = options.output or Path(f"{name}.bundle.tar")
        with replacing(target) as out:
            digest = write_bundle(manifest, sources, out, bars)
    if options.json:
        plain = {"bundle": str(target), "digest": digest, "size": target.stat().st_size}
        counts = {"blobs": len(manifest.blobs), "files": len(manifest.files)}
        print_json({**plain, "recipe": manifest.recipe, "members": [*manifest.members], **counts})
        return OK
    inside = f"{len(manifest.blobs)} blobs, {len(manifest.files)} files of the project"
    say(f"{target}: {inside}, {size(target.stat().st_size)}")
    say(f"  digest  {digest}")
    say(f"  to use  recipec build --from-bundle {target.name} {project.reference}")
    return OK


def gather(project: Project, store: Store, progress: Progress) -> tuple[Manifest, dict[str, Path]]:
    """The manifest of a recipe's bundle, and where each of its members lies.

    What the store lacks is fetched. Raises StaleLock, and RecipecError of every kind.
    """
    from recipec.pins.bundle import Manifest

    several = members(project, store)
    inputs = Inputs(project=project)
    for one in several:
        try:
            _add_recipe(inputs, one, store, progress)
        except StaleLock as error:
            raise of_member(error, one) from error
    manifest = Manifest(
        recipe=project.relative(project.recipe),
        members=tuple(sorted(one.member for one in several)),
        whole=not project.member,
        blobs=tuple(inputs.blobs[digest] for digest in sorted(inputs.blobs)),
        files=tuple(inputs.files[path] for path in sorted(inputs.files)),
    )
    return manifest, inputs.sources


def _add_recipe(inputs: Inputs, project: Project, store: Store, progress: Progress) -> None:
    """A recipe with its bases, its lock and all that the lock pins; then its corpus' recipe."""
    from recipec.cli.bases import bring_pinned
    from recipec.cli.frontend import load
    from recipec.cli.passes import lock_and_plan

    loaded, lock = load(project, store), read_lock(project)
    if lock is not None and lock.image is None:
        raise StaleLock(
            "the lock holds no image digest, so nobody could tell whether a build is the same",
            hint="run `recipec build` once, and commit the lock",
        )
    pinned, plan = lock_and_plan(loaded, old=lock, store=store, progress=progress, locked=True)
    if pinned.lock.base is not None:
        bring_pinned(loaded, pinned.lock.base, store, progress)
    for source in loaded.sources:
        _refuse_link(source.path, source.link)
        inputs.add_file(source.path)
    inputs.add_file(project.lock)
    inputs.add_lock(pinned.lock, store)
    for path in _read_beside(loaded):
        inputs.add_file(path)
    corpus = _corpus(loaded, plan)
    if corpus is not None:
        _add_recipe(inputs, corpus, store, progress)


def _refuse_link(path: Path, link: Path) -> None:
    """A link's own bases are looked for where it points to, and a bundle holds plain files."""
    if path != Path(os.path.normpath(link)):
        raise EnvironmentLacks(
            f"{link} cannot be in a bundle: it is a symbolic link to {path}",
            hint="name the file itself in `extends`",
        )


def _read_beside(loaded: Loaded) -> Iterator[Path]:
    """What a lock does not pin and is read all the same: the model card, for its licence."""
    source = loaded.recipe.architecture.model
    card = loaded.project.root / source.removeprefix("path:") / "README.md"
    if source.startswith("path:") and card.is_file():
        yield card


def _corpus(loaded: Loaded, plan: Plan) -> Project | None:
    """The recipe that was written from the recipe's corpus."""
    from recipec.plan.corpus import corpus_recipe

    if loaded.recipe.domain.corpus is None:
        return None
    named = corpus_recipe(loaded.recipe, plan.settings.model.family)["name"]
    path = loaded.project.recipe.with_name(f"{named}.yaml")
    if not path.is_file():
        raise StaleLock(
            f"the recipe of the corpus is not there: {loaded.project.shown(path)}",
            hint="run `recipec build` once: it writes and locks it",
        )
    return replace(loaded.project, recipe=path, member="")
