"""The whole compile of one recipe, or of every member of its matrix.

Wires the passes: load, lock, plan, emit, image; then writes the build folder, the lock and the DVC
stages. A build with nothing to do is found by `recipec.cli.state` before any pass is imported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recipec
from recipec.cli.members import digests
from recipec.cli.project import Project
from recipec.cli.settle import Compiled, settle
from recipec.cli.stamps import stamps
from recipec.cli.state import Built, read_state, up_to_date
from recipec.errors import HashMismatch, RecipeError, StaleLock
from recipec.filelocks import hold, use_of
from recipec.image.image import Image
from recipec.progress import Progress
from recipec.store import Store, sha256

if TYPE_CHECKING:
    # Only a build that has work to do pays for these imports.
    from recipec.cli.frontend import Loaded
    from recipec.pins.lockfile import Lock


def compile_recipe(
    project: Project,
    *,
    store: Store,
    progress: Progress,
    locked: bool = False,
    jobs: int | None = None,
) -> Built:
    """Compile one recipe, or find that it is compiled already.

    Raises RecipecError of every kind; nothing half-written is left behind.
    """
    return compile_all(
        [project], whole=False, store=store, progress=progress, locked=locked, jobs=jobs
    )[0]


def compile_all(
    projects: Sequence[Project],
    *,
    whole: bool = True,
    store: Store,
    progress: Progress,
    locked: bool = False,
    jobs: int | None = None,
) -> list[Built]:
    """Compile a recipe, or the members of its matrix; those that are compiled already are found.

    With `whole` these are all the members there are: stages of former ones are removed. Raises
    RecipecError at the first that fails; those before it stay built.
    """
    every: dict[Project, Built | None] = {}
    for project in projects:
        started = time.perf_counter()
        known = up_to_date(project, store)
        every[project] = known and replace(known, seconds=time.perf_counter() - started)
    stale = [project for project, built in every.items() if built is None]
    if stale:
        names = [project.member for project in projects] if whole else None
        with _one_builder(store, projects[0]):
            for built in _compile(stale, names, store, progress, locked, jobs):
                every[built.project] = built
    return [built for built in every.values() if built is not None]


def _compile(
    stale: Sequence[Project],
    names: Sequence[str] | None,
    store: Store,
    progress: Progress,
    locked: bool,
    jobs: int | None,
) -> list[Built]:
    """Compile what is not; what was done before one fails is settled all the same."""
    done: list[Compiled] = []
    locks: list[tuple[Lock | None, Lock]] = []
    for project in stale:
        own = read_lock(project)
        try:
            one = _compile_one(
                project,
                own,
                own if locked else lock_to_start_from(own, locks),
                store=store,
                progress=progress,
                locked=locked,
                jobs=jobs or os.cpu_count() or 1,
            )
        except StaleLock as error:
            settle(done, names=None, store=store)
            raise of_member(error, project) from error
        except BaseException:
            settle(done, names=None, store=store)
            raise
        done.append(one)
        locks.append((own, one.lock))
    return settle(done, names=names, store=store)


def _compile_one(
    project: Project,
    own: Lock | None,
    old: Lock | None,
    *,
    store: Store,
    progress: Progress,
    locked: bool,
    jobs: int,
) -> Compiled:
    """The passes over one recipe; nothing is written but blobs in the store.

    `own` is its lock so far, `old` the one that the new lock is made from.
    """
    from recipec.cli.corpus import compile_corpus, files_of
    from recipec.cli.frontend import input_paths, load
    from recipec.cli.passes import run_passes

    started = time.perf_counter()
    loaded = load(project, store)
    _refuse_taken_name(loaded)
    inputs = stamps(input_paths(loaded))
    _refuse_jobs(loaded)

    def adapt(family: str) -> Built | None:
        return compile_corpus(
            loaded, family, store=store, progress=progress, locked=locked, jobs=jobs
        )

    made = run_passes(
        loaded, old=old, store=store, progress=progress, locked=locked, jobs=jobs, adapt=adapt
    )
    if made.corpus is not None:
        inputs |= stamps(files_of(made.corpus))
    lock, moved = _expect(made.lock, made.image, locked=locked)
    built = Built(
        project=project,
        name=loaded.recipe.name,
        run_id=made.run_id,
        image=made.image,
        scripts={path: sha256(data) for path, data in made.files if path.endswith(".py")},
        facts={
            "reproducibility": made.plan.settings.hardware.reproducibility,
            "hardware_class": made.plan.settings.hardware.hardware_class,
            "up_to_date": False,
        },
        seconds=time.perf_counter() - started,
        # How a first lock differs from the one that it was made from is no change of its own.
        notices=(*(n for n in made.notices if own or not n.startswith("lock: ")), *moved),
    )
    return Compiled(
        built=built,
        lock=lock,
        files=made.files,
        jobs=_jobs(loaded, lock, built.scripts, store),
        stages=made.stages,
        sources=digests(loaded.sources),
        inputs=inputs,
    )


def _refuse_jobs(loaded: Loaded) -> None:
    """Refuse what the services of `deploy` cannot do, before anything is built for them."""
    if loaded.recipe.deploy is not None:
        from recipec.cli.jobs import faults_of_jobs

        faults = faults_of_jobs(loaded)
        if faults:
            raise RecipeError(faults)


def _jobs(loaded: Loaded, lock: Lock, scripts: Mapping[str, str], store: Store) -> dict[str, bytes]:
    """The job documents, by path in the build folder."""
    if loaded.recipe.deploy is None:
        return {}
    from recipec.cli.jobs import every_document

    return every_document(loaded, lock, scripts, store)


def of_member(error: StaleLock, project: Project) -> StaleLock:
    """The error with the name of the member whose lock it is about."""
    lead = f"{project.member}: " if project.member else ""
    return StaleLock(f"{lead}{error.message}", hint=error.hint)


def lock_to_start_from(
    own: Lock | None, siblings: Sequence[tuple[Lock | None, Lock]]
) -> Lock | None:
    """The lock that a member's new one is made from: its own, with what its siblings know.

    `siblings` are other members' old and new locks. Packages are resolved once for members that
    were pinned alike, so a member without a lock takes those of its siblings, and one whose
    packages were the same as a sibling's before has the same again.
    """
    if own is None:
        if not siblings:
            return None
        # Another recipe's image and outputs are nothing that this one could promise.
        return replace(siblings[-1][1], image=None, outputs=None)
    for old, new in siblings:
        if old is not None and _packages(old) == _packages(own) != _packages(new):
            return replace(own, **_packages(new))
    return own


def _packages(lock: Lock) -> dict[str, Any]:
    """What of a lock belongs to its packages."""
    named = ("platform", "uv", "exclude_newer", "requirements", "wheels", "debs", "base")
    return {name: getattr(lock, name) for name in named}


def as_locked(
    project: Project, *, store: Store, progress: Progress, jobs: int | None = None
) -> Built:
    """The build that the lock describes, for commands that run or compare it.

    Raises StaleLock when the recipe has changed since it was locked, and HashMismatch, naming the
    file, when the recipe is the same but the bytes of an input are not.
    """
    try:
        return compile_recipe(project, store=store, progress=progress, locked=True, jobs=jobs)
    except StaleLock:
        from recipec.cli.frontend import load
        from recipec.pins.fetch import project_files

        lock = read_lock(project)
        if lock is not None and lock.recipe_digest == load(project, store).digest:
            project_files(lock.model, lock.data, project=project.root, store=store)
        raise


def read_lock(project: Project) -> Lock | None:
    """The recipe's lock, or None where there is none yet. Raises RecipeError if it is torn."""
    from recipec.errors import Diagnostic
    from recipec.pins.lockfile import from_json

    try:
        return from_json(project.lock.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        file = project.shown(project.lock)
        raise RecipeError(
            [
                Diagnostic(
                    file=file,
                    line=0,
                    column=0,
                    message=f"not a lock that this version can read: {error}",
                    hint="restore the file from version control, or delete it to lock anew",
                )
            ]
        ) from error


def _expect(lock: Lock, image: Image, *, locked: bool) -> tuple[Lock, list[str]]:
    """The lock with this image in it; refuses another image than the lock promises."""
    from recipec.pins.lockfile import ExpectedImage

    made = ExpectedImage(
        recipec=recipec.__version__,
        layers=tuple(layer.blob.digest for layer in image.layers),
        diff_ids=tuple(layer.diff_id for layer in image.layers),
        config=image.config.digest,
        manifest=image.manifest.digest,
        schema2=image.schema2.digest,
    )
    promised = lock.image
    if promised is None:
        if locked:
            raise StaleLock(
                "the lock holds no image digest",
                hint="run `recipec build` without --locked once, and commit the lock",
            )
        return replace(lock, image=made), []
    if promised.manifest == made.manifest:
        return lock, []
    if locked:
        raise HashMismatch(
            "the image",
            expected=promised.manifest,
            found=made.manifest,
            hint=f"the lock was written by recipec {promised.recipec}, this is"
            f" {recipec.__version__}; `recipec build` without --locked accepts the new image",
        )
    notice = (
        f"the image moved from {promised.manifest[:19]} to {made.manifest[:19]}"
        f" (compiler {promised.recipec} -> {recipec.__version__}); the lock is updated"
    )
    return replace(lock, image=made, outputs=None), [notice]


def _refuse_taken_name(loaded: Loaded) -> None:
    """Two recipes of one name would write the same folder and the same stages.

    Raises RecipeError when the folder holds the build of another recipe that still exists.
    """
    name, project = loaded.recipe.name, loaded.project
    state = read_state(project.folder(name))
    other = Path(str(state.get("recipe", project.recipe)))
    # A build folder inside of the project that tells of another root came with a copy of it.
    copied = project.build.is_relative_to(project.root) and state.get("root") != str(project.root)
    if other != project.recipe and other.is_file() and not copied:
        message = f"{project.shown(other)} has the name {name} too"
        hint = "give each recipe a name of its own: it names the build folder and the DVC stages"
        raise RecipeError([loaded.document().diagnostic(("name",), message, hint)])


@contextmanager
def _one_builder(store: Store, project: Project) -> Iterator[None]:
    """Two builds of one recipe at a time would write the same files: the second waits.

    No blob is removed meanwhile: what this build found in the store is there when it reads it.
    What killed builds left in the store is removed first, and what died beside this one, last.
    """
    own = store.root / "locks" / f"{sha256(str(project.recipe).encode())[7:31]}.lock"
    with hold(use_of(store), shared=True), hold(own):
        store.sweep()
        yield
        store.sweep()
