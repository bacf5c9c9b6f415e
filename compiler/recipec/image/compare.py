"""How two images differ: by layer, then by package, then by file.

In: two opened images. Out: a value that says every difference. Layers that both images have are
never read; of the others each is read once. Where the layers are out of reach (a registry), layers
and packages are compared by what the history says, and no file; so are the layers of a base whose
blobs are not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipec.image.contents import Contents, Entry, normalized, read_layer
from recipec.image.image import BORROWED
from recipec.image.opened import Opened, OpenedLayer

NONE = ""
"""The package of files that are no package's."""


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """A path with what was there and what is."""

    path: str
    before: Entry | None
    after: Entry | None


@dataclass(frozen=True, kw_only=True)
class PackageChange:
    """A package with its versions before and after, empty where it is not there."""

    name: str
    before: str
    after: str
    files: tuple[FileChange, ...]


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """A layer of one image beside the one that took its place in the other."""

    before: OpenedLayer | None
    after: OpenedLayer | None
    packages: tuple[PackageChange, ...]
    """The one with no name has what belongs to no package."""


@dataclass(frozen=True, kw_only=True)
class ImageDifference:
    """Everything in which two images differ."""

    config: Mapping[str, tuple[Any, Any]]
    layers: tuple[LayerChange, ...]
    reordered: bool
    """The same layers in another order."""
    recompressed: bool
    """The same tars in other blobs."""
    files_compared: bool

    @property
    def same(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.config or self.layers or self.reordered or self.recompressed)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """The layers that only one of the images has, with what is in them."""

    layers: tuple[OpenedLayer, ...]
    contents: Contents
    layer_of: Mapping[str, OpenedLayer]
    """By path, the topmost layer that holds it."""
    layer_with: Mapping[str, OpenedLayer]
    """By package."""


def compare(one: Opened, other: Opened) -> ImageDifference:
    """Every difference. Raises EnvironmentLacks for a layer that cannot be read."""
    ids = [[layer.diff_id for layer in image.layers] for image in (one, other)]
    gone = tuple(layer for layer in one.layers if layer.diff_id not in ids[1])
    come = tuple(layer for layer in other.layers if layer.diff_id not in ids[0])
    sides = ((one, gone), (other, come))
    reachable = one.blobs is not None and other.blobs is not None
    # Layers of a base are read on both sides or on none: half of them would tell of lost files.
    borrowed = [(image, layer) for image, kept in sides for layer in kept if _of_a_base(layer)]
    whole = reachable and all(image.holds(layer) for image, layer in borrowed)
    left, right = (_side(i, k, read=reachable, bases=whole) for i, k in sides)
    changed = _changed_files(left, right)
    shared = {layer.diff_id: layer.digest for layer in one.layers if layer.media_type}
    return ImageDifference(
        config={
            key: (before, after)
            for key, before, after in _changed(_settings(one), _settings(other))
        },
        layers=tuple(_layer_change(p, left, right, changed) for p in _pairs(gone, come)),
        reordered=not gone and not come and ids[0] != ids[1],
        recompressed=any(
            shared.get(layer.diff_id, layer.digest) != layer.digest
            for layer in other.layers
            if layer.media_type
        ),
        files_compared=whole,
    )


def _settings(image: Opened) -> dict[str, Any]:
    """Architecture and every setting of the config, by dotted name."""
    flat: dict[str, Any] = {"architecture": image.config.get("architecture")}
    for key, value in (image.config.get("config") or {}).items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        elif key == "Env" and isinstance(value, list):
            pairs = (str(row).partition("=") for row in value)
            flat |= {f"Env.{name}": text for name, _, text in pairs}
        else:
            flat[key] = value
    return flat


def _changed(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            yield key, left.get(key), right.get(key)


def _of_a_base(layer: OpenedLayer) -> bool:
    return layer.origin.kind == BORROWED


def _side(image: Opened, layers: tuple[OpenedLayer, ...], *, read: bool, bases: bool) -> _Side:
    total = Contents()
    layer_of: dict[str, OpenedLayer] = {}
    layer_with: dict[str, OpenedLayer] = {}
    for layer in layers:
        if read and (bases or not _of_a_base(layer)):
            with image.layer(layer) as blob:
                found = read_layer(blob, image.label)
        else:
            packages = {normalized(name): version for name, version in layer.origin.packages}
            found = Contents(packages=packages)
        total.files.update(found.files)
        total.owners.update(found.owners)
        total.packages.update(found.packages)
        layer_of |= dict.fromkeys(found.files, layer)
        layer_with |= dict.fromkeys(found.packages, layer)
    return _Side(layers=layers, contents=total, layer_of=layer_of, layer_with=layer_with)


_Pair = tuple[OpenedLayer | None, OpenedLayer | None]


def _pairs(gone: Sequence[OpenedLayer], come: Sequence[OpenedLayer]) -> list[_Pair]:
    """Each layer beside the one that is most like it; what is like none stands alone.

    Layers of wheels are alike by the packages they share, others by kind, and by name before that.
    """
    scores = sorted(
        (
            (-_likeness(old, new), i, j)
            for i, old in enumerate(gone)
            for j, new in enumerate(come)
            if _likeness(old, new)
        ),
    )
    mate: dict[int, int] = {}
    for _, i, j in scores:
        if i not in mate and j not in mate.values():
            mate[i] = j
    pairs: list[_Pair] = [(old, come[mate[i]] if i in mate else None) for i, old in enumerate(gone)]
    pairs += [(None, new) for j, new in enumerate(come) if j not in mate.values()]
    return pairs


def _likeness(old: OpenedLayer, new: OpenedLayer) -> int:
    names = [{name for name, _ in layer.origin.packages} for layer in (old, new)]
    if names[0] or names[1]:
        return 2 * len(names[0] & names[1])
    if old.origin.kind != new.origin.kind:
        return 0
    return 2 if old.origin.name == new.origin.name else 1


def _changed_files(left: _Side, right: _Side) -> list[FileChange]:
    """What happened to each path of either side, in the order of paths."""
    found = []
    for path in sorted({*left.contents.files, *right.contents.files}):
        before, after = left.contents.files.get(path), right.contents.files.get(path)
        if before != after and not _only_a_way(before, after):
            found.append(FileChange(path=path, before=before, after=after))
    return found


def _layer_change(
    pair: _Pair, left: _Side, right: _Side, changed: Sequence[FileChange]
) -> LayerChange:
    """What changed in a pair of layers; told where it is now, or where it was if it is gone."""
    old, new = pair
    files: dict[str, list[FileChange]] = {}
    for change in changed:
        home = right.layer_of.get(change.path) if change.after else left.layer_of[change.path]
        if home is (new if change.after else old):
            owners = (right.contents.owners, left.contents.owners)
            owner = next((o[change.path] for o in owners if change.path in o), NONE)
            files.setdefault(owner, []).append(change)
    names = {*files}
    before, after = left.contents.packages, right.contents.packages
    for name in {*before, *after}:
        there = name in after
        home = right.layer_with[name] if there else left.layer_with[name]
        if before.get(name) != after.get(name) and home is (new if there else old):
            names.add(name)
    return LayerChange(
        before=old,
        after=new,
        packages=tuple(
            PackageChange(
                name=name,
                before=before.get(name, ""),
                after=after.get(name, ""),
                files=tuple(files.get(name, ())),
            )
            for name in sorted(names, key=lambda n: (n == NONE, n))
        ),
    )


def _only_a_way(before: Entry | None, after: Entry | None) -> bool:
    """A folder that came or went: its files tell it."""
    there = before or after
    return there is not None and there.kind == "folder" and (before is None or after is None)
