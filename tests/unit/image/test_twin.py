"""The context of an image's twin: the same folder for the same image, whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks
from recipec.image.image import Image
from recipec.image.twin import write_twin
from recipec.pins.lockfile import Lock, Model, Wheel
from recipec.store import Store, canonical, sha256
from tests.support.images import layer_of, make_image, make_layer

ROOT = "opt/recipec"


def wheel(store: Store, name: str) -> Wheel:
    data = name.encode()
    return Wheel(
        name=name,
        version="1",
        file=f"{name}-1-py3-none-any.whl",
        sha256=store.add_bytes(data),
        size=len(data),
    )


def image_of(store: Store) -> Image:
    image = make_image(
        store,
        (
            make_layer(store, "base", {"etc/passwd": b"root:x:0:0::/:\n"}),
            make_layer(
                store,
                "model",
                {f"{ROOT}/model/weights": b"w" * 5000, f"{ROOT}/model/sub/config.json": b"{}"},
                kind="model",
            ),
            make_layer(store, "recipe", {f"{ROOT}/recipe/train.py": b"pass\n"}, kind="recipe"),
        ),
    )
    plain = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            **{"User": "65532:65532", "WorkingDir": "/out", "Env": ["A=b"]},
            **{"Entrypoint": ["/x"], "Cmd": ["train"], "Labels": {"title": "t"}},
        },
    }
    about = canonical(plain)
    config = type(image.config)(
        media_type=image.config.media_type, digest=store.add_bytes(about), size=len(about)
    )
    return Image(manifest=image.manifest, schema2=image.schema2, config=config, layers=image.layers)


def lock_of(*wheels: Wheel) -> Lock:
    return Lock(
        recipe="t",
        recipe_digest=sha256(b""),
        uv="0",
        layer_format=1,
        wheels=wheels,
        debs=(),
        model=Model(source="path:m", files=()),
        data=(),
    )


def listing(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        path.relative_to(folder).as_posix(): (
            stat.S_IMODE(path.stat().st_mode),
            sha256(path.read_bytes()) if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def test_the_folder_is_the_same_under_any_umask(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image, one, pip = image_of(store), wheel(store, "one"), wheel(store, "pip")
    found = []
    for umask in (0o022, 0o077, 0o000):
        before = os.umask(umask)
        try:
            folder = tmp_path / f"{umask}" / "docker"
            write_twin(image, lock_of(one), store, folder, name="t", pip=pip, wheels=True)
        finally:
            os.umask(before)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
        found.append(listing(folder))
    assert found[0] == found[1] == found[2]
    assert sorted(found[0]) == [
        "Dockerfile",
        "base.tar.gz",
        "folders.py",
        "model",
        "model/sub",
        "model/sub/config.json",
        "model/weights",
        "pip",
        "pip/pip-1-py3-none-any.whl",
        "recipe",
        "recipe/train.py",
        "requirements.txt",
        "wheels",
        "wheels/README",
        "wheels/one-1-py3-none-any.whl",
    ]
    assert found[0]["model/weights"] == (0o644, sha256(b"w" * 5000))
    assert found[0]["model/sub"][0] == 0o755
    assert all(store.verified(digest) for digest in store.digests())
    modes = {stat.S_IMODE(store.path(digest).stat().st_mode) for digest in store.digests()}
    assert modes == {0o444}


def test_it_is_written_anew(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "store"), tmp_path / "docker"
    image, one, pip = image_of(store), wheel(store, "one"), wheel(store, "pip")
    write_twin(image, lock_of(one), store, folder, name="t", pip=pip, wheels=True)
    (folder / "model" / "stale").write_text("of an earlier model")
    (tmp_path / ".docker-killed" / "old").mkdir(parents=True)
    write_twin(image, lock_of(one), store, folder, name="t", pip=pip, wheels=False)
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["sub", "weights"]
    assert sorted(path.name for path in (folder / "wheels").iterdir()) == ["README"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docker", "store"]


@pytest.mark.parametrize("lost", ["wheel", "pip", "model", "base"])
def test_what_left_the_store_is_named_and_the_old_folder_stays(tmp_path: Path, lost: str) -> None:
    store, folder = Store(tmp_path / "store"), tmp_path / "docker"
    image, one, pip = image_of(store), wheel(store, "one"), wheel(store, "pip")
    write_twin(image, lock_of(one), store, folder, name="t", pip=pip, wheels=True)
    before = listing(folder)
    layers = {layer.kind: layer.blob.digest for layer in image.layers}
    digest = {"wheel": one.sha256, "pip": pip.sha256, **layers}[lost]
    store.path(digest).unlink()
    with pytest.raises(EnvironmentLacks) as caught:
        write_twin(image, lock_of(one), store, folder, name="t", pip=pip, wheels=True)
    assert digest in caught.value.message
    assert listing(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docker", "store"]


def test_a_layer_that_reaches_out_writes_nothing(tmp_path: Path) -> None:
    import io
    import tarfile

    from recipec.errors import UnsafeInput

    store, folder = Store(tmp_path / "store"), tmp_path / "docker"
    image, pip = image_of(store), wheel(store, "pip")
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        info = tarfile.TarInfo(f"{ROOT}/model/../../../../escaped")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    bad = layer_of(store, "model", raw.getvalue(), kind="model")
    layers = (image.layers[0], bad, *image.layers[2:])
    image = Image(
        manifest=image.manifest, schema2=image.schema2, config=image.config, layers=layers
    )
    with pytest.raises(UnsafeInput):
        write_twin(image, lock_of(), store, folder, name="t", pip=pip, wheels=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
