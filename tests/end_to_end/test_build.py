"""What `recipec build` promises: the same digest everywhere, and no more work than there is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import Project, lend_inputs, make_project

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("build")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has been built with the user's cache."""
    project = make_project(tmp_path_factory.mktemp("built") / "project")
    project.run("build", str(project.recipe))
    return project


def another(built: Project, folder: Path) -> Project:
    """The same project elsewhere, locked, with a cache that has the downloads and nothing else."""
    copy = make_project(folder / "somewhere else", cache=folder / "cache")
    shutil.copy(built.root / "recipes/tiny.lock.json", copy.root / "recipes")
    lend_inputs(built.lock, copy.cache)
    return copy


@pytest.mark.parametrize(
    ("name", "environment", "arguments", "umask"),
    [
        ("one worker", {"TZ": "Asia/Tokyo", "LC_ALL": "C"}, ["--jobs", "1"], 0o022),
        ("four workers", {"TZ": "America/Lima", "LANG": "de_DE.UTF-8"}, ["--jobs", "4"], 0o077),
        ("hash seed", {"PYTHONHASHSEED": "17", "SOURCE_DATE_EPOCH": "1"}, [], 0o002),
    ],
)
def test_cold_builds_elsewhere_give_the_locked_digest(
    built: Project,
    tmp_path: Path,
    name: str,
    environment: dict[str, str],
    arguments: list[str],
    umask: int,
) -> None:
    copy = another(built, tmp_path)
    copy.environment = environment
    document = json.loads(
        copy.run("build", str(copy.recipe), "--locked", "--json", *arguments, umask=umask).stdout
    )
    assert built.lock.image is not None
    assert document["image"] == built.lock.image.manifest, name
    assert {layer["cache"] for layer in document["layers"]} == {"miss"}


def other_pythons() -> list[str]:
    """Python interpreters of other minor versions on this machine."""
    found = {}
    for minor in range(11, 16):
        if minor == sys.version_info.minor:
            continue
        pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/python3"))
        # A shim on the PATH may name a version that is not switched on: it has to run.
        for path in [shutil.which(f"python3.{minor}"), *(str(entry) for entry in pyenv[-1:])]:
            probe = [path or "", "-c", "import ensurepip, venv"]
            if path and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                found[minor] = path
    return [found[minor] for minor in sorted(found)]


@pytest.mark.slow
def test_other_pythons_give_the_locked_digest(built: Project, tmp_path: Path) -> None:
    assert built.lock.image is not None
    digests = {sys.executable: built.lock.image.manifest}
    for index, python in enumerate(other_pythons()):
        folder = tmp_path / str(index)
        subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
        inside = str(folder / "venv/bin/python")
        root = Path(__file__).parents[2]
        install = [inside, "-m", "pip", "install", "--quiet", str(root)]
        subprocess.run(install, check=True)
        copy = another(built, folder)
        copy.python = inside
        digests[python] = copy.json("build", str(copy.recipe), "--locked")["image"]
    assert set(digests.values()) == {built.lock.image.manifest}, digests


def test_a_second_build_does_nothing(built: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.root.rglob("*")}
    document = built.json("build", str(built.recipe))
    assert document["up_to_date"] is True
    assert {layer["cache"] for layer in document["layers"]} == {"hit"}
    assert {path: path.stat().st_mtime_ns for path in built.root.rglob("*")} == before


def test_a_comment_changes_nothing(built: Project, tmp_path: Path) -> None:
    copy = another(built, tmp_path)
    first = copy.json("build", str(copy.recipe))
    lock = (copy.root / "recipes/tiny.lock.json").read_bytes()
    stages = (copy.root / "dvc.yaml").read_bytes()
    copy.recipe.write_text("# a comment\n" + copy.recipe.read_text())
    second = copy.json("build", str(copy.recipe))
    assert second["image"] == first["image"]
    assert second["run_id"] == first["run_id"]
    assert {layer["cache"] for layer in second["layers"]} == {"hit"}
    assert (copy.root / "recipes/tiny.lock.json").read_bytes() == lock
    assert (copy.root / "dvc.yaml").read_bytes() == stages


def test_an_edited_learning_rate_makes_one_small_layer(built: Project, tmp_path: Path) -> None:
    copy = another(built, tmp_path)
    first = copy.json("build", str(copy.recipe))
    copy.edit("learning_rate: 1.0e-3", "learning_rate: 2.0e-3")
    second = copy.json("build", str(copy.recipe))
    made = [layer for layer in second["layers"] if layer["cache"] == "miss"]
    assert [layer["kind"] for layer in made] == ["recipe"]
    assert made[0]["size"] <= 20_000
    assert second["image"] != first["image"]
    assert second["run_id"] != first["run_id"]


def test_a_changed_recipe_is_refused_when_locked(built: Project, tmp_path: Path) -> None:
    copy = another(built, tmp_path)
    copy.edit("rank: 4", "rank: 8")
    done = copy.run("build", str(copy.recipe), "--locked", code=1)
    assert "recipe: changed" in done.stderr
    assert not copy.build.exists()


def test_a_changed_row_is_refused_when_locked_and_pinned_otherwise(
    built: Project, tmp_path: Path
) -> None:
    copy = another(built, tmp_path)
    with (copy.root / "data/train.jsonl").open("a") as stream:
        stream.write('{"clause": "One more clause.", "summary": "One more."}\n')
    assert "train" in copy.run("build", str(copy.recipe), "--locked", code=1).stderr
    copy.run("build", str(copy.recipe))
    before = next(file for file in built.lock.data if file.split == "train")
    after = next(file for file in copy.lock.data if file.split == "train")
    assert after.rows == before.rows + 1
    assert copy.lock.wheels == built.lock.wheels


def test_the_lock_names_no_host_and_no_absolute_path(built: Project) -> None:
    text = (built.root / "recipes/tiny.lock.json").read_text()
    assert "://" not in text
    assert str(built.root) not in text
    assert f"{Path.home()}/" not in text


def test_verify_finds_a_flipped_bit_in_the_trained_weights(built: Project, tmp_path: Path) -> None:
    copy = another(built, tmp_path)
    copy.run("run", str(copy.recipe), "--engine", "sandbox")
    copy.run("run", str(copy.recipe), "--engine", "sandbox", "--stage", "evaluate")
    same = copy.json("verify", str(copy.recipe), "--engine", "sandbox")
    assert same["same"] is True
    weights = copy.build / "train/model/adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)
    done = copy.run("verify", str(copy.recipe), "--engine", "sandbox", code=4)
    assert "train/model/adapter_model.safetensors" in done.stderr
    assert "the first tensor that differs is base_model." in done.stderr


def test_export_archive_is_the_same_twice(built: Project, tmp_path: Path) -> None:
    digests = []
    for name in ("one.tar", "two.tar"):
        built.run("export-archive", str(built.recipe), "--to", str(tmp_path / name))
        digests.append((tmp_path / name).read_bytes())
    assert digests[0] == digests[1]


def test_a_foreign_interpreter_flag_never_reaches_the_image(built: Project) -> None:
    run_json = json.loads((built.build / "run.json").read_bytes())
    assert run_json["environment"]["PYTHONHASHSEED"] == "0"
    assert str(built.root) not in (built.build / "run.json").read_text()
    assert str(built.root) not in (built.build / "train.py").read_text()
