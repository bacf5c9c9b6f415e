"""`recipec attest RECIPE [REFERENCE]`: bill of materials and provenance, attached and signed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import compile_recipe, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.passwords import key_password
from recipec.cli.project import Project, find_project
from recipec.errors import OK, HashMismatch, UsageError
from recipec.store import Store, sha256, write_atomically

if TYPE_CHECKING:
    from recipec.cli.state import Built
    from recipec.image.image import Image
    from recipec.pins.lockfile import Lock
    from recipec.progress import Progress
    from recipec.publish.referrers import Artifact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    parser.add_argument(
        "reference",
        nargs="?",
        metavar="REFERENCE",
        help="where the image was pushed: registry.example/team/name[:tag] or @digest; without it"
        " the evidence is only written to build/NAME/evidence/",
    )
    parser.add_argument(
        "--sign",
        type=Path,
        metavar="KEY",
        help="also sign the image and the evidence with this private key (cosign.key)",
    )
    add_build_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write the evidence; with a reference attach it, with a key sign."""
    if options.sign is not None and options.reference is None:
        raise UsageError(
            "a signature lies beside the image in a registry, and no reference is given",
            hint="recipec attest RECIPE registry.example/team/name:tag --sign KEY",
        )
    project, store = find_project(options.recipe, options.output), Store()
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
        if options.reference is not None:
            built = replace(built, image=_image_at(options.reference, built.image, store))
        artifacts = make_evidence(built, store, bars)
    folder = built.folder / "evidence"
    files = {artifact.title: folder / artifact.title for artifact in artifacts}
    for artifact in artifacts:
        write_atomically(files[artifact.title], artifact.data)
    told: dict[str, object] = {
        "image": built.image.manifest.digest,
        "files": {
            project.shown(files[artifact.title]): sha256(artifact.data) for artifact in artifacts
        },
    }
    if options.reference is not None:
        told |= _attach(options, built, artifacts, store)
    if options.json:
        print_json(told)
    else:
        _say(project, list(files.values()), told)
    return OK


def _say(project: Project, files: list[Path], told: dict[str, object]) -> None:
    for path in files:
        say(f"wrote {project.shown(path)}")
    if "subject" in told:
        done = "attached and signed" if told["signed"] else "attached"
        say(f"{done}; check it with `recipec inspect` or `recipec verify-signature`:")
        print(told["subject"])


def make_evidence(built: Built, store: Store, progress: Progress) -> tuple[Artifact, ...]:
    """The image's bill of materials and its provenance: the same bytes for the same inputs."""
    from recipec.cli.frontend import load
    from recipec.evidence import provenance, sbom
    from recipec.evidence.licenses import of_debs, of_wheels
    from recipec.publish.referrers import Artifact

    project = built.project
    loaded, lock = load(project, store), read_lock(project)
    assert lock is not None, project.lock  # a compile writes it
    recipec = lock.image.recipec if lock.image is not None else ""
    _fetch(lock, store, project, progress)
    subject = sbom.Subject(
        name=built.name,
        image=built.image,
        lock=lock,
        recipec=recipec,
        data_license=loaded.recipe.domain.license or "",
    )
    bill = sbom.make_sbom(subject, {**of_wheels(lock.wheels, store), **of_debs(lock.debs, store)})
    lock_bytes = project.lock.read_bytes()
    build = provenance.Build(
        name=built.name,
        image=built.image,
        lock=lock,
        lock_file=provenance.Source(path=project.relative(project.lock), digest=sha256(lock_bytes)),
        recipes=[
            provenance.Source(path=project.relative(source.path), digest=sha256(source.data))
            for source in loaded.sources
        ],
        recipec=recipec,
        scripts=built.scripts,
    )
    return (
        Artifact(media_type=sbom.MEDIA_TYPE, title="sbom.cdx.json", data=bill),
        Artifact(
            media_type=provenance.MEDIA_TYPE,
            title="provenance.json",
            data=provenance.make_provenance(build),
        ),
    )


def _fetch(lock: Lock, store: Store, project: Project, progress: Progress) -> None:
    """Have every package in the store whose licence is not known yet."""
    from recipec.evidence.licenses import RECORDS
    from recipec.pins.lock import fetch

    digests = [wheel.sha256 for wheel in lock.wheels] + [deb.sha256 for deb in lock.debs]
    if any(store.record(RECORDS, d) is None and not store.has(d) for d in digests):
        fetch(lock, store, project.root, progress)


def _attach(
    options: argparse.Namespace, built: Built, artifacts: tuple[Artifact, ...], store: Store
) -> dict[str, object]:
    """Attach to what lies at the reference, if that is this image; where everything is."""
    from recipec.evidence.keys import read_private
    from recipec.publish.referrers import attach
    from recipec.publish.remote import Remote, parse_place
    from recipec.publish.signatures import sign

    target, asked = parse_place(options.reference)
    # A key that cannot be read stops everything before anything is attached.
    signer = read_private(options.sign, key_password) if options.sign is not None else None
    remote = Remote(target, write=True)
    subject = remote.image(asked).descriptor
    if subject.digest not in (built.image.manifest.digest, built.image.schema2.digest):
        raise _other(options.reference, built.image, subject.digest)
    attached = attach(remote, subject, artifacts, store)
    if signer is not None:
        for digest in (subject.digest, *(manifest.digest for manifest in attached)):
            sign(remote, digest, signer, store)
    return {
        "subject": f"{remote.name}@{subject.digest}",
        "attached": {
            artifact.title: manifest.digest
            for artifact, manifest in zip(artifacts, attached, strict=True)
        },
        "signed": signer is not None,
    }


def _image_at(reference: str, image: Image, store: Store) -> Image:
    """Which image lies there: the one that was built, or its variant that runs as root.

    Raises HashMismatch if it is neither.
    """
    from recipec.image.variant import as_root
    from recipec.publish.remote import Remote, parse_place

    target, asked = parse_place(reference)
    remote = Remote(target)
    found = remote.image(asked).descriptor.digest
    for one in (image, as_root(image, store)):
        if found in (one.manifest.digest, one.schema2.digest):
            return one
    raise _other(reference, image, found)


def _other(reference: str, image: Image, found: str) -> HashMismatch:
    return HashMismatch(
        reference.partition("@")[0],
        expected=image.manifest.digest,
        found=found,
        hint="that is another image: push this one there first, with `recipec push`",
    )
