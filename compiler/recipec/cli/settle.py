"""What the compiles of one recipe leave behind: build folders, locks, stages and states.

In: finished compiles, one for each member of the recipe's matrix. Out: their files, and dvc.yaml
written once for all. Members that left the matrix lose their stages there; nobody else does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipec.cli.project import Project
from recipec.cli.stamps import stamp
from recipec.cli.state import Built, read_state, remember, restamp
from recipec.store import Store, write_atomically

if TYPE_CHECKING:
    # Only a build that has work to do pays for these imports.
    from recipec.emit.bundle import Bundle
    from recipec.pins.lockfile import Lock


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compile of which nothing is written yet but blobs in the store."""

    built: Built
    lock: Lock
    files: Bundle
    jobs: Mapping[str, bytes]
    """Job documents by path in the build folder; they are no part of the image."""
    stages: Mapping[str, dict[str, Any]]
    sources: Mapping[str, str]
    """Digests of the recipe's files, by path."""
    inputs: Mapping[str, list[int]]
    """Stamps of what was read, by path."""


def settle(
    compiled: Sequence[Compiled], *, names: Iterable[str] | None, store: Store
) -> list[Built]:
    """Write build folders, locks, dvc.yaml and states.

    `names` are all members that the recipe has; None if these are not all of them. Raises
    RecipeError when the stages cannot be put into the project's dvc.yaml: then nothing is written.
    """
    if not compiled:
        return []
    from recipec.emit import dvc
    from recipec.plan.corpus import is_corpus

    project = compiled[0].built.project
    existing = project.dvc.read_bytes() if project.dvc.exists() else None
    before, shown = stamp(str(project.dvc)), project.shown(project.dvc)
    stages = {name: stage for one in compiled for name, stage in one.stages.items()}
    left: dict[str, str] = {}
    if names is not None and existing:
        recipe = project.relative(project.recipe)
        left = dvc.left(existing, recipe=recipe, names=set(names), keep=set(stages), file=shown)
    merged = dvc.merge(existing, stages, file=shown, without=tuple(left))
    gone: list[str] = []
    if not all(is_corpus(one.built.name) for one in compiled):
        gone = dvc.unread(merged, file=shown)
        merged = dvc.merge(merged, {}, file=shown, without=tuple(gone)) if gone else merged
    outputs = [_write(one, store) for one in compiled]
    if merged != existing:
        write_atomically(project.dvc, merged)
    every = [_told(one.built, left if one is compiled[0] else {}) for one in compiled]
    every[0] = _told_of_corpora(every[0], gone)
    for one, built, written in zip(compiled, every, outputs, strict=True):
        remember(built, one.sources, one.inputs, [*written, project.dvc], store)
    if merged != existing:
        restamp(project, project.dvc, before)
    return every


def _write(one: Compiled, store: Store) -> list[Path]:
    """Put a build folder and a lock in their places; the paths written."""
    from recipec.image.layout import write_layout
    from recipec.pins.lockfile import to_json

    image, project, folder = one.built.image, one.built.project, one.built.folder
    wanted = {folder / path: data for path, data in (*one.files, *one.jobs.items())}
    wanted[folder / "image.digest"] = f"{image.manifest.digest}\n".encode()
    wanted[project.lock] = to_json(one.lock)
    for path, data in wanted.items():
        if not path.is_file() or path.read_bytes() != data:
            write_atomically(path, data)
    _remove_former_jobs(folder, wanted)
    reference = f"recipec.local/{one.built.name}:latest"
    write_layout(image, store, folder / "image", reference=reference)
    return [*wanted, folder / "image" / "index.json"]


def _remove_former_jobs(folder: Path, wanted: Collection[Path]) -> None:
    """Remove job documents that the build before this one wrote and this one does not."""
    former = read_state(folder).get("outputs", {})
    for path in map(Path, former):
        if path.parent == folder / "jobs" and path not in wanted:
            path.unlink(missing_ok=True)


def _told(built: Built, left: Mapping[str, str]) -> Built:
    """The build with a notice for each member whose stages were removed."""
    project = built.project
    notices = tuple(_farewell(project, name) for name in dict.fromkeys(left.values()))
    return replace(built, notices=(*built.notices, *notices))


def _told_of_corpora(built: Built, stages: Sequence[str]) -> Built:
    """The build with a notice for each corpus that nobody begins with any more."""
    project = built.project
    names = [stage.removesuffix("-train") for stage in stages]
    notices = tuple(
        f"no recipe begins with {name} any more: its stage is removed; "
        f"{project.shown(project.recipe.with_name(f'{name}.yaml'))}, its lock and its build folder"
        " can go too"
        for name in names
    )
    return replace(built, notices=(*built.notices, *notices))


def _farewell(project: Project, name: str) -> str:
    kept = [project.recipe.with_name(f"{name}.lock.json"), project.folder(name)]
    there = " and ".join(project.shown(path) for path in kept if path.exists())
    rest = f"; {there} can go too" if there else ""
    return f"{name} is no longer in {project.shown(project.recipe)}: its stages are removed{rest}"
