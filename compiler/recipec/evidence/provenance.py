"""How an image was made, as SLSA provenance in an in-toto Statement.

In: an image, its lock, the recipe's files. Out: JSON bytes that depend on nothing else: no time, no
host, no user. The statement is about both manifests of the image; whoever has the dependencies and
the compiler's version builds the same digests, which `recipec verify` does.

Sources: slsa.dev/spec/v1.0/provenance; in-toto Attestation Framework, Statement v1 and
ResourceDescriptor v1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipec.evidence import purl
from recipec.image.image import Image
from recipec.pins.lockfile import Lock
from recipec.store import canonical

MEDIA_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:recipec:build:1"
"""A compile of a recipe by its lock; docs/evidence.md says what the parameters mean."""
BUILDER = "urn:recipec:compiler"
_Plain = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A text of the project that the build read: path relative to the project, digest."""

    path: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build, as the statement tells it."""

    name: str
    image: Image
    lock: Lock
    lock_file: Source
    recipes: Sequence[Source]
    """The recipe's own file, then its bases."""
    recipec: str
    """Version of the compiler that made the image."""
    scripts: Mapping[str, str]
    """Digest of each emitted script by its path."""


def make_provenance(build: Build) -> bytes:
    """The statement."""
    lock = build.lock
    return canonical(
        {
            "_type": STATEMENT,
            "subject": [
                {"name": build.name, "digest": _digest(found)}
                for found in (build.image.manifest.digest, build.image.schema2.digest)
            ],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "recipe": build.recipes[0].path,
                        "name": build.name,
                        "recipe_digest": lock.recipe_digest,
                    },
                    "internalParameters": {
                        "exclude_newer": lock.exclude_newer,
                        "layer_format": lock.layer_format,
                        "lock_version": lock.lock,
                        "platform": {
                            "architecture": lock.platform.architecture,
                            "debian": lock.platform.debian,
                            "os": lock.platform.os,
                            "python": lock.platform.python,
                            "wheels": lock.platform.wheels,
                        },
                        "requirements": list(lock.requirements),
                        "uv": lock.uv,
                    },
                    "resolvedDependencies": list(_dependencies(build)),
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": {"recipec": build.recipec}},
                    "byproducts": [
                        {"name": path, "digest": _digest(found)}
                        for path, found in sorted(build.scripts.items())
                    ],
                },
            },
        }
    )


def _dependencies(build: Build) -> Iterator[_Plain]:
    """The recipe, the lock, and every input that the lock names."""
    lock = build.lock
    for text in (*build.recipes, build.lock_file):
        yield {"name": text.path, "digest": _digest(text.digest)}
    if lock.base is not None:
        base = lock.base
        uri = purl.of_image(base.repository.rpartition("/")[2], base.manifest)
        yield {"name": base.repository, "uri": uri, "digest": _digest(base.manifest)}
    for deb in sorted(lock.debs, key=lambda d: (d.package, d.sha256)):
        uri = purl.of_deb(deb, lock.platform.debian)
        yield {"name": deb.file, "uri": uri, "digest": _digest(deb.sha256)}
    for wheel in sorted(lock.wheels, key=lambda w: (w.name, w.sha256)):
        yield {"name": wheel.file, "uri": purl.of_wheel(wheel), "digest": _digest(wheel.sha256)}
    found = purl.of_model(lock.model)
    for file in sorted(lock.model.files, key=lambda f: f.path):
        source = {"uri": found} if found else {}
        yield {"name": f"model/{file.path}", **source, "digest": _digest(file.sha256)}
    for data in sorted(lock.data, key=lambda d: d.split):
        for read in data.read_from:
            about = {"split": data.split}
            yield {"name": read.path, "digest": _digest(read.sha256), "annotations": about}


def _digest(digest: str) -> _Plain:
    return {"sha256": digest.removeprefix("sha256:")}
