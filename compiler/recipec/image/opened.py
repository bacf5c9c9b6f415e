"""Images that were written before: OCI layouts, and archives of docker, podman, skopeo or recipec.

In: a folder or a tar file. Out: an `Opened`: manifest, config, and each layer's stream. Small blobs
are checked against their digests. Nothing is unpacked and nothing is written; what cannot be read
is EnvironmentLacks.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.image.history import Origin, origins
from recipec.image.image import OCI_CONFIG, OCI_MANIFEST
from recipec.store import DIGEST, sha256

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_LARGEST = 32 << 20
_WRONG = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What JSON that is not what it should be leads to."""


@dataclass(frozen=True, kw_only=True)
class OpenedLayer:
    """One layer: digest and size of its blob (bytes), digest of its tar, where it came from."""

    digest: str
    size: int
    diff_id: str
    media_type: str
    origin: Origin


class Bytes(Protocol):
    """Where an image's blobs are."""

    def open(self, digest: str) -> IO[bytes]:
        """A blob's bytes. Raises OSError or KeyError if it is not there."""
        ...


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An image that can be looked at: `blobs` is None where its layers are out of reach."""

    label: str
    digest: str
    """Of the manifest; empty for an archive that has none."""
    media_type: str
    config_digest: str
    config: Mapping[str, Any] = field(repr=False)
    layers: tuple[OpenedLayer, ...]
    annotations: Mapping[str, str]
    blobs: Bytes | None = field(default=None, repr=False)

    def holds(self, layer: OpenedLayer) -> bool:
        """Whether the layer's blob is here; that of another image may be left in a registry."""
        try:
            stream = self.blobs.open(layer.digest) if self.blobs is not None else None
        except (OSError, KeyError):
            return False
        if stream is not None:
            stream.close()
        return stream is not None

    @contextmanager
    def layer(self, layer: OpenedLayer) -> Iterator[IO[bytes]]:
        """The layer's blob as it lies there. Raises EnvironmentLacks if it cannot be had."""
        if self.blobs is None:
            raise EnvironmentLacks(
                f"the layers of {self.label} are in a registry",
                hint="pull the image to look into them",
            )
        try:
            stream = self.blobs.open(layer.digest)
        except (OSError, KeyError) as error:
            raise unreadable(self.label, error) from error
        with stream:
            yield stream


def open_image(path: Path) -> Opened:
    """The image in an OCI layout (a folder) or in an archive (a tar).

    Raises EnvironmentLacks if there is none that can be read, HashMismatch for changed bytes.
    """
    source = _Folder(path) if path.is_dir() else _Archive(path)
    try:
        if source.has("index.json"):
            return _by_index(str(path), source)
        return _by_docker(str(path), source)
    except (*_WRONG, OSError) as error:
        raise unreadable(str(path), error) from error


def opened(
    label: str,
    *,
    manifest: bytes,
    media_type: str,
    config: bytes,
    annotations: Mapping[str, str] | None = None,
    blobs: Bytes | None = None,
) -> Opened:
    """An image from the bytes of its manifest and config. Raises EnvironmentLacks for others."""
    try:
        rows, about = json.loads(manifest)["layers"], _config(config)
        diff_ids, said = about["rootfs"]["diff_ids"], origins(about)
        layers = tuple(
            OpenedLayer(
                digest=_digest(row["digest"]),
                size=int(row.get("size") or 0),
                diff_id=_digest(diff_id),
                media_type=str(row.get("mediaType", "")),
                origin=origin,
            )
            for row, diff_id, origin in zip(rows, diff_ids, said, strict=True)
        )
    except _WRONG as error:
        raise unreadable(label, error) from error
    return Opened(
        label=label,
        digest=sha256(manifest),
        media_type=media_type,
        config_digest=sha256(config),
        config=about,
        layers=layers,
        annotations=dict(annotations or {}),
        blobs=blobs,
    )


def unreadable(label: str, error: Exception) -> EnvironmentLacks:
    """The error for what is no image, or a damaged one."""
    reason = f"{type(error).__name__}: {error}"
    hint = "build or fetch the image again"
    return EnvironmentLacks(f"{label} is not an image that can be read ({reason})", hint=hint)


class _Folder:
    """The files of an OCI layout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def file(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("rb")

    def size(self, name: str) -> int:
        return (self._folder / name).stat().st_size

    def open(self, digest: str) -> IO[bytes]:
        return self.file(_blob(digest))


class _Archive:
    """The members of a tar, which are read where they lie."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with tarfile.open(path, "r:") as tar:
                self._members = {member.name.removeprefix("./"): member for member in tar}
        except (tarfile.TarError, OSError) as error:
            raise EnvironmentLacks(
                f"{path} is not an image archive ({error})",
                hint="name a tar that is not compressed, as `docker save` and"
                " `recipec export-archive` write it",
            ) from error

    def has(self, name: str) -> bool:
        return name in self._members

    def file(self, name: str) -> IO[bytes]:
        tar = tarfile.open(self._path, "r:")  # noqa: SIM115 - the stream that is given out owns it
        try:
            stream = tar.extractfile(self._members[name])
        except BaseException:
            tar.close()
            raise
        if stream is None:
            tar.close()
            raise KeyError(name)
        return stream

    def size(self, name: str) -> int:
        return self._members[name].size

    def open(self, digest: str) -> IO[bytes]:
        return self.file(_blob(digest))


class _Layers:
    """The layers of an archive that names them by path."""

    def __init__(self, source: _Folder | _Archive, paths: Mapping[str, str]) -> None:
        self._source = source
        self._paths = paths

    def open(self, digest: str) -> IO[bytes]:
        return self._source.file(self._paths[digest])


def _by_index(label: str, source: _Folder | _Archive) -> Opened:
    row = _entry(json.loads(_small(source, "index.json")))
    annotations: dict[str, str] = {}
    for _ in range(3):
        annotations = {**annotations, **(row.get("annotations") or {})}
        manifest = _checked(source, row["digest"])
        kind = str(json.loads(manifest).get("mediaType") or row.get("mediaType") or OCI_MANIFEST)
        if kind not in INDEXES:
            break
        row = _entry(json.loads(manifest))
    config = _checked(source, json.loads(manifest)["config"]["digest"])
    return opened(
        label,
        manifest=manifest,
        media_type=kind,
        config=config,
        annotations=annotations,
        blobs=source,
    )


def _entry(index: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of an index for linux/amd64, or its first."""
    rows: Sequence[dict[str, Any]] = index["manifests"]
    for row in rows:
        platform = row.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return row
    return rows[0]


def _by_docker(label: str, source: _Folder | _Archive) -> Opened:
    """An archive of older dockers: manifest.json names a config and plain tars."""
    about = json.loads(_small(source, "manifest.json"))[0]
    config = _small(source, about["Config"])
    plain = _config(config)
    diff_ids = plain["rootfs"]["diff_ids"]
    paths = dict(zip(diff_ids, about["Layers"], strict=True))
    layers = tuple(
        OpenedLayer(
            digest=diff_id,
            size=source.size(paths[diff_id]),
            diff_id=diff_id,
            media_type="",
            origin=origin,
        )
        for diff_id, origin in zip(diff_ids, origins(plain), strict=True)
    )
    return Opened(
        label=label,
        digest="",
        media_type=OCI_CONFIG,
        config_digest=sha256(config),
        config=plain,
        layers=layers,
        annotations={},
        blobs=_Layers(source, paths),
    )


def _config(data: bytes) -> dict[str, Any]:
    """An image's config with settings of the kinds that they should be. Raises ValueError."""
    plain = json.loads(data)
    settings = plain.get("config") or {}
    kinds = {"Labels": dict, "Env": list, "Entrypoint": list, "Cmd": list, "User": str}
    for name, kind in kinds.items():
        if settings.get(name) is not None and not isinstance(settings[name], kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    return dict(plain)


def _checked(source: _Folder | _Archive, digest: str) -> bytes:
    data = _small(source, _blob(_digest(digest)))
    if sha256(data) != digest:
        raise HashMismatch("a blob of the image", expected=digest, found=sha256(data))
    return data


def _small(source: _Folder | _Archive, name: str) -> bytes:
    if source.size(name) > _LARGEST:
        raise ValueError(f"{name} is too large")
    with source.file(name) as stream:
        return stream.read()


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _digest(text: object) -> str:
    if not isinstance(text, str) or not DIGEST.fullmatch(text):
        raise ValueError(f"{text!r} is no digest")
    return text
