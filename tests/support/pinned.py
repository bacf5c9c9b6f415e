"""A small lock of real form, and the image that it gives."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipec.emit.bundle import Bundle
from recipec.image.build import build_image
from recipec.image.image import Image
from recipec.pins.lockfile import DataFile, Lock, Model, ModelFile
from recipec.progress import Silent
from recipec.store import Store, sha256
from tests.support.debs import data_tar, make_deb, pin_deb
from tests.support.wheels import make_wheel, pin

RUNTIME = Bundle.of({"recipec_runtime/__init__.py": b"", "recipec_runtime/__main__.py": b"1\n"})
RECIPE = Bundle.of({"run.json": b'{"version":1}\n', "train.py": b"print('train')\n" * 400})


@dataclass(frozen=True, kw_only=True)
class Project:
    """A lock and where its files lie."""

    lock: Lock
    sources: dict[str, Path]

    def build(
        self,
        store: Store,
        jobs: int = 1,
        recipe: Bundle = RECIPE,
        promised: Mapping[str, str] | None = None,
    ) -> Image:
        return build_image(
            self.lock,
            recipe=recipe,
            runtime=RUNTIME,
            environment=(("ATEN_CPU_CAPABILITY", "avx2"),),
            sources=self.sources,
            store=store,
            jobs=jobs,
            progress=Silent(),
            promised=promised,
        )


def project(folder: Path, wheels: Sequence[Path] = ()) -> Project:
    """Two packages, some wheels, a model and data."""
    folder.mkdir(exist_ok=True)
    debs = [
        make_deb(folder, "libc6", data_tar({"lib/": b"", "lib/libc.so.6": b"\x7fELF"})),
        make_deb(folder, "base-files", data_tar({"etc/": b"", "etc/issue": b"Debian\n"})),
    ]
    if not wheels:
        noise = random.Random(7).randbytes(9 << 20)
        wheels = [
            make_wheel(folder, "large", {"large/weights.bin": noise, "large/__init__.py": b""}),
            *(
                make_wheel(folder, name, {f"{name}/__init__.py": f"# {name}\n".encode() * 99})
                for name in ("alpha", "beta", "gamma", "delta", "epsilon")
            ),
        ]
    model = folder / "weights.safetensors"
    model.write_bytes(random.Random(8).randbytes(100_000))
    data = folder / "train.jsonl"
    data.write_bytes(b'{"a": 1}\n' * 50)
    files = [*debs, *wheels, model, data]
    lock = Lock(
        recipe="recipes/legal-t5.yaml",
        recipe_digest=sha256(b""),
        uv="0.13",
        layer_format=1,
        wheels=tuple(pin(path) for path in wheels),
        debs=tuple(pin_deb(path) for path in debs),
        model=Model(
            source="path:models/tiny",
            files=(
                ModelFile(
                    path=model.name, sha256=sha256(model.read_bytes()), size=model.stat().st_size
                ),
            ),
        ),
        data=(
            DataFile(
                split="train",
                path="data/train.jsonl",
                sha256=sha256(data.read_bytes()),
                size=data.stat().st_size,
                rows=50,
            ),
        ),
    )
    return Project(lock=lock, sources={sha256(path.read_bytes()): path for path in files})
