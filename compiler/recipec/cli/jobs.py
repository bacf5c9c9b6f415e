"""From a recipe's `deploy` to job documents: faults at their lines, texts by file name.

In: a checked recipe; for the texts also its lock and the scripts' digests. Out: diagnostics, or
documents. Nothing of it enters the image, the lock or the run id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from recipec.cli.frontend import Loaded
from recipec.emit.jobs.job import Container, Job
from recipec.emit.jobs.make import emitter_of, job_documents, job_faults
from recipec.emit.jobs.shape import shape_of
from recipec.errors import Diagnostic, HashMismatch, RecipeError, UsageError
from recipec.image.image import ADAPTED, OUTPUT, USER
from recipec.image.target import Target
from recipec.image.variant import root_digests
from recipec.pins.lockfile import ExpectedImage, Lock
from recipec.plan.evaluation import plan_hardware
from recipec.plan.ledger import Ledger
from recipec.publish.reference import Source, parse_source
from recipec.recipe.bases import in_registry
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName, TargetSettings
from recipec.store import Store

FOLDER = "jobs"
"""Where the documents lie in a build folder."""

UNKNOWN = "sha256:" + 64 * "0"
"""Stands for digests while only faults are looked for."""


def settings_of(loaded: Loaded, target: TargetName) -> TargetSettings:
    """What the recipe says of a target; the usual settings if it does not name it."""
    deploy = loaded.recipe.deploy
    return (deploy.settings() if deploy else {}).get(target, TargetSettings())


def targets_of(loaded: Loaded) -> tuple[TargetName, ...]:
    """The targets that the recipe names."""
    return tuple(loaded.recipe.deploy.settings()) if loaded.recipe.deploy else ()


def faults_of_jobs(loaded: Loaded) -> list[Diagnostic]:
    """Everything that the services which the recipe names cannot do."""
    deploy = loaded.recipe.deploy
    if deploy is None:
        return []
    document, found = loaded.document(), list(_image_faults(deploy.image))
    place = "registry.example/name" if found else deploy.image
    for target in targets_of(loaded):
        found += job_faults(make_job(loaded, target, f"{place}@{UNKNOWN}", UNKNOWN))
    unique = dict.fromkeys(found)
    return [document.diagnostic(f.path, f.message, f.hint, key=f.at_key) for f in unique]


def faults_of_target(loaded: Loaded, target: TargetName, image: str) -> None:
    """Look at one target before anything is built for it. Raises RecipeError or UsageError."""
    place = place_of(loaded, image).place
    _refuse(loaded, job_faults(make_job(loaded, target, f"{place}@{UNKNOWN}", UNKNOWN)))


def _refuse(loaded: Loaded, faults: Iterable[Broken]) -> None:
    found = dict.fromkeys(faults)
    if found:
        document = loaded.document()
        raise RecipeError(
            [document.diagnostic(f.path, f.message, f.hint, key=f.at_key) for f in found]
        )


def _image_faults(image: str) -> Iterator[Broken]:
    try:
        source = parse_source(image)
    except UsageError as error:
        yield Broken(path=("deploy", "image"), message=error.message, hint=error.hint)
        return
    named = image.rpartition("/")[2]
    if "@" in named or ":" in named:
        what = "digest" if source.digest else "tag"
        yield Broken(
            path=("deploy", "image"),
            message=f"{image} has a {what}; jobs name the image by the digest of the lock",
            hint=f"write {source.place}",
        )


def make_job(
    loaded: Loaded, target: TargetName, reference: str, run_id: str, lock: Lock | None = None
) -> Job:
    """The job of a recipe on a target; without a lock, one that only faults are looked for in."""
    recipe, settings = loaded.recipe, settings_of(loaded, target)
    container = Container(
        reference=reference,
        output=OUTPUT,
        adapted=ADAPTED,
        user=int(USER.partition(":")[0]),
        interpreter=_interpreter(lock) if lock is not None else Container.interpreter,
        # What a base of a registry has is not known before it is pulled.
        shell=recipe.image.package_set == "cloud" or in_registry(recipe.image.base),
    )
    return Job(
        target=target,
        name=recipe.name,
        run_id=run_id,
        container=container,
        shape=shape_of(recipe),
        settings=settings,
        adapted=recipe.domain.corpus is not None,
    )


def _interpreter(lock: Lock) -> str:
    """The Python of the image that a lock describes."""
    elsewhere = lock.base.interpreter if lock.base else ""
    return Target(python=lock.platform.python, elsewhere=elsewhere).interpreter


def documents_of(
    loaded: Loaded,
    target: TargetName,
    lock: Lock,
    scripts: Mapping[str, str],
    store: Store,
    image: str = "",
) -> dict[str, bytes]:
    """A target's documents by file name, for the image that the lock expects.

    `image` takes the place of the recipe's `deploy.image`. Raises RecipeError with everything that
    the service cannot do, UsageError where no registry is named, HashMismatch where `image` has
    another digest than the lock.
    """
    assert lock.image is not None, "a build has put it there"
    job = make_job(
        loaded,
        target,
        reference_of(loaded, target, lock.image, store, image),
        run_id_of(loaded, lock, lock.image, scripts),
        lock,
    )
    _refuse(loaded, job_faults(job))
    return job_documents(job)


def reference_of(
    loaded: Loaded, target: TargetName, made: ExpectedImage, store: Store, given: str
) -> str:
    """REGISTRY/NAME@DIGEST of the image that the lock expects, or of its variant that is root.

    Raises UsageError or HashMismatch.
    """
    source, emitter = place_of(loaded, given), emitter_of(target)
    oci, docker = made.manifest, made.schema2
    if emitter.root:
        oci, docker = root_digests(made.config, (oci, docker), store)
    if source.digest and source.digest not in {oci, docker, made.manifest, made.schema2}:
        raise HashMismatch(
            "the image that --image names",
            expected=f"{oci} (or {docker}, its schema2 twin)",
            found=source.digest,
            hint="leave the digest out, and the lock's is taken",
        )
    return f"{source.place}@{source.digest or (docker if emitter.schema2 else oci)}"


def tagged_reference(
    loaded: Loaded, target: TargetName, lock: Lock, store: Store, given: str
) -> str:
    """What the image is pushed as for a service that takes no digest. Raises as `reference_of`."""
    assert lock.image is not None, "a build has put it there"
    return Container(reference=reference_of(loaded, target, lock.image, store, given)).tagged


def place_of(loaded: Loaded, given: str) -> Source:
    """Where the image lies: what `--image` says, or the recipe. Raises UsageError."""
    deploy = loaded.recipe.deploy
    text = given or (deploy.image if deploy else "")
    if not text:
        raise UsageError(
            "a job needs the image's place in a registry, and neither `deploy.image` nor --image"
            " names one",
            hint="--image registry.example/team/NAME; the digest is the lock's",
        )
    return parse_source(text)


def run_id_of(loaded: Loaded, lock: Lock, made: ExpectedImage, scripts: Mapping[str, str]) -> str:
    """The run's address on the class of hardware that is planned, whatever this machine is."""
    from recipec.cli.passes import address

    return address(made.config, scripts, lock, plan_hardware(loaded.recipe, Ledger()))


def every_document(
    loaded: Loaded, lock: Lock, scripts: Mapping[str, str], store: Store
) -> dict[str, bytes]:
    """The documents of every target that the recipe names, by path in the build folder."""
    found: dict[str, bytes] = {}
    for target in targets_of(loaded):
        made = documents_of(loaded, target, lock, scripts, store)
        found |= {f"{FOLDER}/{name}": data for name, data in made.items()}
    return dict(sorted(found.items()))
