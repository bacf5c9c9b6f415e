"""`recipec bundle` and `build --from-bundle`: the same image where there is no network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recipec.cli.bundle import gather
from recipec.cli.main import main
from recipec.cli.project import find_project
from recipec.cli.restore import Restored, restore
from recipec.errors import (
    EnvironmentLacks,
    HashMismatch,
    StaleLock,
    UnsafeInput,
    UsageError,
)
from recipec.pins.bundle import Manifest, _header, read_manifest, write_bundle
from recipec.progress import Silent
from recipec.store import Store, canonical, sha256
from tests.support.projects import Project
from tests.support.smallbuild import MATRIX, copy_of, everything, make_small, upstream

NAME = "tiny.bundle.tar"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project that was built and bundled while its upstream was there."""
    with upstream(noise=1000) as site:
        project = make_small(tmp_path_factory.mktemp("built"), site)
        project.run("build", "recipes/tiny.yaml")
    project.run("bundle", "recipes/tiny.yaml")
    return project


@pytest.fixture
def bundle(built: Project, tmp_path: Path) -> Path:
    """A bundle of its own for each test."""
    return Path(shutil.copy(built.root / NAME, tmp_path / NAME))


@dataclass
class Empty:
    """A folder and a store with nothing in them."""

    root: Path
    store: Store

    def take(self, bundle: Path, recipe: str = "recipes/tiny.yaml") -> Restored:
        return restore(bundle, [Path(recipe)], self.store, Silent())

    def has_nothing(self) -> bool:
        """Whether neither the store nor the project has got anything."""
        left = [path for path in self.root.rglob("*") if path.is_file()]
        return not left and not list(self.store.digests()) and not everything(self.store.root)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Empty:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return Empty(root=tmp_path / "empty", store=Store(tmp_path / "store"))


def offline(project: Project, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`recipec ARGUMENTS` in a network namespace that has not even a loopback."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable]
    done = subprocess.run(
        [*command, "-m", "recipec.cli.main", *arguments],
        cwd=project.root,
        env={**os.environ, "RECIPEC_CACHE": str(project.cache), **project.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    return done


def manifest_of(project: Project) -> str:
    assert project.lock.image is not None
    return project.lock.image.manifest


# What it is for


def test_the_same_digest_without_a_network_and_without_the_recipe(
    built: Project, bundle: Path, tmp_path: Path
) -> None:
    root = tmp_path / "elsewhere"
    root.mkdir()
    there = Project(root=root, cache=tmp_path / "cache", environment=built.environment)
    words = ["build", "--from-bundle", str(bundle), "recipes/tiny.yaml", "--json"]
    document = json.loads(offline(there, *words).stdout)
    assert document["image"] == manifest_of(built)
    assert {layer["cache"] for layer in document["layers"]} == {"miss"}
    for name in ("recipes/tiny.yaml", "recipes/base.yaml", "recipes/tiny.lock.json"):
        assert (root / name).read_bytes() == (built.root / name).read_bytes()
    # Once more, nothing is left to bring in or to do; and a bundle of the copy is the same file.
    assert json.loads(offline(there, *words).stdout)["up_to_date"] is True
    offline(there, "bundle", "recipes/tiny.yaml", "-o", "again.tar")
    assert (root / "again.tar").read_bytes() == bundle.read_bytes()


def test_without_a_bundle_the_network_is_needed(built: Project, tmp_path: Path) -> None:
    """The other test proves something only if this one holds."""
    copy = copy_of(built, tmp_path / "copy")
    offline(copy, "build", "recipes/tiny.yaml", "--locked", code=3)


def test_a_bundle_is_a_plain_tar_that_says_what_it_holds(built: Project, bundle: Path) -> None:
    document = built.json("bundle", "recipes/tiny.yaml", "-o", "twice.tar")
    assert (built.root / "twice.tar").read_bytes() == bundle.read_bytes()
    assert document["digest"] == sha256(bundle.read_bytes())
    assert document["size"] == bundle.stat().st_size
    lock = built.lock
    with tarfile.open(bundle, "r:") as archive:
        found = archive.getmembers()
        for member in found[1:-1]:
            inner = archive.extractfile(member)
            assert inner is not None
            digest = hashlib.sha256(inner.read()).hexdigest()
            assert member.name.startswith("project/") or member.name.endswith(digest)
    names = [member.name for member in found]
    assert names == ["bundle.json", *sorted(names[1:-1]), "bundle.sha256"]
    wanted = {w.sha256[7:] for w in lock.wheels} | {d.sha256[7:] for d in lock.debs}
    assert {n.rpartition("/")[2] for n in names if n.startswith("blobs/")} == wanted
    assert {(m.mode, m.uid, m.gid, m.uname, m.mtime) for m in found} == {
        (0o644, 0, 0, "", 315_619_200)
    }
    assert [n for n in names if n.startswith("project/")] == [
        f"project/{name}"
        for name in (
            *("data/test.jsonl", "data/train.jsonl", "models/t5/README.md"),
            *("models/t5/config.json", "models/t5/model.safetensors", "models/t5/tokenizer.json"),
            *("recipes/base.yaml", "recipes/tiny.lock.json", "recipes/tiny.yaml"),
        )
    ]


@pytest.mark.slow
def test_members_of_a_matrix_and_their_corpus(tmp_path: Path) -> None:
    with upstream(noise=1000) as site:
        project = make_small(tmp_path / "a", site, more=MATRIX, corpus=True)
        built = project.json("build", "recipes/tiny.yaml")["members"]
    project.run("bundle", "recipes/tiny.yaml")
    project.run("bundle", f"recipes/tiny.yaml:{built[1]['name']}", "-o", "one.tar")
    digests = {row["name"]: row["image"] for row in built}
    words = ["build", "--from-bundle"]

    whole = Project(root=tmp_path / "b", cache=tmp_path / "b-cache")
    whole.root.mkdir()
    whole.environment = project.environment
    done = offline(whole, *words, str(project.root / NAME), "recipes/tiny.yaml", "--json")
    assert {row["name"]: row["image"] for row in json.loads(done.stdout)["members"]} == digests
    assert len(list((whole.root / "recipes").glob("corpus-*.yaml"))) == 1

    one = Project(root=tmp_path / "c", cache=tmp_path / "c-cache", environment=whole.environment)
    one.root.mkdir()
    part = [*words, str(project.root / "one.tar")]
    refused = offline(one, *part, "recipes/tiny.yaml", code=2)
    assert "one.tar does not hold its matrix as a whole" in refused.stderr
    named = f"recipes/tiny.yaml:{built[1]['name']}"
    assert named in refused.stderr
    document = json.loads(offline(one, *part, named, "--json").stdout)
    assert document["image"] == digests[built[1]["name"]]


# What is refused when it is written


def gathered(project: Project) -> tuple[Manifest, dict[str, Path]]:
    return gather(find_project(project.recipe), Store(project.cache), Silent())


def test_only_what_is_locked_is_bundled(built: Project, tmp_path: Path) -> None:
    copy = copy_of(built, tmp_path, inputs=True)
    lock = copy.root / "recipes/tiny.lock.json"
    plain = json.loads(lock.read_bytes())
    lock.write_text(json.dumps({**plain, "image": None}))
    with pytest.raises(StaleLock, match="the lock holds no image digest"):
        gathered(copy)
    lock.unlink()
    with pytest.raises(StaleLock, match="there is no lock"):
        gathered(copy)
    lock.write_text(json.dumps(plain))
    copy.edit("1.0e-3", "2.0e-3")
    with pytest.raises(StaleLock, match="recipe: changed"):
        gathered(copy)


def test_a_base_that_is_a_link_is_refused(built: Project, tmp_path: Path) -> None:
    copy = copy_of(built, tmp_path, inputs=True)
    base = copy.root / "recipes/base.yaml"
    base.rename(copy.root / "data/elsewhere.yaml")
    base.symlink_to(copy.root / "data/elsewhere.yaml")
    with pytest.raises(EnvironmentLacks, match="it is a symbolic link to"):
        gathered(copy)


def test_a_blob_that_has_changed_is_not_bundled(
    built: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    copy = copy_of(built, tmp_path, inputs=True)
    wheel = built.lock.wheels[0]
    blob = Store(copy.cache).path(wheel.sha256)
    data = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(data[:-1] + b"!")
    monkeypatch.setenv("RECIPEC_CACHE", str(copy.cache))
    monkeypatch.chdir(copy.root)
    assert main(["bundle", str(copy.recipe)]) == 4
    err = capsys.readouterr().err
    assert f"error: {wheel.file}: expected {wheel.sha256}" in err
    assert "recipec cache verify --repair" in err
    assert [path.name for path in copy.root.iterdir() if "bundle" in path.name] == []


# What is refused when it is read


def cases(size: int) -> Iterator[tuple[str, int]]:
    """Places to damage: the first and last bytes, and many between them."""
    chosen = random.Random(size)
    yield from (("flip", place) for place in (0, 1, 100, 156, 257, 511, 512, 600, size - 1))
    yield from (("flip", chosen.randrange(size)) for _ in range(60))
    yield from (("cut", place) for place in (0, 1, 511, 512, 600, size - 1024, size - 1))
    yield from (("cut", chosen.randrange(size)) for _ in range(20))
    yield ("more", 1)
    yield ("more", 512)


def test_no_damage_is_taken(bundle: Path, empty: Empty) -> None:
    whole = bundle.read_bytes()
    for kind, place in cases(len(whole)):
        data = bytearray(whole)
        if kind == "flip":
            data[place] ^= 1 << (place % 8)
        elif kind == "cut":
            del data[place:]
        else:
            data += bytes(place)
        bundle.write_bytes(data)
        with pytest.raises((UnsafeInput, HashMismatch)) as caught:
            empty.take(bundle)
        assert caught.value.message.startswith(NAME), (kind, place)
        assert caught.value.exit_code == 4
        assert empty.has_nothing(), (kind, place)
    bundle.write_bytes(whole)
    assert empty.take(bundle).files == 9


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a bundle that `recipec bundle` wrote"),
        (b"PK\x03\x04" * 1000, "is not a bundle that `recipec bundle` wrote"),
        (bytes(10240), "is not a bundle that `recipec bundle` wrote"),
    ],
)
def test_a_foreign_file_is_refused(data: bytes, message: str, bundle: Path, empty: Empty) -> None:
    bundle.write_bytes(data)
    with pytest.raises(UnsafeInput) as caught:
        empty.take(bundle)
    assert caught.value.render() == (
        f"error: {NAME} {message}\n"
        "  hint: copy it again, or make it anew with `recipec bundle`; nothing of it was taken"
    )
    bundle.unlink()
    with pytest.raises(EnvironmentLacks, match="cannot read"):
        empty.take(bundle)
    assert empty.has_nothing()


def rewritten(file: Path, **changes: object) -> None:
    """The bundle with another manifest before the same members."""
    with file.open("rb") as stream:
        manifest = read_manifest(stream, NAME)
        rest = stream.read()
    plain = {**msgspec.to_builtins(manifest), **changes}
    text = canonical(plain) + b"\n"
    file.write_bytes(_header("bundle.json", len(text)) + text + bytes(-len(text) % 512) + rest)


def test_a_newer_bundle_is_named_so(bundle: Path, empty: Empty) -> None:
    rewritten(bundle, bundle=2)
    with pytest.raises(EnvironmentLacks, match="a bundle of version 2, this recipec reads 1"):
        empty.take(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": [{"path": "../x", "sha256": sha256(b""), "size": 0}]},
        {"files": [{"path": "/etc/x", "sha256": sha256(b""), "size": 0}]},
        {"files": [{"path": "a//b", "sha256": sha256(b""), "size": 0}]},
        {"files": [{"path": "a\n", "sha256": sha256(b""), "size": 0}]},
        {"files": []},
        {"blobs": [{"name": "x", "sha256": "sha256:../../x", "size": 0}]},
        {"blobs": [{"name": "x", "sha256": sha256(b""), "size": -1}]},
        {"members": []},
        {"recipe": "recipes/other.yaml"},
        {"more": 1},
        {"whole": 5},
    ],
)
def test_a_manifest_that_cannot_be_right(
    changes: dict[str, object], bundle: Path, empty: Empty
) -> None:
    rewritten(bundle, **changes)
    with pytest.raises(UnsafeInput, match=r"has a bundle\.json that cannot be right"):
        empty.take(bundle)
    assert empty.has_nothing()


def without(manifest: Manifest, kind: str) -> Manifest:
    """The manifest less its first blob, a data file or the lock."""
    if kind == "blob":
        return replace(manifest, blobs=manifest.blobs[1:])
    left = tuple(file for file in manifest.files if not file.path.endswith(kind))
    return replace(manifest, files=left)


@pytest.mark.parametrize("kind", ["blob", "train.jsonl", "tokenizer.json", ".lock.json"])
def test_an_incomplete_bundle_is_refused(
    kind: str, built: Project, bundle: Path, empty: Empty
) -> None:
    made, sources = gathered(built)
    out = io.BytesIO()
    write_bundle(without(made, kind), sources, out, Silent())
    bundle.write_bytes(out.getvalue())
    with pytest.raises(UnsafeInput, match="is incomplete: it does not hold"):
        empty.take(bundle)
    assert empty.has_nothing()


def test_a_bundle_of_another_recipe(bundle: Path, empty: Empty) -> None:
    for recipe in ("recipes/other.yaml", "tiny.yaml", "deep/recipes/tiny.yaml"):
        with pytest.raises(UsageError, match=r"was made of recipes/tiny\.yaml, and this is"):
            empty.take(bundle, recipe)
    with pytest.raises(UsageError, match="does not hold member 'x'"):
        empty.take(bundle, "recipes/tiny.yaml:x")
    assert empty.has_nothing()


@pytest.mark.parametrize("path", ["recipes/tiny.yaml", "data/train.jsonl", "recipes/base.yaml"])
def test_a_file_that_is_another_here_stays_as_it_is(path: str, bundle: Path, empty: Empty) -> None:
    mine = empty.root / path
    mine.parent.mkdir()
    mine.write_text("mine\n")
    with pytest.raises(HashMismatch) as caught:
        empty.take(bundle)
    assert caught.value.message.startswith(f"{path}: expected sha256:")
    assert "restore the file, move it away, or make the bundle anew" in caught.value.hint
    assert [p for p in empty.root.rglob("*") if p.is_file()] == [mine]
    assert mine.read_text() == "mine\n"
    assert list(empty.store.digests()) == []


def test_no_symbolic_link_leads_out_of_the_project(
    bundle: Path, empty: Empty, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (empty.root / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeInput, match="would leave the project by a symbolic link"):
        empty.take(bundle)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(bundle: Path, empty: Empty) -> None:
    (empty.root / "data").write_text("a file where a folder should be")
    with pytest.raises(EnvironmentLacks, match="data is no folder"):
        empty.take(bundle)
    assert list(empty.store.digests()) == []
    assert [path.name for path in empty.root.iterdir()] == ["data"]
