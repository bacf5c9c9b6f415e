"""What layers an image has, before any of them is made.

In: a lock, the emitted files, where each input lies. Out: one `Spec` per layer, in image order,
with the key that its record is filed under. Reads no file and imports nothing heavy: a build with
everything cached is little more than this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recipec.emit.bundle import Bundle
from recipec.errors import EnvironmentLacks
from recipec.image.format import BIG_WHEEL, LAYER_FORMAT, MAX_WHEEL_LAYERS, POOLS
from recipec.image.image import OUTPUT, ROOT, TRAINED
from recipec.image.names import safe
from recipec.pins.lockfile import Lock, Wheel
from recipec.store import canonical, sha256

MODEL, DATA = f"{ROOT.lstrip('/')}/model", f"{ROOT.lstrip('/')}/data"
RUNTIME, RECIPE = f"{ROOT.lstrip('/')}/runtime", f"{ROOT.lstrip('/')}/recipe"

WHEELS = ("wheel", "wheels")
"""Kinds of layers that are made of wheels."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file that goes into a layer. `name` is the wheel's or package's file name, or the path
    in the image; `path` is where it lies now."""

    name: str
    path: Path
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One layer to be had: `inputs` from disk, or `files` whose bytes are at hand.

    kind: base, mounts, wheel, wheels, model, data, runtime or recipe.
    """

    kind: str
    name: str
    python: str
    elsewhere: str = ""
    """The path of a Python that is not the base layer's own, as wheels' scripts name it."""
    inputs: tuple[Input, ...] = ()
    folders: tuple[tuple[str, int], ...] = ()
    """Folders with their modes, beside those that the files need."""
    files: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """Bytes that must be read to make it."""
        return sum(i.size for i in self.inputs) + sum(len(data) for _, data in self.files)

    @property
    def key(self) -> str:
        """The digest of everything that the layer's bytes depend on."""
        return sha256(
            canonical(
                {
                    "layer_format": LAYER_FORMAT,
                    "kind": "wheels" if self.kind == "wheel" else self.kind,
                    "python": self.python,
                    **({"elsewhere": self.elsewhere} if self.elsewhere else {}),
                    **({"folders": self.folders} if self.folders else {}),
                    "inputs": [[i.name, i.digest] for i in self.inputs],
                    "files": [
                        [name, hashlib.sha256(data).hexdigest()] for name, data in self.files
                    ],
                }
            )
        )


def layer_specs(
    lock: Lock, *, recipe: Bundle, runtime: Bundle, sources: Mapping[str, Path]
) -> tuple[Spec, ...]:
    """The image's layers from the lowest up. Raises EnvironmentLacks if a source is not given."""
    python = lock.platform.python
    elsewhere = lock.base.interpreter if lock.base else ""
    debs = tuple(
        _input(deb.file, deb.sha256, deb.size, sources)
        for deb in sorted(lock.debs, key=lambda d: (d.package, d.sha256))
    )
    base = Spec(kind="base", name=f"{len(debs)} Debian packages", python=python, inputs=debs)
    if lock.base is not None:
        folders = ((OUTPUT.lstrip("/"), 0o1777), (TRAINED.lstrip("/"), 0o755))
        base = Spec(kind="mounts", name="folders for mounts", python=python, folders=folders)
    model = Spec(
        kind="model",
        name=lock.model.source,
        python=python,
        inputs=tuple(
            _input(f"{MODEL}/{safe(f.path, 'the model')}", f.sha256, f.size, sources)
            for f in sorted(lock.model.files, key=lambda f: f.path)
        ),
    )
    data = Spec(
        kind="data",
        name=", ".join(sorted(d.split for d in lock.data)),
        python=python,
        inputs=tuple(
            _input(f"{DATA}/{d.split}.jsonl", d.sha256, d.size, sources)
            for d in sorted(lock.data, key=lambda d: d.split)
        ),
    )
    specs = (
        base,
        *(replace(one, elsewhere=elsewhere) for one in _wheel_specs(lock.wheels, python, sources)),
        model,
        data,
        _texts("runtime", "recipec_runtime", RUNTIME, runtime, python),
        _texts("recipe", "scripts and run.json", RECIPE, recipe, python),
    )
    return tuple(spec for spec in specs if spec is base or spec.inputs or spec.files)


def _texts(kind: str, name: str, folder: str, bundle: Bundle, python: str) -> Spec:
    files = tuple((f"{folder}/{safe(path, f'the {kind}')}", data) for path, data in bundle)
    return Spec(kind=kind, name=name, python=python, files=tuple(sorted(files)))


def _wheel_specs(wheels: tuple[Wheel, ...], python: str, sources: Mapping[str, Path]) -> list[Spec]:
    """Large wheels by themselves; the others in pools that one more wheel changes one of."""
    ordered = sorted(wheels, key=lambda w: (w.name, w.sha256))
    large = sorted((w for w in ordered if w.size >= BIG_WHEEL), key=lambda w: (-w.size, w.name))
    alone = {w.sha256 for w in large[:MAX_WHEEL_LAYERS]}
    pools: list[list[Wheel]] = [[] for _ in range(POOLS)]
    specs = []
    for wheel in ordered:
        if wheel.sha256 in alone:
            specs.append(_wheels_spec("wheel", [wheel], python, sources))
        else:
            pools[hashlib.sha256(wheel.name.encode()).digest()[0] % POOLS].append(wheel)
    return specs + [_wheels_spec("wheels", pool, python, sources) for pool in pools if pool]


def _wheels_spec(kind: str, wheels: list[Wheel], python: str, sources: Mapping[str, Path]) -> Spec:
    name = ", ".join(f"{w.name} {w.version}" for w in wheels)
    inputs = tuple(_input(w.file, w.sha256, w.size, sources) for w in wheels)
    return Spec(kind=kind, name=name, python=python, inputs=inputs)


def _input(name: str, digest: str, size: int, sources: Mapping[str, Path]) -> Input:
    path = sources.get(digest)
    if path is None:
        raise EnvironmentLacks(
            f"{name}: its bytes ({digest}) are not here", hint="recipec lock fetches what is pinned"
        )
    return Input(name=name, path=path, digest=digest, size=size)
