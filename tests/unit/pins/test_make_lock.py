"""The lock as a whole: what is kept, what is pinned anew, what `locked` refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recipec.catalog.stack import Stack
from recipec.errors import EnvironmentLacks, HashMismatch, StaleLock
from recipec.pins.lock import LockResult, fetch, make_lock
from recipec.pins.lockfile import (
    ExpectedImage,
    ExpectedOutputs,
    Lock,
    from_json,
    to_json,
)
from recipec.pins.wheels import NoSolution
from recipec.progress import Silent
from recipec.recipe.schema import (
    Architecture,
    Data,
    Domain,
    Fields,
    ImageOptions,
    Method,
    Recipe,
    Task,
)
from recipec.store import Store, sha256
from tests.support.upstreams import Site, index_files, mirror_files, wheel_bytes, wheel_file

DIGEST, OTHER = sha256(b"recipe"), sha256(b"another recipe")
STACK = Stack(always={"alpha": "1.0", "Beta_x": "*"}, methods={"lora": {"peft": "1.0"}})
RECIPE = Recipe(
    name="tiny",
    task=Task(type="summarization", fields=Fields(source="clause", target="summary")),
    domain=Domain(data=Data(train="train.jsonl", test="test.jsonl")),
    architecture=Architecture(model="path:m"),
    method=Method(type="full"),
)
IMAGE = ExpectedImage(recipec="0", diff_ids=(DIGEST,), config="c", manifest="m", schema2="s")
OUTPUTS = ExpectedOutputs(run_id="r", hardware_class="h", files={"model": DIGEST})


def wheels(*wanted: str) -> dict[str, bytes]:
    pairs = [text.split() for text in wanted]
    return {
        wheel_file(name, version): wheel_bytes(name, version, needs=needs)
        for name, version, *needs in pairs
    }


@dataclass
class World:
    """A project, its upstreams and its cache."""

    site: Site
    project: Path
    store: Store
    wheels: dict[str, bytes] = field(default_factory=dict)
    debs: dict[str, str] = field(default_factory=dict)

    def publish(self) -> None:
        self.site.files.clear()
        self.site.files |= index_files(self.wheels)
        self.site.files |= mirror_files(self.debs)

    def lock(self, recipe: Recipe = RECIPE, digest: str = DIGEST, **options: Any) -> LockResult:
        chosen: dict[str, Any] = {
            "old": None,
            "stack": STACK,
            "packages": ["zlib1g", "libc6"],
            "layer_format": 1,
            "project": self.project,
            "store": self.store,
            "progress": Silent(),
            "locked": False,
        }
        return make_lock(recipe, digest, **{**chosen, **options})

    def empty_cache(self) -> None:
        shutil.rmtree(self.store.root)
        self.site.requests.clear()


@pytest.fixture
def world(site: Site, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> World:
    project = tmp_path / "project"
    (project / "m").mkdir(parents=True)
    config = {"model_type": "t5", "is_encoder_decoder": True}
    (project / "m" / "config.json").write_text(json.dumps(config))
    (project / "m" / "model.safetensors").write_bytes(b"weights")
    (project / "m" / "tokenizer.json").write_bytes(b"{}")
    for name in ("train", "test"):
        row = json.dumps({"clause": name, "summary": "s"}) + "\n"
        (project / f"{name}.jsonl").write_text(row)
    made = World(site=site, project=project, store=store)
    made.wheels = wheels("alpha 1.0 gamma", "beta_x 1.0", "gamma 1.0", "peft 1.0")
    made.debs = {"libc6": "2.36-9", "zlib1g": "1:1.2"}
    made.publish()
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.base}/simple")
    monkeypatch.setenv("RECIPEC_APT_MIRROR", f"{site.base}/debian")
    monkeypatch.setenv("RECIPEC_APT_KEYRING", "none")
    return made


def versions(lock: Lock) -> dict[str, str]:
    found = {wheel.name: wheel.version for wheel in lock.wheels}
    return {**found, **{deb.package: deb.version for deb in lock.debs}}


def test_a_first_lock(world: World) -> None:
    result = world.lock()
    lock = result.lock
    assert versions(lock) == {
        "alpha": "1.0",
        "beta-x": "1.0",
        "gamma": "1.0",
        "libc6": "2.36-9",
        "zlib1g": "1:1.2",
    }
    assert lock.requirements == ("alpha==1.0", "beta-x")
    assert [file.rows for file in lock.data] == [1, 1]
    assert (lock.recipe, lock.recipe_digest, lock.layer_format) == ("tiny", DIGEST, 1)
    assert result.changes == ()
    assert result.model.family == "encoder-decoder"
    named = [w.sha256 for w in lock.wheels] + [d.sha256 for d in lock.debs]
    named += [f.sha256 for f in lock.model.files] + [f.sha256 for f in lock.data]
    assert sorted(result.sources) == sorted(named)
    for digest, path in result.sources.items():
        assert sha256(path.read_bytes()) == digest
    for wheel in lock.wheels:
        assert wheel.size == len(world.wheels[wheel.file])


def test_the_text_names_no_host_and_no_place(world: World, tmp_path: Path) -> None:
    text = to_json(world.lock().lock)
    assert b"127.0.0.1" not in text
    assert b"://" not in text
    assert str(tmp_path).encode() not in text
    assert from_json(text) == world.lock().lock


def test_nothing_changed_asks_nobody(world: World) -> None:
    first = world.lock()
    old = replace(first.lock, image=IMAGE, outputs=OUTPUTS)
    world.site.requests.clear()
    again = world.lock(old=old, locked=True)
    assert again.lock == old
    assert again.changes == ()
    assert world.site.requests == []


def test_a_changed_recipe_moves_no_wheel(world: World) -> None:
    old = replace(world.lock().lock, image=IMAGE, outputs=OUTPUTS)
    world.wheels |= wheels("beta_x 2.0")
    world.publish()
    world.site.requests.clear()
    result = world.lock(old=old, digest=OTHER)
    assert result.lock == replace(old, recipe_digest=OTHER, image=None, outputs=None)
    assert result.changes == ("recipe: changed",)
    assert world.site.requests == []
    with pytest.raises(StaleLock) as caught:
        world.lock(old=old, digest=OTHER, locked=True)
    assert caught.value.message == "the lock does not fit: recipe: changed"
    assert caught.value.exit_code == 1


def test_a_new_version_moves_only_that(world: World) -> None:
    old = world.lock().lock
    world.wheels |= wheels("beta_x 2.0", "gamma 2.0", "alpha 1.1 gamma")
    world.publish()
    recipe = replace(RECIPE, image=ImageOptions(versions={"alpha": "1.1"}))
    with pytest.raises(StaleLock) as caught:
        world.lock(recipe, OTHER, old=old, locked=True)
    assert caught.value.message == (
        "the lock does not fit: recipe: changed; requirement removed: alpha==1.0;"
        " requirement added: alpha==1.1"
    )
    result = world.lock(recipe, OTHER, old=old)
    assert result.changes[-1] == "wheel alpha: 1.0 -> 1.1"
    assert versions(result.lock) == {**versions(old), "alpha": "1.1"}


def test_a_method_brings_its_packages(world: World) -> None:
    old = world.lock().lock
    result = world.lock(replace(RECIPE, method=Method(type="lora")), OTHER, old=old)
    assert "wheel added: peft 1.0" in result.changes
    back = world.lock(RECIPE, DIGEST, old=result.lock)
    assert back.lock == old


def test_changed_data_and_model_update_just_that(world: World) -> None:
    old = replace(world.lock().lock, image=IMAGE)
    row = json.dumps({"clause": "new", "summary": "s"}) + "\n"
    (world.project / "train.jsonl").write_text(row * 2)
    (world.project / "m" / "model.safetensors").write_bytes(b"others")
    world.site.requests.clear()
    result = world.lock(old=old)
    assert result.changes == (
        "model file changed: model.safetensors",
        "data changed: train train.jsonl",
    )
    assert result.lock.wheels == old.wheels
    assert result.lock.image is None
    assert world.site.requests == []
    with pytest.raises(StaleLock, match=r"data changed: train train\.jsonl"):
        world.lock(old=old, locked=True)


def test_no_lock_and_locked(world: World) -> None:
    with pytest.raises(StaleLock) as caught:
        world.lock(locked=True)
    assert caught.value.message == "--locked was asked for and there is no lock"
    assert world.site.requests == []


def test_a_committed_lock_on_a_fresh_machine(world: World) -> None:
    old = world.lock().lock
    world.empty_cache()
    world.wheels |= wheels("beta_x 2.0", "gamma 2.0")
    world.publish()
    result = world.lock(old=old, locked=True)
    assert result.lock == old
    assert all(path.is_file() for path in result.sources.values())
    world.empty_cache()
    local = fetch(old, world.store, world.project, Silent())
    assert local == result.sources


def test_what_upstream_dropped_is_pinned_anew(world: World) -> None:
    old = world.lock().lock
    world.empty_cache()
    del world.wheels[wheel_file("beta_x", "1.0")]
    world.wheels |= wheels("beta_x 1.1", "gamma 2.0")
    world.debs |= {"libc6": "2.36-9+deb12u1"}
    world.publish()
    with pytest.raises(StaleLock) as caught:
        world.lock(old=old, locked=True)
    assert caught.value.message == "upstream no longer has beta-x 1.0, libc6 2.36-9"
    with pytest.raises(StaleLock):
        fetch(old, world.store, world.project, Silent())
    result = world.lock(old=old)
    assert result.notices[-2:] == (
        "beta-x 1.0 is gone upstream: pinned 1.1 instead",
        "libc6 2.36-9 is gone upstream: pinned 2.36-9+deb12u1 instead",
    )
    now = {**versions(old), "beta-x": "1.1", "libc6": "2.36-9+deb12u1"}
    assert versions(result.lock) == now
    assert result.changes == (
        "wheel beta-x: 1.0 -> 1.1",
        "deb libc6: 2.36-9 -> 2.36-9+deb12u1",
    )


def test_a_file_listed_but_gone(world: World) -> None:
    old = world.lock().lock
    world.empty_cache()
    del world.site.files["/files/gamma-1.0-py3-none-any.whl"]
    with pytest.raises(StaleLock, match=r"upstream no longer has gamma 1\.0"):
        world.lock(old=old, locked=True)


def test_what_is_cached_needs_no_upstream(world: World) -> None:
    old = world.lock().lock
    world.site.files.clear()
    assert world.lock(old=old, locked=True).lock == old


def test_wrong_bytes_upstream(world: World) -> None:
    old = world.lock().lock
    world.empty_cache()
    path = "/files/gamma-1.0-py3-none-any.whl"
    world.site.files[path] = b"x" + world.site.files[path][1:]
    with pytest.raises(HashMismatch) as caught:
        world.lock(old=old)
    assert caught.value.what == "gamma-1.0-py3-none-any.whl"
    assert caught.value.exit_code == 4


def test_broken_transfers_end_in_the_same_lock(world: World) -> None:
    old = world.lock().lock
    world.empty_cache()
    for path in [p for p in world.site.files if p.startswith(("/files", "/debian/pool"))]:
        world.site.cuts[path] = [100, 50]
    assert world.lock(old=old).lock == old


def test_changed_project_files_are_told_by_fetch(world: World) -> None:
    lock = world.lock().lock
    (world.project / "test.jsonl").write_text("{}")
    with pytest.raises(HashMismatch) as caught:
        fetch(lock, world.store, world.project, Silent())
    assert caught.value.what == "test.jsonl"


TABLES = replace(RECIPE, domain=Domain(data=Data(train=["a.csv", "b.csv"], validation="25%")))
HEAD = "clause,summary,unread\n"


def test_rows_in_normal_form_are_pinned_with_what_they_were_read_from(world: World) -> None:
    (world.project / "a.csv").write_text(HEAD + "one,1,x\ntwo,2,x\n")
    (world.project / "b.csv").write_text(HEAD + "three,3,x\nfour,4,x\n")
    result = world.lock(TABLES)
    old = replace(result.lock, image=IMAGE, outputs=OUTPUTS)
    assert from_json(to_json(old)) == old
    assert [(f.split, f.rows, f.normal_form) for f in old.data] == [
        ("train", 3, 1),
        ("validation", 1, 1),
    ]
    assert [s.path for s in old.data[1].sources] == ["a.csv", "b.csv"]
    for digest, path in fetch(old, world.store, world.project, Silent()).items():
        assert sha256(path.read_bytes()) == digest

    world.empty_cache()  # as on another machine: the same bytes come of the same files
    again = world.lock(TABLES, old=old, locked=True)
    assert again.lock == old
    for file in old.data:
        assert again.sources[file.sha256] == world.store.path(file.sha256)
        assert world.store.verified(file.sha256)


def test_a_column_that_is_not_read_moves_no_image(world: World) -> None:
    (world.project / "a.csv").write_text(HEAD + "one,1,x\ntwo,2,x\n")
    (world.project / "b.csv").write_text(HEAD + "three,3,x\nfour,4,x\n")
    old = replace(world.lock(TABLES).lock, image=IMAGE, outputs=OUTPUTS)
    (world.project / "b.csv").write_text(HEAD + "three,3,other\nfour,4,x\n")
    with pytest.raises(HashMismatch, match=r"^b\.csv: "):
        fetch(old, world.store, world.project, Silent())
    with pytest.raises(StaleLock, match=r"the lock does not fit: data changed: b\.csv"):
        world.lock(TABLES, old=old, locked=True)
    result = world.lock(TABLES, old=old)
    assert result.changes == ("data changed: b.csv",)
    assert (result.lock.image, result.lock.outputs) == (IMAGE, OUTPUTS)
    (world.project / "b.csv").write_text(HEAD + "three,3,other\nfive,4,x\n")
    assert world.lock(TABLES, old=old).lock.image is None


def test_a_normal_form_that_is_gone_is_told_by_fetch(world: World) -> None:
    (world.project / "a.csv").write_text(HEAD + "one,1,x\ntwo,2,x\n")
    (world.project / "b.csv").write_text(HEAD + "three,3,x\nfour,4,x\n")
    lock = world.lock(TABLES).lock
    world.store.path(lock.data[0].sha256).unlink()
    with pytest.raises(EnvironmentLacks) as caught:
        fetch(lock, world.store, world.project, Silent())
    assert caught.value.message == "the train rows in normal form are not in the store"


def test_impossible_versions(world: World) -> None:
    recipe = replace(RECIPE, image=ImageOptions(versions={"alpha": "9"}))
    with pytest.raises(NoSolution, match="there is no version of alpha==9"):
        world.lock(recipe)


def test_other_layer_format_keeps_pins(world: World) -> None:
    old = replace(world.lock().lock, image=IMAGE)
    result = world.lock(old=old, layer_format=2)
    assert result.changes == ("layer format: 1 -> 2",)
    assert result.lock.image is None


def test_a_model_in_a_wheel(world: World) -> None:
    config = json.dumps({"model_type": "t5", "is_encoder_decoder": True}).encode()
    files = {
        "tiny/model/config.json": config,
        "tiny/model/model.safetensors": b"w",
        "tiny/model/tokenizer.json": b"{}",
        "tiny/model/deep/other.json": b"{}",
    }
    data = wheel_bytes("tiny", "1.0", files=files, license="MIT", needs=["nowhere"])
    world.wheels[wheel_file("tiny", "1.0")] = data
    world.publish()
    recipe = replace(RECIPE, architecture=Architecture(model="wheel:tiny==1.0/tiny/model"))
    result = world.lock(recipe)
    model = result.lock.model
    paths = [file.path for file in model.files]
    assert paths == ["config.json", "model.safetensors", "tokenizer.json"]
    assert model.license == "MIT"
    assert "tiny" not in versions(result.lock)
    assert result.sources[sha256(b"w")].read_bytes() == b"w"
    world.site.requests.clear()
    assert world.lock(recipe, old=result.lock, locked=True).lock == result.lock
    assert world.site.requests == []
    world.empty_cache()
    assert world.lock(recipe, old=result.lock, locked=True).lock == result.lock
    other = replace(RECIPE, architecture=Architecture(model="wheel:tiny==1.0/tiny/none"))
    with pytest.raises(Exception, match="the package has no folder tiny/none") as caught:
        world.lock(other)
    assert "did you mean tiny/model?" in caught.value.render()  # type: ignore[attr-defined]


@pytest.mark.parametrize("jobs", [1, 4])
def test_workers_change_nothing(world: World, jobs: int) -> None:
    first = world.lock().lock
    world.empty_cache()
    assert to_json(world.lock(jobs=jobs).lock) == to_json(first)


def test_stack_requirements() -> None:
    def of(**options: Any) -> tuple[str, ...]:
        chosen: dict[str, Any] = {"method": "full", "files": ["tokenizer.json"], "versions": {}}
        return STACK.requirements(**{**chosen, **options})

    assert of() == ("alpha==1.0", "beta-x")
    assert of(method="lora") == ("alpha==1.0", "beta-x", "peft==1.0")
    assert of(versions={"ALPHA": ">=2,<3", "new.one": "1"}) == (
        "alpha>=2,<3",
        "beta-x",
        "new-one==1",
    )


def test_the_real_stack() -> None:
    from recipec.catalog.stack import load

    def names(method: str, *files: str) -> set[str]:
        found = load().requirements(method=method, files=files, versions={})
        return {text.partition("==")[0] for text in found}

    assert {"torch", "transformers", "safetensors", "torchmetrics"} <= names("full")
    assert "peft" not in names("full", "tokenizer.json")
    assert "peft" in names("lora", "tokenizer.json")
    assert "sentencepiece" in names("full", "spiece.model")
    assert "sentencepiece" not in names("full", "spiece.model", "tokenizer.json")
    assert {"gguf", "accelerate"} <= names("full", "model.gguf")
    assert not {"gguf", "accelerate"} & names("full", "tokenizer.json")
