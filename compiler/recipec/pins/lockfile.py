"""The lock: every input of a recipe by hash, and the bytes expected to come of them.

In: plain JSON. Out: frozen dataclasses, and back to the one JSON text of them. A lock names
artefacts only: no host, no absolute path, no time of day. Nothing here reads disk or network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import msgspec

from recipec.store import DIGEST

LOCK_VERSION = 1
GGUF = "model.gguf"
"""The name that a GGUF file has among a pinned model's files, whatever it was called."""
_OPTIONAL = ("accelerator", "base", "label_counts", "layers", "normal_form", "packages", "sources")
"""Keys that a lock holds only where they say something."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What the image runs on: the key of every wheel and package choice."""

    os: str = "linux"
    architecture: str = "amd64"
    python: str = "3.11"
    wheels: str = "x86_64-manylinux_2_28"
    debian: str = "bookworm"
    """The release of the packages; empty where the base is an image of a registry."""
    accelerator: str = ""
    """`cuda` where the wheels are those for NVIDIA GPUs; empty for CPUs."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One Python wheel: `file` is its PEP 427 name, `size` in bytes."""

    name: str
    version: str
    file: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Deb:
    """One Debian package: `file` is its name in the pool without folders, `size` in bytes."""

    package: str
    version: str
    architecture: str
    file: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class BaseLayer:
    """One layer of a base: a gzip blob, `size` in bytes, and the digest of its tar."""

    digest: str
    size: int
    media_type: str
    diff_id: str


@dataclass(frozen=True, kw_only=True)
class BasePackage:
    """A Python package that a base has where its Python looks for one."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """An image of a registry that ours begins with: what it is, and the Python found in it.

    No registry is named: the recipe says in which one `repository` lies.
    """

    repository: str
    digest: str
    """What the recipe names: a manifest, or an index of manifests for several platforms."""
    manifest: str
    """The manifest for the lock's platform."""
    config: str
    config_size: int
    layers: tuple[BaseLayer, ...]
    """From the lowest up."""
    interpreter: str
    """Absolute path of the Python, such as /usr/local/bin/python3.11."""
    python: str
    """Its version, such as 3.11."""
    glibc: str
    packages: tuple[BasePackage, ...]


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of the model, by its path relative to the model's folder."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model to tune: where it comes from, and its files in sorted order."""

    source: str
    commit: str | None = None
    license: str | None = None
    files: tuple[ModelFile, ...]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that rows were read from: `path` relative to the project's root, `size` in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One split as the image has it: JSON Lines with `rows` examples.

    Without `sources` it is the project's file at `path`, as it lies there. With them the compiler
    wrote it from these files, in the version `normal_form`, and `path` is no more than its name.
    """

    split: str
    path: str
    sha256: str
    size: int
    rows: int
    normal_form: int = 0
    sources: tuple[SourceFile, ...] = ()

    @property
    def read_from(self) -> tuple[SourceFile, ...]:
        """The files of the project that the rows come from."""
        itself = SourceFile(path=self.path, sha256=self.sha256, size=self.size)
        return self.sources or (itself,)


@dataclass(frozen=True, kw_only=True)
class ExpectedImage:
    """The image that these inputs gave, with the compiler that made it."""

    recipec: str
    layers: tuple[str, ...] = ()
    """Digests of the layers' blobs, from the lowest up."""
    diff_ids: tuple[str, ...]
    """Digests of what they inflate to, in the same order."""
    config: str
    manifest: str
    schema2: str

    @property
    def promised(self) -> dict[str, str]:
        """The diff_id of each layer by its blob's digest; what is no digest is no promise."""
        pairs = zip(self.layers, self.diff_ids, strict=False)
        return {
            blob: tar for blob, tar in pairs if DIGEST.fullmatch(blob) and DIGEST.fullmatch(tar)
        }


@dataclass(frozen=True, kw_only=True)
class ExpectedOutputs:
    """What training gave: sha256 by path under the output folder, for one run id."""

    run_id: str
    hardware_class: str
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Everything a build needs, by hash. All digests are `sha256:` and 64 hex digits."""

    lock: int = LOCK_VERSION
    recipe: str
    recipe_digest: str
    platform: Platform = field(default_factory=Platform)
    uv: str
    exclude_newer: str | None = None
    layer_format: int
    requirements: tuple[str, ...] = ()
    """What the wheels were resolved for, as PEP 508 texts in sorted order."""
    wheels: tuple[Wheel, ...]
    packages: tuple[str, ...] = ()
    """Debian packages asked for beyond the base's own; `debs` holds their dependencies too."""
    debs: tuple[Deb, ...]
    base: BaseImage | None = None
    """The image that stands in place of `debs`, if it is one of a registry."""
    model: Model
    data: tuple[DataFile, ...]
    labels: tuple[str, ...] = ()
    """Labels or tags in the order of the model's outputs."""
    label_counts: tuple[int, ...] = ()
    """Training rows (of tags: words) that have each of `labels`."""
    image: ExpectedImage | None = None
    outputs: ExpectedOutputs | None = None


def to_json(lock: Lock) -> bytes:
    """The lock's text: keys in the order of the types, two spaces, a newline at the end."""
    plain = msgspec.to_builtins(lock)
    for part in (plain, plain["platform"], plain["image"] or {}, *plain["data"]):
        for key in {*_OPTIONAL} & part.keys():
            if not part[key]:
                del part[key]
    return (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def from_json(data: bytes) -> Lock:
    """A lock from its text. Raises ValueError with the path of what is wrong in it."""
    try:
        return msgspec.json.decode(data, type=Lock, strict=True)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
