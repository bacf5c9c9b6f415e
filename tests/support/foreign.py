"""Images that others made, as bases for ours: roots with a Python in them, made by hand.

The programs are the first bytes of real ones: what a program's header says, and nothing to run.
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from recipec.image.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, Image, Layer
from recipec.pins.baseimage import Served, ServedLayer
from recipec.pins.lockfile import BaseLayer
from recipec.store import Store, canonical, sha256
from tests.support.images import Member, folders_of, layer_of

GLIBC_LOADER = "/lib64/ld-linux-x86-64.so.2"
MUSL_LOADER = "/lib/ld-musl-x86_64.so.1"
LIBS = "usr/lib/x86_64-linux-gnu"
PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
Files = Mapping[str, Member]


def program(loader: str = GLIBC_LOADER, *, machine: int = 62, bits: int = 2) -> bytes:
    """The start of an ELF program with one program header, PT_INTERP (none without a loader)."""
    text = loader.encode() + b"\0"
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    kind = 3 if loader else 1
    head += struct.pack("<IIQQQQQQ", kind, 4, 120, 120, 120, len(text), len(text), 1)
    return head + text


def libc(version: str = "2.36") -> bytes:
    """A C library that says which one it is."""
    said = f"GNU C Library (Debian GLIBC {version}-9) stable release version {version}.\n"
    return b"\x7fELF" + bytes(60) + said.encode() + bytes(500)


def system(version: str = "2.36") -> dict[str, Member]:
    """What is below any Python: /usr merged, a loader, a C library, the C++ library."""
    return {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        f"{LIBS}/ld-linux-x86-64.so.2": b"\x7fELF",
        f"{LIBS}/libc.so.6": libc(version),
        f"{LIBS}/libstdc++.so.6": "libstdc++.so.6.0.30",
        f"{LIBS}/libstdc++.so.6.0.30": b"\x7fELF",
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    }


def python(version: str = "3.11", prefix: str = "usr/local") -> dict[str, Member]:
    """A Python as Docker's own images have it: program, links, standard library, pip."""
    site = f"{prefix}/lib/python{version}/site-packages"
    return {
        f"{prefix}/bin/python{version}": program(),
        f"{prefix}/bin/python3": f"python{version}",
        f"{prefix}/bin/python": "python3",
        f"{prefix}/lib/python{version}/os.py": b"# the standard library\n",
        f"{site}/pip/__init__.py": b"",
        f"{site}/pip-24.0.dist-info/METADATA": b"Name: pip\nVersion: 24.0\n",
    }


def tar_of(
    files: Files, *, modes: Mapping[str, int] | None = None, folders: Sequence[str] = ()
) -> bytes:
    """A tar of these files and links and of the folders above them; `modes` are not the usual."""
    modes = modes or {}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in folders_of([*files, *(f"{folder}/x" for folder in folders)]):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, modes.get(folder, 0o755)
            archive.addfile(info)
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.mode = modes.get(path, 0o755)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def layers_of(store: Store, *layers: Files | bytes) -> tuple[Layer, ...]:
    """Gzip layers of these files, or of tars made already; the lowest first."""
    tars = [one if isinstance(one, bytes) else tar_of(one) for one in layers]
    return tuple(layer_of(store, f"layer {n}", tar) for n, tar in enumerate(tars))


def pinned(layers: Sequence[Layer]) -> tuple[BaseLayer, ...]:
    """The same as a lock has them."""
    return tuple(
        BaseLayer(
            digest=layer.blob.digest,
            size=layer.blob.size,
            media_type=OCI_LAYER,
            diff_id=layer.diff_id,
        )
        for layer in layers
    )


def config_of(layers: Sequence[Layer], **more: Any) -> dict[str, Any]:
    """A config as docker's Python images have it."""
    settings = {
        "Env": [PATH, "LANG=C.UTF-8", "PYTHON_VERSION=3.11.9"],
        "Cmd": ["python3"],
        "Labels": {"maintainer": "somebody"},
        **more.pop("settings", {}),
    }
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": "ADD rootfs"}, {"created_by": "CMD", "empty_layer": True}],
        **more,
    }


def served(layers: Sequence[Layer], config: Mapping[str, Any], kind: str = OCI_LAYER) -> Served:
    """What a registry would say of an image of these layers."""
    data = canonical(config)
    return Served(
        manifest=sha256(b"manifest"),
        config=sha256(data),
        data=data,
        layers=tuple(
            ServedLayer(digest=x.blob.digest, size=x.blob.size, media_type=kind) for x in layers
        ),
    )


def image_of(store: Store, layers: Sequence[Layer], config: Mapping[str, Any]) -> Image:
    """An image of these layers with one manifest, all of it in the store."""
    data = canonical(config)
    about = Descriptor(media_type=OCI_CONFIG, digest=store.add_bytes(data), size=len(data))
    rows = [msgspec.to_builtins(blob) for blob in (about, *(layer.blob for layer in layers))]
    plain = [{"mediaType": row.pop("media_type"), **row} for row in rows]
    text = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": plain[0],
            "layers": plain[1:],
        }
    )
    manifest = Descriptor(media_type=OCI_MANIFEST, digest=store.add_bytes(text), size=len(text))
    return Image(manifest=manifest, schema2=manifest, config=about, layers=tuple(layers))
