"""Layouts and archives: what they hold, and that they hold it again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from recipec.emit.bundle import Bundle
from recipec.errors import EnvironmentLacks
from recipec.image.archive import write_archive
from recipec.image.build import build_image
from recipec.image.image import Image
from recipec.image.layout import write_layout
from recipec.pins.lockfile import Lock, Model
from recipec.progress import Silent
from recipec.store import Store, sha256

REFERENCE = "registry.example/team/legal-t5:latest"


def image_of(store: Store, script: bytes = b"print(1)\n") -> Image:
    lock = Lock(
        recipe="legal-t5",
        recipe_digest=sha256(b""),
        uv="0.13",
        layer_format=1,
        wheels=(),
        debs=(),
        model=Model(source="path:m", files=()),
        data=(),
    )
    return build_image(
        lock,
        recipe=Bundle.of({"train.py": script}),
        runtime=Bundle.of({"recipec_runtime/__init__.py": b""}),
        environment=(),
        sources={},
        store=store,
        jobs=1,
        progress=Silent(),
    )


def every_file(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_a_layout_links_the_stores_blobs(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = image_of(store)
    write_layout(image, store, tmp_path / "image", reference=REFERENCE)
    index = json.loads((tmp_path / "image" / "index.json").read_bytes())
    assert index["manifests"] == [
        {
            "annotations": {
                "io.containerd.image.name": REFERENCE,
                "org.opencontainers.image.ref.name": REFERENCE,
            },
            "digest": image.manifest.digest,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": image.manifest.size,
        }
    ]
    assert index["annotations"] == {"io.recipec.schema2": image.schema2.digest}
    files = every_file(tmp_path / "image")
    assert files.pop("oci-layout") == b'{"imageLayoutVersion":"1.0.0"}'
    del files["index.json"]
    assert len(files) == 6
    for name, data in files.items():
        digest = hashlib.sha256(data).hexdigest()
        assert name == f"blobs/sha256/{digest}"
        assert (tmp_path / "image" / name).samefile(store.path(f"sha256:{digest}"))


def test_a_second_layout_replaces_the_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    write_layout(image_of(store), store, tmp_path / "image", reference=REFERENCE)
    changed = image_of(store, b"print(2)\n")
    write_layout(changed, store, tmp_path / "image", reference=REFERENCE)
    write_layout(changed, store, tmp_path / "fresh", reference=REFERENCE)
    assert every_file(tmp_path / "image") == every_file(tmp_path / "fresh")


def test_a_layout_that_is_there_already_is_not_touched(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = image_of(store)
    write_layout(image, store, tmp_path / "image", reference=REFERENCE)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "image").rglob("*")}
    write_layout(image, store, tmp_path / "image", reference=REFERENCE)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "image").rglob("*")} == before


def test_a_cut_blob_in_a_layout_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = image_of(store)
    write_layout(image, store, tmp_path / "image", reference=REFERENCE)
    name = image.config.digest.removeprefix("sha256:")
    blob = tmp_path / "image" / "blobs" / "sha256" / name
    blob.unlink()
    blob.write_bytes(b"cut")
    write_layout(image, store, tmp_path / "image", reference=REFERENCE)
    assert blob.read_bytes() == store.read(image.config.digest)


def test_an_archive_is_a_layout_and_a_docker_archive(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = image_of(store)
    first, second = io.BytesIO(), io.BytesIO()
    write_archive(image, store, first, reference=REFERENCE)
    write_archive(image, store, second, reference=REFERENCE)
    assert first.getvalue() == second.getvalue()
    assert len(first.getvalue()) % 10240 == 0
    write_layout(image, store, tmp_path / "image", reference=REFERENCE)
    with tarfile.open(fileobj=io.BytesIO(first.getvalue())) as archive:
        found = {}
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            if stream is not None:
                found[member.name] = stream.read()
    (docker,) = json.loads(found.pop("manifest.json"))
    assert found == every_file(tmp_path / "image")
    assert docker["RepoTags"] == [REFERENCE]
    config = json.loads(found[docker["Config"]])
    assert len(docker["Layers"]) == len(config["rootfs"]["diff_ids"]) == len(image.layers)


def test_a_blob_that_left_the_cache_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = image_of(store)
    store.path(image.layers[0].blob.digest).unlink()
    with pytest.raises(EnvironmentLacks, match="no longer in the cache"):
        write_layout(image, store, tmp_path / "image", reference=REFERENCE)
    assert not (tmp_path / "image" / "index.json").exists()
    with pytest.raises(EnvironmentLacks, match="no longer in the cache"):
        write_archive(image, store, io.BytesIO(), reference=REFERENCE)
