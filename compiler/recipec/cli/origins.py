"""What the layers of an image were made from.

In: an opened image, with its lock, an attached bill of materials, or the layers themselves. Out:
rows for each layer by its diff_id. What is known depends on where it is read: the history names
wheels; a lock and a bill of materials name every input by hash; the layers hold every file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipec.image.image import BORROWED

if TYPE_CHECKING:
    from recipec.image.opened import Opened, OpenedLayer
    from recipec.pins.lockfile import Lock

_CARGO = {
    "library": "wheel",
    "machine-learning-model": "model",
    "data": "data",
    "container": "image",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One input of a layer. type: wheel, deb, image, model, data or file; package for what a base
    of others lists, by dpkg or by Python."""

    type: str
    name: str
    version: str = ""
    sha256: str = ""

    def to_plain(self) -> dict[str, str | None]:
        """The row as JSON."""
        return {
            "type": self.type,
            "name": self.name,
            "version": self.version or None,
            "sha256": self.sha256 or None,
        }


Rows = dict[str, list[Row]]


def from_history(image: Opened) -> Rows:
    """The wheels that the history names, and the image that ours begins with."""
    return {
        layer.diff_id: _of_base(layer)
        or [
            Row(type="wheel", name=name, version=version) for name, version in layer.origin.packages
        ]
        for layer in image.layers
    }


def _of_base(layer: OpenedLayer) -> list[Row]:
    """`org/python@sha256:... 1/4` of a layer's name as a row; none for a layer of ours."""
    if layer.origin.kind != BORROWED:
        return []
    name, _, digest = layer.origin.name.partition(" ")[0].partition("@")
    return [Row(type="image", name=name, sha256=digest)]


def from_lock(image: Opened, lock: Lock) -> Rows:
    """Every input that the lock pins, in the layer that it went into."""
    wheels = {wheel.name: wheel for wheel in lock.wheels}
    rows: Rows = {}
    for layer in image.layers:
        if layer.origin.kind == "base":
            rows[layer.diff_id] = [
                Row(type="deb", name=deb.package, version=deb.version, sha256=deb.sha256)
                for deb in lock.debs
            ]
        elif layer.origin.kind == BORROWED:
            rows[layer.diff_id] = _of_base(layer)
        elif layer.origin.kind == "model":
            rows[layer.diff_id] = [
                Row(type="model", name=file.path, sha256=file.sha256) for file in lock.model.files
            ]
        elif layer.origin.kind == "data":
            rows[layer.diff_id] = [
                Row(type="data", name=data.path, sha256=data.sha256) for data in lock.data
            ]
        else:
            rows[layer.diff_id] = [
                Row(
                    type="wheel",
                    name=name,
                    version=version,
                    sha256=wheels[name].sha256 if name in wheels else "",
                )
                for name, version in layer.origin.packages
            ]
    return rows


def from_sbom(image: Opened, bill: Mapping[str, Any]) -> Rows:
    """What an attached bill of materials says; it is believed as far as whoever attached it."""
    rows = {layer.diff_id: list[Row]() for layer in image.layers}
    by_digest = {layer.digest: layer.diff_id for layer in image.layers}
    for part in _rows(bill, "components"):
        for said in _rows(part, "properties"):
            found = by_digest.get(str(said.get("value")))
            if said.get("name") == "recipec:layer" and found is not None:
                rows[found] += _of_component(part)
    return rows


def _rows(plain: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects in a list of a document that others wrote."""
    found = plain.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _of_component(part: Mapping[str, Any]) -> list[Row]:
    kind = _CARGO.get(str(part.get("type")), "file")
    if str(part.get("purl", "")).startswith("pkg:deb/"):
        kind = "deb"
    # What a base has in it is in one of its layers, and nobody says in which.
    inner = [part] if kind == "image" else _rows(part, "components") or [part]
    return [
        Row(
            type=kind,
            name=str(one.get("name", "")),
            version="" if kind == "image" else str(one.get("version", "")),
            sha256=_hash(one),
        )
        for one in inner
    ]


def _hash(part: Mapping[str, Any]) -> str:
    hashes = _rows(part, "hashes")
    found = next((row.get("content") for row in hashes if row.get("alg") == "SHA-256"), None)
    return f"sha256:{found}" if found else ""


def from_layers(image: Opened, *, every: bool) -> Rows:
    """What the layers hold: packages of the base by dpkg's status, wheels by the history.

    With `every`, every layer is read, and every file is a row too.
    """
    rows = from_history(image)
    for layer in image.layers:
        if layer.origin.kind == BORROWED and not image.holds(layer):
            continue  # it is in a registry, and nobody here has needed it yet
        if every or layer.origin.kind == "base":
            rows[layer.diff_id] = [*_of_base(layer), *_read(image, layer, every=every)]
    return rows


def _read(image: Opened, layer: OpenedLayer, *, every: bool) -> list[Row]:
    from recipec.image.contents import read_layer

    with image.layer(layer) as blob:
        found = read_layer(blob, image.label)
    kind = {"base": "deb", BORROWED: "package"}.get(layer.origin.kind, "wheel")
    rows = [
        Row(type=kind, name=name, version=version)
        for name, version in sorted(found.packages.items())
    ]
    if every:
        rows += [
            Row(type="file", name=path, sha256=f"sha256:{entry.digest}" if entry.digest else "")
            for path, entry in sorted(found.files.items())
            if entry.kind != "folder"
        ]
    return rows
