"""`recipec diff`: two recipes, two locks, two images, in words."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from recipec.cli.main import main
from recipec.pins.lockfile import (
    DataFile,
    Deb,
    ExpectedImage,
    ExpectedOutputs,
    Lock,
    Model,
    ModelFile,
    Platform,
    Wheel,
    to_json,
)
from recipec.store import Store, sha256
from tests.unit.conftest import RECIPE, Workplace

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LOCK = Lock(
    recipe="recipes/a.yaml",
    recipe_digest=A,
    uv="0.9.1",
    layer_format=1,
    wheels=(
        Wheel(name="peft", version="0.21.2", file="peft.whl", sha256=A, size=10),
        Wheel(name="torch", version="2.13.0", file="torch-cp311.whl", sha256=A, size=10),
    ),
    debs=(
        Deb(
            package="libc6", version="2.36-9", architecture="amd64", file="c.deb", sha256=A, size=1
        ),
    ),
    model=Model(source="path:m", files=(ModelFile(path="config.json", sha256=A, size=10),)),
    data=(DataFile(split="train", path="t.jsonl", sha256=A, size=9, rows=3000),),
)


def said(capsys: pytest.CaptureFixture[str], one: Path, other: Path) -> list[str]:
    assert main(["diff", str(one), str(other)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


# Recipes


def test_two_recipes(workplace: Workplace) -> None:
    other = workplace.recipe.with_name("b.yaml")
    other.write_text(
        RECIPE.replace("name: legal-t5", "# only a comment\nname: b")
        + "training: {learning_rate: 0.01}\nevaluation: {at_least: {loss: 1}}\n"
    )
    done = workplace.run("diff", "recipes/legal-t5.yaml", "recipes/b.yaml")
    assert done.code == 0
    assert done.out.splitlines() == [
        "evaluation.at_least: {} -> left open",
        "evaluation.at_least.loss: left open -> 1.0",
        "name: legal-t5 -> b",
        "training.learning_rate: left open -> 0.01",
    ]
    same = workplace.run("diff", "recipes/b.yaml", "recipes/b.yaml", "--json")
    assert json.loads(same.out) == {"kind": "recipe", "same": True, "differences": []}


def test_a_recipe_that_is_wrong_is_told_as_by_check(workplace: Workplace) -> None:
    other = workplace.recipe.with_name("b.yaml")
    other.write_text(RECIPE + "x: 1\n")
    done = workplace.run("diff", "recipes/legal-t5.yaml", "recipes/b.yaml")
    assert done.code == 1
    assert done.err.startswith("recipes/b.yaml:10:1: error: unknown key `x` in a recipe\n")


# Locks


def locks(tmp_path: Path, other: Lock) -> tuple[Path, Path]:
    paths = tmp_path / "a.lock.json", tmp_path / "b.lock.json"
    for path, lock in zip(paths, (LOCK, other), strict=True):
        path.write_bytes(to_json(lock))
    return paths


def test_two_equal_locks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, *locks(tmp_path, LOCK)) == ["the two locks say the same"]


def test_everything_that_may_differ_in_a_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = dataclasses.replace(
        LOCK,
        recipe_digest=B,
        uv="0.10.0",
        exclude_newer="2026-11-01",
        platform=Platform(python="3.12"),
        wheels=(
            Wheel(name="numpy", version="2.4.6", file="n.whl", sha256=A, size=10),
            Wheel(name="torch", version="2.13.0", file="torch-cp312.whl", sha256=B, size=10),
        ),
        debs=(dataclasses.replace(LOCK.debs[0], version="2.36-10", sha256=B),),
        model=Model(
            source="hub:a/b",
            commit="c0ffee",
            files=(
                ModelFile(path="config.json", sha256=B, size=10),
                ModelFile(path="vocab.txt", sha256=B, size=10),
            ),
        ),
        data=(dataclasses.replace(LOCK.data[0], sha256=B),),
        image=ExpectedImage(recipec="0.1.0", diff_ids=(A,), config=A, manifest=B, schema2=A),
        outputs=ExpectedOutputs(run_id=A, hardware_class="x", files={"model/a": B}),
    )
    found = said(capsys, *locks(tmp_path, other))
    assert [line for line in found if not line.startswith(("image ", "outputs "))] == [
        "recipe_digest: sha256:aaaaaaaaaaaa... -> sha256:bbbbbbbbbbbb...",
        "uv: 0.9.1 -> 0.10.0",
        "exclude_newer: left open -> 2026-11-01",
        "platform python: 3.11 -> 3.12",
        "wheel numpy: added 2.4.6",
        "wheel peft: removed",
        "wheel torch: 2.13.0, but another file (torch-cp311.whl -> torch-cp312.whl)",
        "package libc6: 2.36-9 -> 2.36-10",
        "model file config.json: other content in 10 bytes",
        "model file vocab.txt: added",
        "data train: the rows changed, their number did not",
        "model source: path:m -> hub:a/b",
        "model commit: left open -> c0ffee",
    ]
    assert "image manifest: left open -> sha256:bbbbbbbbbbbb..." in found
    assert "outputs files.model/a: left open -> sha256:bbbbbbbbbbbb..." in found


def test_the_same_file_name_with_other_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheels = (LOCK.wheels[0], dataclasses.replace(LOCK.wheels[1], sha256=B))
    assert said(capsys, *locks(tmp_path, dataclasses.replace(LOCK, wheels=wheels))) == [
        "wheel torch: 2.13.0, but other content in a file of the same name"
    ]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", b'{"lock": "x"}'])
def test_what_is_no_lock(tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = locks(tmp_path, LOCK)
    other.write_bytes(data)
    assert main(["diff", str(one), str(other)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"{other}: error: not a lock that this version can read: ")


# Images


def layout(folder: Path, layers: dict[str, dict[str, bytes]], **config: object) -> Path:
    """An OCI layout of gzipped tar layers, named by their history."""
    store = Store(folder)  # blobs/sha256 is laid out the same
    descriptors, diff_ids = [], []
    for files in layers.values():
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o755 if name.endswith(".sh") else 0o644
                tar.addfile(info, io.BytesIO(data))
        diff_ids.append(sha256(raw.getvalue()))
        descriptors.append({"digest": store.add_bytes(gzip.compress(raw.getvalue(), mtime=0))})
    about = {
        "architecture": "amd64",
        "config": {"User": "65532:65532", **config},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": name} for name in layers],
    }
    manifest = {
        "config": {"digest": store.add_bytes(json.dumps(about).encode())},
        "layers": descriptors,
    }
    digest = store.add_bytes(json.dumps(manifest).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [{"digest": digest}]}))
    return folder


BASE = {"etc/passwd": b"root", "usr/bin/x": b"x"}


def test_two_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = {"train.py": b"lr = 1", "gone.txt": b"", "same.txt": b"s", "long.txt": b"12"}
    new = {"train.py": b"lr = 2", "come.sh": b"", "same.txt": b"s", "long.txt": b"1" * 1200}
    one = layout(tmp_path / "a", {"base": BASE, "recipe": old})
    other = layout(tmp_path / "b" / "image", {"base": BASE, "recipe": new}, Cmd=["train"])
    lines = said(capsys, one, tmp_path / "b")
    assert lines[1].endswith(" bytes)")
    assert [line.split(" sha256:")[0] for line in lines] == [
        "config Cmd: left open -> ['train']",
        "layer recipe:",
        "  come.sh: added",
        "  gone.txt: removed",
        "  long.txt: 2 -> 1,200 bytes",
        "  train.py: other content in 6 bytes",
    ]
    assert said(capsys, one, one) == ["the two images say the same"]
    assert said(capsys, other, other) == ["the two images say the same"]


def test_images_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = layout(tmp_path / "good", {"base": BASE})
    for number, index in enumerate(["", "{}", "[]", '{"manifests": []}', "null"]):
        bad = tmp_path / f"bad{number}"
        bad.mkdir()
        (bad / "index.json").write_text(index)
        assert main(["diff", str(good), str(bad)]) == 3
        err = capsys.readouterr().err
        assert err.startswith(f"error: {bad} is not an image that can be read (")
        assert err.endswith("  hint: build or fetch the image again\n")


@pytest.mark.parametrize("damage", [b"", b"not gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\0"])
def test_an_image_with_a_damaged_layer(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    good = layout(tmp_path / "good", {"base": BASE})
    bad = layout(tmp_path / "bad", {"base": {"other": b"x" * 5000}})
    for blob in (bad / "blobs" / "sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.chmod(0o644)
            blob.write_bytes(damage)
    assert main(["diff", str(good), str(bad)]) == 3
    assert "is not an image that can be read" in capsys.readouterr().err
    blobs = sorted((bad / "blobs" / "sha256").iterdir())
    next(blob for blob in blobs if blob.read_bytes()[:1] != b"{").unlink()
    assert main(["diff", str(good), str(bad)]) == 3


# Both sides


def test_things_of_two_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = layout(tmp_path / "image", {"base": BASE})
    one, _ = locks(tmp_path, LOCK)
    assert main(["diff", str(one), str(image)]) == 2
    assert capsys.readouterr().err == (
        f"error: {one} is a lock and {image} is a image\n"
        "  hint: compare two recipes, two locks, or two images\n"
    )


def test_things_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(tmp_path / "no"), str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: there is no {tmp_path}/no\n  hint: name two files or two build folders\n"
    )
    assert main(["diff", str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path} holds no image\n"
        "  hint: name an OCI layout or a build folder (build/NAME)\n"
    )
