"""The passes in a row: lock, plan, emit, fetch, image. What `build` does when there is work.

In: a checked recipe and its old lock. Out: the values that the build folder is written from.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipec.catalog import stack
from recipec.catalog.debian import release_of, set_packages
from recipec.cli.files import at_its_line, refuse_impossible
from recipec.cli.frontend import Loaded
from recipec.cli.state import Built
from recipec.emit import dvc
from recipec.emit.bundle import Bundle
from recipec.errors import NoSuchPackage, TooLarge
from recipec.image.format import LAYER_FORMAT
from recipec.image.image import Image
from recipec.pins.lock import LockResult, make_lock
from recipec.pins.lockfile import BaseImage, Lock, Platform
from recipec.plan.corpus import is_corpus
from recipec.plan.determinism import LOCAL_CLASS
from recipec.plan.make import make_plan
from recipec.plan.plan import HardwareSettings, Plan
from recipec.progress import Progress
from recipec.recipe.bases import in_registry
from recipec.recipe.promise import on_cpus
from recipec.store import Store, canonical, sha256


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the passes made of one recipe."""

    lock: Lock
    plan: Plan
    files: Bundle
    image: Image
    run_id: str
    stages: Mapping[str, dict[str, Any]]
    notices: tuple[str, ...]
    corpus: Built | None
    """What the model has read before the task."""


def run_passes(
    loaded: Loaded,
    *,
    old: Lock | None,
    store: Store,
    progress: Progress,
    locked: bool,
    jobs: int,
    adapt: Callable[[str], Built | None],
    anew: bool = False,
) -> Made:
    """Lock, plan, emit and build the image. Raises RecipecError of every kind.

    What the old lock says of its layers is taken from it, unless all is to be found out `anew`.
    `adapt` gives the build of the recipe's corpus, for a model of a family; None if it has none.
    """
    from recipec.emit.runtime import runtime_bundle
    from recipec.emit.script import emit_bundle
    from recipec.image.build import build_image

    pinned, plan = lock_and_plan(loaded, old=old, store=store, progress=progress, locked=locked)
    lock = pinned.lock
    corpus = adapt(plan.settings.model.family)
    if corpus is not None:
        settings = replace(plan.settings, adapted=(corpus.name, corpus.run_id))
        plan = replace(plan, settings=settings)
    files = emit_bundle(plan.settings, lock)
    hardware = plan.settings.hardware
    image = build_image(
        lock,
        recipe=files,
        runtime=runtime_bundle(hardware.device, hardware.world_size),
        environment=plan.settings.hardware.environment,
        sources=pinned.sources,
        store=store,
        jobs=jobs,
        progress=progress,
        promised={} if anew or old is None or old.image is None else old.image.promised,
    )
    return Made(
        lock=lock,
        plan=plan,
        files=files,
        image=image,
        run_id=run_id(image, files, lock, plan),
        stages=_stages(loaded, lock, corpus),
        corpus=corpus,
        notices=(*pinned.notices, *(f"lock: {change}" for change in _moved(pinned))),
    )


def _stages(loaded: Loaded, lock: Lock, corpus: Built | None) -> dict[str, dict[str, Any]]:
    name, paths = loaded.recipe.name, stage_paths(loaded, lock)
    if corpus is not None:
        trained = loaded.project.relative(corpus.folder / "train")
        adapted = (f"{trained}/model", f"{trained}/receipt.json")
        paths = replace(
            paths,
            train_inputs=(*paths.train_inputs, *adapted),
            evaluate_inputs=(*paths.evaluate_inputs, *adapted),
        )
    made = dvc.stages(name, paths)
    if is_corpus(name):
        del made[f"{name}-evaluate"]  # the task shows what the text was good for
    return made


def _moved(pinned: LockResult) -> list[str]:
    """How the lock changed, beyond that the recipe did, which its author knows."""
    return [change for change in pinned.changes if change != "recipe: changed"]


def lock_and_plan(
    loaded: Loaded,
    *,
    old: Lock | None,
    store: Store,
    progress: Progress,
    locked: bool,
    fetch_packages: bool = True,
) -> tuple[LockResult, Plan]:
    """Pin every input, then decide every number. Refuses a cell that does not exist.

    Planning alone wants no packages: then none is resolved or downloaded.
    """
    ground = _ground(loaded, old, store=store, progress=progress, locked=locked, ask=fetch_packages)
    try:
        pinned = make_lock(
            loaded.recipe,
            loaded.digest,
            old=old,
            stack=stack.load(),
            packages=ground.packages,
            extra=ground.extra,
            layer_format=LAYER_FORMAT,
            project=loaded.project.root,
            store=store,
            progress=progress,
            locked=locked,
            platform=ground.platform,
            base=ground.base,
            fetch_packages=fetch_packages,
        )
    except NoSuchPackage as error:
        raise at_its_line(loaded, error) from error
    refuse_impossible(loaded, pinned.model)
    try:
        plan = make_plan(
            loaded.recipe,
            pinned.lock,
            family=pinned.model.family,
            model_type=pinned.model.model_type,
            config=pinned.model.config,
        )
    except TooLarge as error:
        from recipec.cli.room import refuse_too_large

        raise refuse_too_large(loaded, error) from error
    return pinned, plan


@dataclass(frozen=True, kw_only=True)
class _Ground:
    """What wheels are laid on: Debian packages by name, or an image of a registry."""

    platform: Platform
    packages: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    base: BaseImage | None = None


def _ground(
    loaded: Loaded,
    old: Lock | None,
    *,
    store: Store,
    progress: Progress,
    locked: bool,
    ask: bool,
) -> _Ground:
    """The recipe's base. Without `ask` no registry is asked: what the lock does not know is left
    open."""
    image = loaded.recipe.image
    accelerator = "" if on_cpus(loaded.recipe) else "cuda"
    if not in_registry(image.base):
        release = release_of(image.base)
        more = set_packages(release.name, image.package_set, jit=image.jit)
        return _Ground(
            platform=Platform(python=release.python, debian=release.name, accelerator=accelerator),
            packages=release.base,
            extra=(*more, *image.packages),
        )
    from recipec.cli.bases import known, pin

    base = known(loaded, old)
    if ask:
        base = pin(loaded, old, store, progress, locked=locked)
    python = base.python if base is not None else Platform().python
    platform = Platform(python=python, debian="", accelerator=accelerator)
    return _Ground(platform=platform, base=base)


def run_id(image: Image, files: Bundle, lock: Lock, plan: Plan) -> str:
    """The address of a run: equal addresses give equal bytes. Known before anything has run."""
    hardware = plan.settings.hardware
    scripts = {path: sha256(data) for path, data in files if path.endswith(".py")}
    here = replace(hardware, hardware_class=hardware_class(hardware.hardware_class))
    return address(image.config.digest, scripts, lock, here)


def address(config: str, scripts: Mapping[str, str], lock: Lock, hardware: HardwareSettings) -> str:
    """The run id of an image with this config on hardware of just the class that is named."""
    return sha256(
        canonical(
            {
                "image": config,
                "scripts": dict(scripts),
                "model": {file.path: file.sha256 for file in lock.model.files},
                "data": {file.split: file.sha256 for file in lock.data},
                "hardware_class": hardware.hardware_class,
                "threads": hardware.threads,
                "world_size": hardware.world_size,
            }
        )
    )


def hardware_class(planned: str) -> str:
    """The planned class, of CPUs as they are with this machine's own: vendor and instructions."""
    if planned != LOCAL_CLASS:
        return planned
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return f"{planned}-{platform.machine()}"
    vendor = "amd" if "AuthenticAMD" in text else "intel" if "GenuineIntel" in text else "other"
    flags = set(next((ln for ln in text.splitlines() if ln.startswith("flags")), "").split())
    levels = (("avx512bf16", "avx512_bf16"), ("avx512", "avx512f"), ("avx2", "avx2"))
    level = next((name for name, flag in levels if flag in flags), "base")
    return f"{planned}-{vendor}-{level}"


def stage_paths(loaded: Loaded, lock: Lock) -> dvc.StagePaths:
    """What the DVC stages depend on and write, relative to dvc.yaml."""
    project, recipe = loaded.project, loaded.recipe
    model = recipe.architecture.model
    models = [model.removeprefix("path:")] if model.startswith("path:") else []
    by_split = {file.split: [s.path for s in file.read_from] for file in lock.data}
    trained_on = [*by_split["train"], *by_split.get("validation", ())]
    measured_on = by_split.get("test") or by_split.get("validation") or by_split["train"]
    usual = project.build == project.root / "build"
    return dvc.StagePaths(
        options="" if usual else f" -o {shlex.quote(project.relative(project.build))}",
        recipe=project.reference,
        lock=project.relative(project.lock),
        build=project.relative(project.folder(recipe.name)),
        train_inputs=(*dict.fromkeys(trained_on), *models),
        evaluate_inputs=(*measured_on, *models),
    )
