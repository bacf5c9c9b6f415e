"""Small real images for tests: a root made of this machine's own bash and coreutils."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipec.image.image import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Image,
    Layer,
)
from recipec.store import Store, canonical, sha256

PROGRAMS = (
    *("bash", "cat", "dd", "env", "id", "ls", "mkdir", "mount", "readlink", "sleep", "stat"),
    *("touch", "true", "rm", "ln"),
)

Member = bytes | str
"""A file's bytes, or the target of a symlink."""


def folders_of(paths: Sequence[str]) -> list[str]:
    """Every parent folder of these relative paths, parents first."""
    found: set[str] = set()
    for path in paths:
        parts = path.split("/")[:-1]
        found.update("/".join(parts[: n + 1]) for n in range(len(parts)))
    return sorted(found)


def make_layer(
    store: Store,
    name: str,
    files: Mapping[str, Member],
    *,
    folders: Sequence[str] = (),
    kind: str = "base",
    mode: int = 0o755,
) -> Layer:
    """A gzip layer of these files in the store."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in sorted({*folders_of([*files, *(f"{f}/x" for f in folders)])}):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(info)
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.mode = mode
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return layer_of(store, name, raw.getvalue(), kind=kind)


def layer_of(store: Store, name: str, tar: bytes, *, kind: str = "base") -> Layer:
    """A layer of a tar that was made by hand."""
    blob = gzip.compress(tar, 1, mtime=0)
    return Layer(
        kind=kind,
        name=name,
        blob=Descriptor(media_type=OCI_LAYER, digest=store.add_bytes(blob), size=len(blob)),
        diff_id=sha256(tar),
        cached=False,
    )


def make_image(
    store: Store,
    layers: Sequence[Layer],
    *,
    environment: Sequence[str] = ("PATH=/usr/bin:/bin", "HOME=/tmp", "FROM_IMAGE=yes"),
    entrypoint: Sequence[str] = ("/usr/bin/bash", "-c"),
) -> Image:
    """An image of these layers with both manifests in the store."""
    config = {
        "architecture": "amd64",
        "created": "1970-01-01T00:00:01Z",
        "os": "linux",
        "config": {
            "User": "65532:65532",
            "WorkingDir": "/out",
            "Entrypoint": list(entrypoint),
            "Env": list(environment),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    about = _put(store, config, OCI_CONFIG)
    return Image(
        manifest=_manifest(store, layers, about, OCI_MANIFEST, OCI_CONFIG, OCI_LAYER),
        schema2=_manifest(store, layers, about, DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER),
        config=about,
        layers=tuple(layers),
    )


def _put(store: Store, value: object, media_type: str) -> Descriptor:
    data = canonical(value)
    return Descriptor(media_type=media_type, digest=store.add_bytes(data), size=len(data))


def _manifest(
    store: Store, layers: Sequence[Layer], about: Descriptor, kind: str, config: str, layer: str
) -> Descriptor:
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config, "digest": about.digest, "size": about.size},
        "layers": [
            {"mediaType": layer, "digest": part.blob.digest, "size": part.blob.size}
            for part in layers
        ],
    }
    return _put(store, manifest, kind)


def host_root(programs: Sequence[str] = PROGRAMS) -> dict[str, Member]:
    """The files of a root in which these programs of this machine run."""
    files: dict[str, Member] = {"bin": "usr/bin", "lib64": "usr/lib64", "lib": "usr/lib"}
    for name in programs:
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found is not None, f"this machine has no {name}"
        files[f"usr/bin/{name}"] = Path(found).read_bytes()
        listing = subprocess.run(["ldd", found], capture_output=True, text=True, check=True)
        for word in listing.stdout.split():
            if word.startswith("/"):
                inner = word.lstrip("/")
                inner = inner if inner.startswith("usr/") else f"usr/{inner}"
                files[inner] = Path(word).read_bytes()
    files["etc/passwd"] = (
        b"root:x:0:0:root:/root:/sbin/nologin\nrecipec:x:65532:65532::/tmp:/sbin/nologin\n"
    )
    files["etc/group"] = b"root:x:0:\nrecipec:x:65532:\n"
    return files


def base_layer(store: Store) -> Layer:
    """A base with bash, coreutils and every mount point."""
    return make_layer(
        store,
        "host programs",
        host_root(),
        folders=("out", "trained", "tmp", "proc", "sys", "dev", "opt/recipec"),
    )


def shell_image(store: Store, recipe: Mapping[str, Member] | None = None) -> Image:
    """An image that runs its command with bash; `recipe` files stand in a layer of their own."""
    files = {f"opt/recipec/recipe/{name}": data for name, data in (recipe or {"a": b"a"}).items()}
    model = {"opt/recipec/model/weights": b"w" * 1000}
    return make_image(
        store,
        (
            base_layer(store),
            make_layer(store, "model", model, kind="model", mode=0o644),
            make_layer(store, "recipe", files, kind="recipe", mode=0o644),
        ),
    )
