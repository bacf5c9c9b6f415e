"""Layers whose diff_ids a lock knows: not inflated again, and never believed too much."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recipec.cli.main import main
from recipec.emit.bundle import Bundle
from recipec.errors import UnsafeInput
from recipec.image import layer
from recipec.image.image import Image
from recipec.pins.lockfile import ExpectedImage
from recipec.store import Store, sha256
from tests.support.pinned import RECIPE, Project, project
from tests.support.wheels import make_wheel, patched


def promises(image: Image) -> dict[str, str]:
    """What a lock would say of this image."""
    return {layer.blob.digest: layer.diff_id for layer in image.layers}


@pytest.fixture
def made(tmp_path: Path) -> Project:
    return project(tmp_path / "in")


@pytest.fixture
def image(made: Project, tmp_path: Path) -> Image:
    return made.build(Store(tmp_path / "first"))


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_promised_image_is_made_without_inflating(
    made: Project, image: Image, tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(layer, "_Inflater")  # workers are forked
    store = Store(tmp_path / "second")
    assert made.build(store, jobs=jobs, promised=promises(image)) == image
    assert all(store.verified(one.blob.digest) for one in image.layers)


def test_only_layers_that_moved_are_inflated(
    made: Project, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = {**dict(RECIPE.files), "run.json": b"{}\n"}
    wanted = made.build(Store(tmp_path / "first"), recipe=Bundle.of(edited))
    monkeypatch.delattr(layer, "_Inflater")
    store = Store(tmp_path / "second")
    found = made.build(store, recipe=Bundle.of(edited), promised=promises(image))
    assert found.manifest == wanted.manifest != image.manifest
    known = [store.record("layers", path.stem) for path, _ in store.records("layers")]
    trusted = [record["digest"] for record in known if record and "promised" in record]
    written = ("runtime", "recipe")  # small texts of the compiler's own
    copied = [one.blob.digest for one in found.layers if one.kind not in written]
    assert sorted(trusted) == sorted(copied)


def test_promises_of_other_layers_are_no_help_and_no_harm(
    made: Project, image: Image, tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    assert made.build(store, promised={sha256(b"another"): sha256(b"tar")}) == image
    assert list((store.root / "tmp").iterdir()) == []


def test_a_false_promise_is_not_believed_by_other_builds(
    made: Project, image: Image, tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    lie = {blob: sha256(b"a lie") for blob in promises(image)}
    fooled = made.build(store, promised=lie).layers
    assert {one.kind for one in fooled if one.diff_id != sha256(b"a lie")} == {"runtime", "recipe"}
    assert made.build(store, promised=promises(image)).manifest == image.manifest
    made.build(store, promised=lie)
    assert made.build(store).manifest == image.manifest


def test_the_store_is_told_true_promises_from_false_ones(
    made: Project,
    image: Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store(tmp_path / "second")
    wheel = next(one for one in image.layers if one.kind == "wheel")
    made.build(store, promised={**promises(image), wheel.blob.digest: sha256(b"a lie")})
    monkeypatch.setenv("RECIPEC_CACHE", str(store.root))
    assert main(["cache", "verify", "--json", "--repair"]) == 4
    said = json.loads(capsys.readouterr().out)
    assert (len(said["broken_promises"]), said["wrong"], said["damaged"]) == (1, [], [])
    assert main(["cache", "verify", "--json"]) == 0
    cached = made.build(store)
    assert [one.kind for one in cached.layers if not one.cached] == ["wheel"]
    assert cached.manifest == image.manifest


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_lying_wheel_is_found_out_all_the_same(image: Image, tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "in" / "large-1.0-py3-none-any.whl"
    raw = path.read_bytes()
    patched(path, 14, b"\0\0\0\0")
    patched(path, raw.index(b"PK\x01\x02") + 16, b"\0\0\0\0")
    lying = project(tmp_path / "in", sorted((tmp_path / "in").glob("*.whl")))
    with pytest.raises(UnsafeInput, match="its CRC is"):
        lying.build(Store(tmp_path / "second"), jobs=jobs, promised=promises(image))


def test_wheels_that_collide_are_refused_whatever_the_lock_knows(
    image: Image, tmp_path: Path
) -> None:
    wheels = [make_wheel(tmp_path, name, {"shared.py": name.encode()}) for name in ("one", "two")]
    colliding = project(tmp_path / "in", wheels)
    with pytest.raises(UnsafeInput, match="both install"):
        colliding.build(Store(tmp_path / "second"), promised=promises(image))


def test_what_is_no_digest_is_no_promise() -> None:
    fine, odd = sha256(b"1"), "sha256:../../etc"
    expected = ExpectedImage(
        recipec="0.1.0", diff_ids=(fine, odd, fine), config=fine, manifest=fine, schema2=fine
    )
    assert expected.promised == {}
    assert replace(expected, layers=(fine, sha256(b"2"), odd)).promised == {fine: fine}
