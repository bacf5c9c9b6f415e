"""The whole compile of one recipe.

Wires the passes: load, lock, plan, emit, image; then writes the build folder, the lock and the DVC
stages. A build with nothing to do is found by `recipec.cli.state` before any pass is imported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recipec
from recipec.cli.project import Project
from recipec.cli.stamps import stamps
from recipec.cli.state import Built, read_state, remember, up_to_date
from recipec.errors import HashMismatch, RecipeError, StaleLock
from recipec.image.image import Image
from recipec.progress import Progress
from recipec.store import Store, sha256, write_atomically

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
    started = time.perf_counter()
    known = up_to_date(project, store)
    if known is not None:
        return replace(known, seconds=time.perf_counter() - started)
    from recipec.cli.frontend import input_paths, load
    from recipec.cli.passes import run_passes

    loaded = load(project, store)
    _refuse_taken_name(loaded)
    inputs = stamps(input_paths(loaded))
    with _one_builder(store, project):
        made = run_passes(
            loaded,
            old=read_lock(project),
            store=store,
            progress=progress,
            locked=locked,
            jobs=jobs or os.cpu_count() or 1,
        )
        lock, moved = _expect(made.lock, made.image, locked=locked)
        notices = [*made.notices, *moved]
        outputs = _write(loaded, lock, made.files, made.image, made.stages, store)
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
            notices=tuple(notices),
        )
        remember(built, loaded.source, inputs, outputs, store)
    return built


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


def _write(
    loaded: Loaded,
    lock: Lock,
    files: Iterable[tuple[str, bytes]],
    image: Image,
    stages: Mapping[str, dict[str, Any]],
    store: Store,
) -> list[Path]:
    """Put everything in its place; the paths written, for the next up-to-date check."""
    from recipec.emit import dvc
    from recipec.image.layout import write_layout
    from recipec.pins.lockfile import to_json

    project, name = loaded.project, loaded.recipe.name
    folder = project.folder(name)
    existing = project.dvc.read_bytes() if project.dvc.exists() else None
    merged = dvc.merge(existing, stages, file=project.shown(project.dvc))
    wanted = {folder / path: data for path, data in files}
    wanted[folder / "image.digest"] = f"{image.manifest.digest}\n".encode()
    wanted[project.lock] = to_json(lock)
    wanted[project.dvc] = merged
    for path, data in wanted.items():
        if not path.is_file() or path.read_bytes() != data:
            write_atomically(path, data)
    write_layout(image, store, folder / "image", reference=f"recipec.local/{name}:latest")
    return [*wanted, folder / "image" / "index.json"]


def _refuse_taken_name(loaded: Loaded) -> None:
    """Two recipes of one name would write the same folder and the same stages.

    Raises RecipeError when the folder holds the build of another recipe that still exists.
    """
    name, project = loaded.recipe.name, loaded.project
    other = Path(str(read_state(project.folder(name)).get("recipe", project.recipe)))
    if other != project.recipe and other.is_file():
        message = f"{project.shown(other)} has the name {name} too"
        hint = "give each recipe a name of its own: it names the build folder and the DVC stages"
        raise RecipeError([loaded.document().diagnostic(("name",), message, hint)])


def _one_builder(store: Store, project: Project) -> Any:
    """Two builds of one recipe at a time would write the same files: the second waits."""
    from filelock import FileLock

    from recipec.store import make_folder

    folder = make_folder(store.root / "locks")
    return FileLock(folder / f"{sha256(str(project.recipe).encode())[7:31]}.lock")
