"""An image on top of another one: that one's layers as they are, ours beside its files."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipec.emit.bundle import Bundle
from recipec.errors import EnvironmentLacks
from recipec.image.build import build_image
from recipec.image.image import Image
from recipec.image.layout import lacking, write_layout
from recipec.image.opened import open_image
from recipec.pins.lockfile import BaseImage, Lock, Model, Platform
from recipec.progress import Silent
from recipec.store import Store, sha256
from tests.support.foreign import PATH, config_of, layers_of, pinned, python, system
from tests.support.wheels import make_wheel, pin

INTERPRETER = "/usr/local/bin/python3.11"
OURS = ("opt/recipec", "out", "trained")


class Here:
    """A base whose config is in the store, and whose layers are not; two wheels."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.store = Store(folder / "store")
        elsewhere = layers_of(Store(folder / "elsewhere"), system(), python())
        config = json.dumps(config_of(elsewhere, settings=settings)).encode()
        self.base = BaseImage(
            repository="org/python",
            digest="sha256:" + "d" * 64,
            manifest="sha256:" + "e" * 64,
            config=self.store.add_bytes(config),
            config_size=len(config),
            layers=pinned(elsewhere),
            interpreter=INTERPRETER,
            python="3.11",
            glibc="2.36",
            packages=(),
        )
        scripts = {"tool-1.0.data/scripts/run": b"#!python -E\n", "tool/__init__.py": b""}
        scripts["tool-1.0.data/data/share/man/tool.1"] = b"man"
        wheels = [
            make_wheel(
                folder, "tool", scripts, entry_points="[console_scripts]\ntool = tool:main\n"
            ),
            make_wheel(folder, "other", {"other/a.py": b"a = 1\n" * 40}),
        ]
        for path in wheels:
            self.store.add_file(path)
        self.lock = Lock(
            recipe="small",
            recipe_digest=sha256(b""),
            platform=Platform(python="3.11", debian=""),
            uv="0",
            layer_format=1,
            wheels=tuple(pin(path) for path in wheels),
            debs=(),
            base=self.base,
            model=Model(source="path:m", files=()),
            data=(),
        )

    def build(self, **changes: Any) -> Image:
        lock = replace(self.lock, **changes)
        return build_image(
            lock,
            recipe=Bundle.of({"run.json": b"{}\n"}),
            runtime=Bundle.of({"recipec_runtime/__init__.py": b""}),
            environment=(("OMP_NUM_THREADS", "1"),),
            sources={w.sha256: self.store.path(w.sha256) for w in lock.wheels},
            store=self.store,
            jobs=1,
            progress=Silent(),
        )

    def read(self, digest: str) -> Any:
        return json.loads(self.store.read(digest))


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_its_layers_come_first_by_their_own_digests(here: Here) -> None:
    image, base = here.build(), here.base
    own = [(layer.digest, layer.diff_id, layer.size) for layer in base.layers]
    first = [(x.blob.digest, x.diff_id, x.blob.size) for x in image.layers[:2]]
    assert first == own
    kinds = ["base-image", "base-image", "mounts", "wheels", "wheels", "runtime", "recipe"]
    assert [layer.kind for layer in image.layers] == kinds
    assert lacking(image, here.store) == image.layers[:2]
    config = here.read(image.config.digest)
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in image.layers]
    assert len(config["history"]) == len(image.layers)
    for manifest, kind in (
        (image.manifest, "application/vnd.oci.image.layer.v1.tar+gzip"),
        (image.schema2, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ):
        rows = here.read(manifest.digest)["layers"]
        assert rows[0] == {"digest": own[0][0], "mediaType": kind, "size": own[0][2]}


def test_the_same_lock_gives_the_same_digest(here: Here, tmp_path: Path) -> None:
    image = here.build()
    assert here.build().manifest == image.manifest
    assert Here(tmp_path / "again").build().manifest == image.manifest
    elsewhere = here.build(base=replace(here.base, digest="sha256:" + "0" * 64))
    assert elsewhere.manifest != image.manifest
    assert [x.diff_id for x in elsewhere.layers] == [x.diff_id for x in image.layers]


def test_settings_are_ours_beside_its_variables(tmp_path: Path) -> None:
    more = ["HOME=/root", "PYTHONPATH=/srv/lib", "CUDA_HOME=/usr/local/cuda", "OMP_NUM_THREADS=9"]
    here = Here(
        tmp_path,
        Env=[PATH, *more],
        Entrypoint=["/entry.sh"],
        User="root",
        Volumes={"/data": {}},
        Labels={"a": "b"},
    )
    settings = here.read(here.build().config.digest)["config"]
    assert settings["Entrypoint"] == [INTERPRETER, "-m", "recipec_runtime"]
    assert settings["Cmd"] == ["train"]
    assert (settings["User"], settings["WorkingDir"]) == ("65532:65532", "/out")
    assert "Volumes" not in settings
    assert settings["Labels"] == {
        "org.opencontainers.image.title": "small",
        "org.opencontainers.image.description": "Fine-tunes path:m",
        "org.opencontainers.image.base.name": "org/python",
        "org.opencontainers.image.base.digest": here.base.digest,
    }
    variables = dict(pair.split("=", 1) for pair in settings["Env"])
    assert variables["PATH"] == f"/opt/recipec/python/bin:{PATH.removeprefix('PATH=')}"
    site = "/opt/recipec/python/lib/python3.11/site-packages"
    assert variables["PYTHONPATH"] == f"/opt/recipec/runtime:{site}:/srv/lib"
    assert (variables["HOME"], variables["LOGNAME"]) == ("/tmp", "recipec")
    assert variables["CUDA_HOME"] == "/usr/local/cuda"
    assert variables["OMP_NUM_THREADS"] == "1"


def test_nothing_of_ours_stands_among_its_files(here: Here) -> None:
    image = here.build()
    found: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, bytes] = {}
    for layer in image.layers[2:]:
        with tarfile.open(here.store.path(layer.blob.digest), "r:gz") as archive:
            for member in archive:
                found[member.name] = member
                if member.isreg() and "/bin/" in member.name:
                    data = archive.extractfile(member)
                    assert data is not None
                    texts[member.name] = data.read()
    files = {name for name, member in found.items() if not member.isdir()}
    assert all(name.startswith("opt/recipec/") for name in files)
    folders = {name for name, member in found.items() if member.isdir()} - {"opt"}
    assert all(name.startswith(OURS) for name in folders), folders
    assert (found["out"].mode, found["trained"].mode) == (0o1777, 0o755)
    prefix = "opt/recipec/python"
    assert f"{prefix}/lib/python3.11/site-packages/tool-1.0.dist-info/RECORD" in files
    assert f"{prefix}/share/man/tool.1" in files
    assert texts[f"{prefix}/bin/run"] == f"#!{INTERPRETER} -E\n".encode()
    assert texts[f"{prefix}/bin/tool"].startswith(f"#!{INTERPRETER}\n".encode())


def test_another_interpreter_makes_other_wheel_layers(here: Here) -> None:
    one = here.build()
    other = here.build(base=replace(here.base, interpreter="/opt/venv/bin/python"))
    tool, rest = (
        [i for i, x in enumerate(one.layers) if ("tool" in x.name) == wanted and "wheel" in x.kind]
        for wanted in (True, False)
    )
    assert one.layers[tool[0]].diff_id != other.layers[tool[0]].diff_id
    assert one.layers[rest[0]].diff_id == other.layers[rest[0]].diff_id
    settings = here.read(other.config.digest)["config"]
    assert settings["Entrypoint"][0] == "/opt/venv/bin/python"


def test_its_config_must_be_in_the_store(here: Here) -> None:
    here.store.path(here.base.config).unlink()
    with pytest.raises(EnvironmentLacks, match="the config of the base, sha256:"):
        here.build()


def test_a_layout_has_its_layers_once_they_are_here(here: Here, tmp_path: Path) -> None:
    image, folder = here.build(), tmp_path / "layout"
    write_layout(image, here.store, folder, reference="recipec.local/small:latest")
    opened = open_image(folder)
    assert [opened.holds(layer) for layer in opened.layers] == [False] * 2 + [True] * 5
    elsewhere = Store(tmp_path / "elsewhere")
    for layer in image.layers[:2]:
        here.store.add_file(elsewhere.path(layer.blob.digest))
    write_layout(image, here.store, folder, reference="recipec.local/small:latest")
    assert all(open_image(folder).holds(layer) for layer in opened.layers)
