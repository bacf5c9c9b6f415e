"""A small whole image, built by the real builder from tiny wheels and packages in a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipec.emit.bundle import Bundle
from recipec.evidence.licenses import of_debs, of_wheels
from recipec.evidence.sbom import Subject, make_sbom
from recipec.image.build import build_image
from recipec.image.image import Image
from recipec.image.layout import write_layout
from recipec.pins.lockfile import DataFile, Lock, Model, ModelFile, SourceFile
from recipec.progress import Silent
from recipec.store import Store, sha256
from tests.support.debs import Content, data_tar, make_deb, pin_deb
from tests.support.wheels import make_wheel, pin

DEP5 = b"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: somebody
License: GPL-2+

Files: debian/*
License: MIT
 The text of it.

License: GPL-2+
 The text of it.
"""


@dataclass(frozen=True, kw_only=True)
class Small:
    """The image, its lock, and the store that everything lies in."""

    lock: Lock
    image: Image
    store: Store

    def layout(self, folder: Path) -> Path:
        """The image as an OCI layout."""
        write_layout(self.image, self.store, folder, reference="recipec.local/small:latest")
        return folder


def metadata(name: str, version: str, *lines: str) -> dict[str, bytes]:
    """A wheel's METADATA with these further lines."""
    text = "\n".join([f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}", *lines, ""])
    return {f"{name}-{version}.dist-info/METADATA": text.encode()}


def wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *lines: str,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """A wheel whose METADATA has these lines."""
    inside = files if files is not None else {f"{name}/__init__.py": f"# {name}\n".encode() * 30}
    if not lines:
        return make_wheel(folder, name, inside, version=version)
    return make_wheel(folder, name, inside, version=version, extra=metadata(name, version, *lines))


def debs(folder: Path) -> list[Path]:
    """Three packages: a machine-readable copyright, one by link, and one in free words."""

    def docs(package: str, copyright: Content) -> bytes:
        parents = {"usr/": b"", "usr/share/": b"", "usr/share/doc/": b""}
        if isinstance(copyright, str):
            return data_tar({**parents, f"usr/share/doc/{package}": copyright})
        own = {f"usr/share/doc/{package}/": b"", f"usr/share/doc/{package}/copyright": copyright}
        return data_tar({**parents, **own})

    control = "Package: libgomp1\nVersion: 1.0\nSource: gcc-12 (12.2)\nArchitecture: all\n"
    return [
        make_deb(folder, "gcc-12-base", docs("gcc-12-base", DEP5)),
        make_deb(folder, "libgomp1", docs("libgomp1", "gcc-12-base"), control=control),
        make_deb(folder, "libc6", docs("libc6", b"As everybody knows, LGPL.\n")),
    ]


def make_small(
    folder: Path,
    store: Store,
    *,
    wheels: Sequence[Path] = (),
    script: bytes = b"print('train')\n",
    source: str = "path:models/tiny",
) -> Small:
    """Build it: `wheels`, or two with licences, three packages, a model, two splits, scripts."""
    folder.mkdir(exist_ok=True)
    wheels = wheels or [
        wheel(folder, "alpha", "1.0", "License-Expression: MIT OR Apache-2.0"),
        wheel(folder, "beta", "2.0+cpu", "Classifier: License :: OSI Approved :: BSD License"),
    ]
    packages = debs(folder)
    for name, data in (("weights", b"w" * 5000), ("train", b"{}\n" * 9), ("raw.csv", b"a\n1\n")):
        (folder / name).write_bytes(data)
    pins = {name: (folder / name).read_bytes() for name in ("weights", "train", "raw.csv")}
    digests = {name: sha256(data) for name, data in pins.items()}
    raw = SourceFile(path="data/raw.csv", sha256=digests["raw.csv"], size=4)
    lock = Lock(
        recipe="small",
        recipe_digest=sha256(b"recipe"),
        uv="0.13",
        layer_format=1,
        requirements=("alpha==1.0",),
        wheels=tuple(pin(path) for path in wheels),
        debs=tuple(pin_deb(path) for path in packages),
        model=Model(
            source=source,
            commit="c0ffee" if source.startswith("hub:") else None,
            license="apache-2.0",
            files=(ModelFile(path="weights", sha256=digests["weights"], size=5000),),
        ),
        data=(
            DataFile(
                split="train", path="data/train.jsonl", sha256=digests["train"], size=27, rows=9
            ),
            DataFile(
                split="test",
                path="raw.jsonl",
                sha256=digests["train"],
                size=27,
                rows=9,
                normal_form=1,
                sources=(raw,),
            ),
        ),
    )
    paths = [*wheels, *packages, *(folder / name for name in pins)]
    for path in paths:
        store.add_file(path)
    image = build_image(
        lock,
        recipe=Bundle.of({"train.py": script, "run.json": b"{}\n"}),
        runtime=Bundle.of({"recipec_runtime/__init__.py": b""}),
        environment=(("A", "1"),),
        sources={sha256(path.read_bytes()): path for path in paths},
        store=store,
        jobs=1,
        progress=Silent(),
    )
    return Small(lock=lock, image=image, store=store)


def bill(small: Small, *, recipec: str = "0.1.0") -> bytes:
    """The image's bill of materials."""
    about = {**of_wheels(small.lock.wheels, small.store), **of_debs(small.lock.debs, small.store)}
    subject = Subject(
        name="small",
        image=small.image,
        lock=small.lock,
        recipec=recipec,
        data_license="CC0-1.0",
    )
    return make_sbom(subject, about)
