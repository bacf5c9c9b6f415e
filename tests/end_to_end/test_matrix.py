"""A sweep as users run it: built together, each member a recipe of its own, stages in dvc.yaml."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.projects import Project, lend_inputs, make_project

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("matrix")]

SWEEP = """\
extends: tiny.yaml
name: sweep
matrix:
  training.learning_rate: [1.0e-3, 3.0e-4]
  method.rank: [2, 4]
"""
NAMES = ["sweep-lr1e-3-rank2", "sweep-lr1e-3-rank4", "sweep-lr3e-4-rank2", "sweep-lr3e-4-rank4"]
STAGES = [f"{name}-{stage}" for name in NAMES for stage in ("train", "evaluate")]


def sweep(folder: Path, text: str = SWEEP) -> Project:
    project = make_project(folder)
    (project.root / "recipes/sweep.yaml").write_text(text)
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = sweep(tmp_path_factory.mktemp("matrix") / "project")
    (project.root / "dvc.yaml").write_text("# mine\nstages:\n  own:\n    cmd: x  # why\n")
    document = project.json("build", "recipes/sweep.yaml")
    (project.root / "first.json").write_text(json.dumps(document))
    return project


@pytest.fixture
def copy(built: Project, tmp_path: Path) -> Project:
    """The built project, for tests that change it."""

    def put(source: str, target: str) -> None:
        # Layers are hundreds of megabytes, and nobody writes into them.
        (os.link if "/image/blobs/" in source else shutil.copy2)(source, target)

    shutil.copytree(built.root, tmp_path / "copy", symlinks=True, copy_function=put)
    return Project(root=tmp_path / "copy", cache=built.cache)


def stages(project: Project) -> list[str]:
    plain: Any = YAML(typ="safe", pure=True).load((project.root / "dvc.yaml").read_text())
    return list(plain["stages"])


def build(project: Project, *words: str) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = project.json("build", "recipes/sweep.yaml", *words)["members"]
    return members


def test_members_are_built_together(built: Project) -> None:
    document = json.loads((built.root / "first.json").read_text())
    assert sorted(document) == ["members", "recipe"]
    assert document["recipe"] == "recipes/sweep.yaml"
    members = document["members"]
    assert [member["name"] for member in members] == NAMES
    assert len({member["run_id"] for member in members}) == 4
    for member in members:
        assert (built.root / f"build/{member['name']}/train.py").is_file()
        assert (built.root / f"recipes/{member['name']}.lock.json").is_file()
        assert not any(notice.startswith("lock: ") for notice in member["notices"])
    assert stages(built) == ["own", *STAGES]
    assert (
        (built.root / "dvc.yaml").read_text().startswith("# mine\nstages:\n  own:\n    cmd: x  #")
    )


def test_members_share_every_layer_but_the_recipe(built: Project) -> None:
    members = json.loads((built.root / "first.json").read_text())["members"]
    for member in members[1:]:
        made = [layer["kind"] for layer in member["layers"] if layer["cache"] == "miss"]
        assert made in ([], ["recipe"])
        same = zip(member["layers"], members[0]["layers"], strict=True)
        assert [a["kind"] for a, b in same if a["digest"] != b["digest"]] == ["recipe"]
        assert member["seconds"] < 3  # no wheel is resolved, read or spliced again


def test_a_member_is_the_plain_recipe_of_its_values(built: Project, tmp_path: Path) -> None:
    plain = make_project(tmp_path / "plain", cache=built.cache)
    plain.edit("name: tiny", f"name: {NAMES[2]}")
    plain.edit("rank: 4", "rank: 2")
    plain.edit("learning_rate: 1.0e-3", "learning_rate: 3.0e-4")
    document = plain.json("build", "recipes/tiny.yaml")
    member = json.loads((built.root / "first.json").read_text())["members"][2]
    for key in ("image", "config", "run_id", "scripts"):
        assert document[key] == member[key]
    locks = [
        json.loads((root / name).read_text())["recipe_digest"]
        for root, name in (
            (plain.root, "recipes/tiny.lock.json"),
            (built.root, f"recipes/{NAMES[2]}.lock.json"),
        )
    ]
    assert locks[0] == locks[1]


def test_a_second_build_does_nothing_and_is_fast(built: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.root.rglob("*")}
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        members = build(built)
        seconds.append(time.perf_counter() - started)
        assert all(member["up_to_date"] for member in members)
    assert {path: path.stat().st_mtime_ns for path in built.root.rglob("*")} == before
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import argparse, json, pathlib"], check=True)
    assert min(seconds) < time.perf_counter() - started + 0.5


def test_another_recipes_build_leaves_the_members_up_to_date(copy: Project) -> None:
    build(copy)  # the copy's files are new ones to the compiler
    assert all(member["up_to_date"] for member in build(copy))
    copy.run("build", "recipes/tiny.yaml")
    assert stages(copy) == ["own", *STAGES, "tiny-train", "tiny-evaluate"]
    assert all(member["up_to_date"] for member in build(copy))
    assert copy.json("build", "recipes/tiny.yaml")["up_to_date"] is True


def test_an_edited_base_makes_every_member_stale(copy: Project) -> None:
    first = build(copy)
    copy.edit("seed: 7", "seed: 8")
    done = copy.run("build", "recipes/sweep.yaml", "--locked", code=1)
    assert f"error: {NAMES[0]}: the lock does not fit: recipe: changed" in done.stderr
    second = build(copy)
    assert not any(member["up_to_date"] for member in second)
    assert not {m["run_id"] for m in first} & {m["run_id"] for m in second}
    assert all(member["up_to_date"] for member in build(copy, "--locked"))


def test_one_stale_lock_is_enough_to_refuse(copy: Project) -> None:
    build(copy, "--locked")
    lock = copy.root / f"recipes/{NAMES[3]}.lock.json"
    plain = json.loads(lock.read_text())
    lock.write_text(json.dumps({**plain, "recipe_digest": "sha256:" + "0" * 64}))
    before = (copy.root / "dvc.yaml").read_bytes()
    done = copy.run("build", "recipes/sweep.yaml", "--locked", code=1)
    assert f"error: {NAMES[3]}: the lock does not fit: recipe: changed" in done.stderr
    lock.unlink()
    done = copy.run("build", "recipes/sweep.yaml", "--locked", code=1)
    assert f"error: {NAMES[3]}: --locked was asked for and there is no lock" in done.stderr
    assert (copy.root / "dvc.yaml").read_bytes() == before


def test_members_that_leave_take_their_stages_with_them(copy: Project) -> None:
    recipe = copy.root / "recipes/sweep.yaml"
    recipe.write_text(SWEEP.replace("[2, 4]", "[4, 8]"))
    done = copy.run("build", "recipes/sweep.yaml")
    gone = [NAMES[0], NAMES[2]]
    for name in gone:
        assert (
            f"note: {name} is no longer in recipes/sweep.yaml: its stages are removed;"
            f" recipes/{name}.lock.json and build/{name} can go too\n"
        ) in done.stderr
    assert stages(copy) == [
        "own",
        *(stage for stage in STAGES if not stage.startswith(tuple(gone))),
        *(f"sweep-lr{lr}-rank8-{s}" for lr in ("1e-3", "3e-4") for s in ("train", "evaluate")),
    ]
    assert (copy.root / f"build/{gone[0]}/train.py").is_file()
    assert "is no longer in" not in copy.run("build", "recipes/sweep.yaml").stderr
    # A matrix that becomes a plain recipe, and comes back
    recipe.write_text(SWEEP.partition("matrix")[0])
    copy.run("build", "recipes/sweep.yaml")
    assert stages(copy) == ["own", "sweep-train", "sweep-evaluate"]
    recipe.write_text(SWEEP)
    copy.run("build", "recipes/sweep.yaml")
    assert sorted(stages(copy)) == sorted(["own", *STAGES])


def test_one_member_alone_touches_no_other(copy: Project) -> None:
    (copy.root / "recipes/sweep.yaml").write_text(SWEEP.replace("[2, 4]", "[2, 8]"))
    document = copy.json("build", "recipes/sweep.yaml:sweep-lr1e-3-rank8")
    assert document["name"] == "sweep-lr1e-3-rank8"
    assert "members" not in document
    made = [f"sweep-lr1e-3-rank8-{stage}" for stage in ("train", "evaluate")]
    assert stages(copy) == ["own", *STAGES, *made]


def test_a_member_that_fails_leaves_the_ones_before_it_built(copy: Project) -> None:
    shutil.copytree(copy.root / "models/tiny-t5", copy.root / "models/torn")
    (copy.root / "models/torn/config.json").write_text('{"model_type": "gpt2"}')
    text = SWEEP.partition("matrix")[0]
    text += "matrix: {architecture.model: ['path:models/tiny-t5', 'path:models/torn']}\n"
    (copy.root / "recipes/sweep.yaml").write_text(text)
    done = copy.run("build", "recipes/sweep.yaml", code=1)
    assert "recipes/sweep.yaml:3:54: error: " in done.stderr
    assert (copy.root / "build/sweep-tiny-t5/build.json").is_file()
    assert not (copy.root / "build/sweep-torn").exists()
    assert stages(copy)[-2:] == ["sweep-tiny-t5-train", "sweep-tiny-t5-evaluate"]


def test_a_torn_dvc_yaml_is_found_before_anything_is_written(copy: Project) -> None:
    (copy.root / "dvc.yaml").write_text("stages: [\n")
    shutil.rmtree(copy.root / "build")
    (copy.root / f"recipes/{NAMES[0]}.lock.json").unlink()
    done = copy.run("build", "recipes/sweep.yaml", code=1)
    assert "dvc.yaml:2:1: error: not valid YAML" in done.stderr
    assert not (copy.root / "build").exists()
    assert not (copy.root / f"recipes/{NAMES[0]}.lock.json").exists()


def test_lock_and_plan_do_every_member(copy: Project) -> None:
    for name in NAMES:
        (copy.root / f"recipes/{name}.lock.json").unlink()
    rows = copy.json("lock", "recipes/sweep.yaml")["members"]
    assert [row["lock"] for row in rows] == [f"recipes/{name}.lock.json" for name in NAMES]
    assert all(row["notices"] == [] for row in rows)
    copy.run("lock", "recipes/sweep.yaml", "--locked")
    plans = copy.json("plan", "recipes/sweep.yaml")["members"]
    assert [plan["name"] for plan in plans] == NAMES
    ranks = [d["value"] for p in plans for d in p["decisions"] if d["key"] == "method.rank"]
    assert ranks == [2, 4, 2, 4]
    done = copy.run("plan", "recipes/sweep.yaml")
    assert [line for line in done.stdout.splitlines() if line.startswith("plan of ")] == [
        f"plan of {name}" for name in NAMES
    ]
    (copy.root / f"recipes/{NAMES[1]}.lock.json").unlink()
    done = copy.run("lock", "recipes/sweep.yaml", "--locked", code=1)
    assert f"error: {NAMES[1]}: --locked was asked for and there is no lock" in done.stderr


def test_a_cold_build_elsewhere_gives_the_locked_digests(built: Project, tmp_path: Path) -> None:
    copy = sweep(tmp_path / "somewhere else")
    copy.cache = tmp_path / "cache"
    for name in NAMES:
        shutil.copy(built.root / f"recipes/{name}.lock.json", copy.root / "recipes")
    from recipec.pins.lockfile import from_json

    lend_inputs(from_json((copy.root / f"recipes/{NAMES[0]}.lock.json").read_bytes()), copy.cache)
    members = build(copy, "--locked")
    first = json.loads((built.root / "first.json").read_text())["members"]
    assert [member["image"] for member in members] == [member["image"] for member in first]


def test_a_wide_sweep_is_built_in_seconds(copy: Project) -> None:
    text = SWEEP.partition("matrix")[0]
    seeds = list(range(40))
    (copy.root / "recipes/sweep.yaml").write_text(f"{text}matrix: {{training.seed: {seeds}}}\n")
    started = time.perf_counter()
    assert len(build(copy)) == 40
    assert time.perf_counter() - started < 60
    assert all(member["up_to_date"] for member in build(copy))


def dvc(project: Project, *words: str) -> str:
    scripts = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{scripts}:{os.environ['PATH']}",
        "RECIPEC_CACHE": str(project.cache),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(project.root / ".dvc/site"),
        "COLUMNS": "1000",
    }
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_dvc_trains_the_members_and_shows_them_side_by_side(copy: Project) -> None:
    text = SWEEP.replace("[2, 4]", "[2]") + "evaluation: {num_beams: 1}\n"
    (copy.root / "recipes/sweep.yaml").write_text(text)
    (copy.root / "dvc.yaml").write_text("")
    copy.run("build", "recipes/sweep.yaml")
    author = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", *author, *words], cwd=copy.root, check=True)
        if words[0] == "init":
            dvc(copy, "init", "-q")
            (copy.root / ".gitignore").write_text("build/\n")
    names = [NAMES[0], NAMES[2]]
    dvc(copy, "repro")
    said = dvc(copy, "repro")
    assert all(f"Stage '{name}-evaluate' didn't change, skipping" in said for name in names)
    shown = json.loads(dvc(copy, "metrics", "show", "--json"))
    files = shown[""]["data"]
    losses = [files[f"build/{name}/train/metrics.json"]["data"]["train"]["loss"] for name in names]
    assert losses[0] != losses[1]
    table = dvc(copy, "metrics", "show")
    assert [line.split()[0] for line in table.splitlines()[1:]] == [
        f"build/{name}/{stage}/metrics.json" for name in names for stage in ("train", "evaluate")
    ]
    head = dvc(copy, "exp", "show", "--csv").splitlines()[0].split(",")
    for name in names:
        assert f"build/{name}/train/metrics.json:train.loss" in head
    same = copy.json("verify", f"recipes/sweep.yaml:{names[1]}")
    assert same["same"] is True
    copy.run("lock", "recipes/sweep.yaml", "--record")
    for name in names:
        lock = json.loads((copy.root / f"recipes/{name}.lock.json").read_text())
        assert lock["outputs"]["files"]
    target = copy.root / "x.tar"
    copy.run("export-archive", f"recipes/sweep.yaml:{names[0]}", "--to", str(target))
    assert target.is_file()
