"""The bill of materials of an image, in CycloneDX 1.6.

In: a lock, the image that it gave, what its packages say of their licences. Out: JSON bytes that
depend on nothing else: no time, no random serial number, no host. The serial number is a UUID of
version 5 over the rest of the document. It reads no file.

Source: CycloneDX 1.6, ECMA-424 (bom-1.6.schema.json).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recipec.evidence import purl
from recipec.evidence.licenses import About
from recipec.image.history import Origin, layer_of_package
from recipec.image.image import Image
from recipec.pins.lockfile import BaseImage, DataFile, Deb, Lock, Model, Wheel
from recipec.store import canonical, sha256

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_Plain = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the bill is about: the image, and what its recipe says that no lock holds."""

    name: str
    image: Image
    lock: Lock
    recipec: str
    """Version of the compiler that made the image."""
    data_license: str = ""


def make_sbom(subject: Subject, about: Mapping[str, About]) -> bytes:
    """The bill of materials. `about` gives what each package says, by its digest."""
    components = list(_components(subject, about))
    plain: _Plain = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": _image(subject),
            "tools": {
                "components": [
                    {"type": "application", "name": "recipec", "version": subject.recipec}
                ]
            },
        },
        "components": components,
        "dependencies": [
            {"ref": "image", "dependsOn": sorted(part["bom-ref"] for part in components)},
            *({"ref": ref} for ref in sorted(part["bom-ref"] for part in components)),
        ],
        "compositions": _compositions(subject.lock),
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, sha256(canonical(plain)))
    return canonical({**plain, "serialNumber": f"urn:uuid:{serial}"})


def _compositions(lock: Lock) -> list[_Plain]:
    """What is told in full: all of ours, of a base from a registry only its Python packages."""
    ours: _Plain = {"aggregate": "complete", "assemblies": ["image"]}
    theirs: _Plain = {"aggregate": "incomplete", "assemblies": ["base"]}
    return [ours, theirs] if lock.base is not None else [ours]


def _image(subject: Subject) -> _Plain:
    image = subject.image
    return {
        "type": "container",
        "bom-ref": "image",
        "name": subject.name,
        "version": image.manifest.digest,
        "hashes": _hashes(image.manifest.digest),
        "purl": purl.of_image(subject.name, image.manifest.digest),
        "properties": _properties(
            {
                "recipec:schema2": image.schema2.digest,
                "recipec:config": image.config.digest,
                "recipec:architecture": subject.lock.platform.architecture,
                "recipec:os": subject.lock.platform.os,
            }
        ),
    }


def _components(subject: Subject, about: Mapping[str, About]) -> Iterator[_Plain]:
    lock, layers = subject.lock, subject.image.layers
    rows = [(layer.blob.digest, Origin(kind=layer.kind, name=layer.name)) for layer in layers]
    by_kind = {origin.kind: digest for digest, origin in rows}
    if lock.base is not None:
        yield _base(lock.base)
    for deb in sorted(lock.debs, key=lambda d: (d.package, d.sha256)):
        yield _deb(deb, lock.platform.debian, about[deb.sha256], by_kind.get("base"))
    for wheel in sorted(lock.wheels, key=lambda w: (w.name, w.sha256)):
        yield _wheel(wheel, about[wheel.sha256], layer_of_package(rows, wheel.name))
    yield _model(lock.model, by_kind.get("model"))
    for data in sorted(lock.data, key=lambda d: d.split):
        yield _data(data, subject.data_license, by_kind.get("data"))


def _base(base: BaseImage) -> _Plain:
    """The image that ours begins with: by digest, with the Python packages that were found in it.

    What else it holds is not known here; its own bill of materials may say so.
    """
    return {
        "type": "container",
        "bom-ref": "base",
        "name": base.repository,
        "version": base.manifest,
        "purl": purl.of_image(base.repository.rpartition("/")[2], base.manifest),
        "hashes": _hashes(base.manifest),
        "components": [
            {
                "type": "library",
                "bom-ref": f"base:{found.name}",
                "name": found.name,
                "version": found.version,
                "purl": purl.of_pypi(found.name, found.version),
            }
            for found in base.packages
        ],
        "properties": [
            *_properties({"recipec:named": base.digest, "recipec:python": base.interpreter}),
            *({"name": "recipec:layer", "value": layer.digest} for layer in base.layers),
        ],
    }


def _deb(deb: Deb, release: str, about: About, layer: str | None) -> _Plain:
    return {
        "type": "library",
        "bom-ref": f"deb:{deb.package}",
        "name": deb.package,
        "version": deb.version,
        "purl": purl.of_deb(deb, release, about.source),
        "hashes": _hashes(deb.sha256),
        **_licenses(about),
        "properties": _properties({"recipec:file": deb.file, "recipec:layer": layer}),
    }


def _wheel(wheel: Wheel, about: About, layer: str | None) -> _Plain:
    return {
        "type": "library",
        "bom-ref": f"wheel:{wheel.name}",
        "name": wheel.name,
        "version": wheel.version,
        "purl": purl.of_wheel(wheel),
        "hashes": _hashes(wheel.sha256),
        **_licenses(about),
        "properties": _properties({"recipec:file": wheel.file, "recipec:layer": layer}),
    }


def _model(model: Model, layer: str | None) -> _Plain:
    found = purl.of_model(model)
    named = About(names=(model.license,)) if model.license else About()
    files = sorted(model.files, key=lambda file: file.path)
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": model.source,
        **({"version": model.commit} if model.commit else {}),
        **({"purl": found} if found else {}),
        **_licenses(named),
        "components": [
            {
                "type": "file",
                "bom-ref": f"model:{file.path}",
                "name": file.path,
                "hashes": _hashes(file.sha256),
            }
            for file in files
        ],
        "properties": _properties({"recipec:layer": layer}),
    }


def _data(data: DataFile, license: str, layer: str | None) -> _Plain:
    return {
        "type": "data",
        "bom-ref": f"data:{data.split}",
        "name": data.path,
        "data": [{"type": "dataset", "name": data.split}],
        "hashes": _hashes(data.sha256),
        **_licenses(About(names=(license,)) if license else About()),
        "properties": _properties({"recipec:rows": str(data.rows), "recipec:layer": layer}),
    }


def _hashes(digest: str) -> list[_Plain]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _licenses(about: About) -> _Plain:
    if about.expression:
        return {"licenses": [{"expression": about.expression}]}
    if about.names:
        return {"licenses": [{"license": {"name": name}} for name in about.names]}
    return {}


def _properties(rows: Mapping[str, str | None]) -> list[_Plain]:
    return [{"name": name, "value": value} for name, value in sorted(rows.items()) if value]
