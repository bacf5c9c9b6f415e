"""What users get wrong: each its message and exit code, no traceback, nothing half-written."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.support.projects import Project, make_project

HOSTILE = '"); import os; os.system("x") #'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project with a cache of its own: nothing may need the network here."""
    return make_project(tmp_path / "project", cache=tmp_path / "cache")


def files_of(project: Project) -> set[Path]:
    return {path for path in project.root.rglob("*") if path.is_file()}


def assert_refused(project: Project, *said: str, command: str = "build") -> None:
    """The command stops with exit code 1, says this, and leaves the project as it was."""
    before = files_of(project)
    done = project.run(command, str(project.recipe), code=1)
    for text in said:
        assert text in done.stderr, done.stderr
    assert files_of(project) == before


def test_a_missing_recipe_names_its_neighbour(project: Project) -> None:
    done = project.run("build", "recipes/tini.yaml", code=1)
    assert done.stderr == (
        "recipes/tini.yaml: error: there is no such recipe\n"
        "  hint: did you mean tiny.yaml?\n\n1 error\n"
    )


def test_a_malformed_recipe(project: Project) -> None:
    project.recipe.write_text("name: tiny\n  task: x\n")
    assert_refused(project, "recipes/tiny.yaml:2:", "not valid YAML")


def test_an_unknown_key_and_a_wrong_type_come_together(project: Project) -> None:
    project.edit("batch_size: 8", "batch_sise: 8")
    project.edit("steps: 6", 'steps: "6"')
    assert_refused(project, "did you mean `batch_size`?", "`training.steps` is '6'", "2 errors")


def test_an_impossible_cell_is_refused_by_name(project: Project) -> None:
    project.edit("type: summarization", "type: span-corruption")
    assert_refused(project, "reading a corpus changes the whole model", command="check")


def test_a_model_of_the_wrong_family(project: Project) -> None:
    config = project.root / "models/tiny-t5/config.json"
    plain = json.loads(config.read_bytes())
    plain |= {"model_type": "bert", "architectures": ["BertModel"], "is_encoder_decoder": False}
    config.write_text(json.dumps(plain))
    assert_refused(project, "recipes/tiny.yaml:8:", "an encoder-only model has no decoder")


def test_a_missing_data_file_points_at_its_line(project: Project) -> None:
    (project.root / "data/test.jsonl").unlink()
    assert_refused(project, "recipes/tiny.yaml:6:", "the test file is missing: data/test.jsonl")


def test_a_row_without_the_field_and_a_row_that_is_not_json(project: Project) -> None:
    train = project.root / "data/train.jsonl"
    lines = train.read_text().splitlines()
    lines[2] = '{"clause": "x"}'
    lines[4] = "{not json"
    train.write_text("\n".join(lines) + "\n")
    assert_refused(
        project, "data/train.jsonl:3:", "data/train.jsonl:5:", "summary", command="check"
    )


def test_a_model_folder_without_a_config(project: Project) -> None:
    (project.root / "models/tiny-t5/config.json").unlink()
    assert_refused(project, "recipes/tiny.yaml:8:", "it has no config.json")


def test_no_lock_and_locked(project: Project) -> None:
    done = project.run("build", str(project.recipe), "--locked", code=1)
    assert "there is no lock" in done.stderr
    assert "hint:" in done.stderr


def test_a_torn_lock(project: Project) -> None:
    lock = project.root / "recipes/tiny.lock.json"
    lock.write_text('{"lock": 1, "recipe": ')
    done = project.run("build", str(project.recipe), code=1)
    assert "recipes/tiny.lock.json: error: not a lock" in done.stderr
    assert lock.read_text() == '{"lock": 1, "recipe": '


def test_json_errors_are_one_document(project: Project) -> None:
    project.edit("steps: 6", "steps: 0")
    document = json.loads(project.run("check", str(project.recipe), "--json", code=1).stdout)
    assert document["exit_code"] == 1
    assert document["diagnostics"][0]["line"] == 10


@pytest.mark.engine
@pytest.mark.xdist_group("build")
def test_a_hostile_string_ends_up_as_data(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    text = json.dumps(HOSTILE)
    rows = [json.loads(ln) for ln in (project.root / "data/train.jsonl").read_text().splitlines()]
    for split in ("train", "validation", "test"):
        lines = [json.dumps({HOSTILE: row["clause"], "summary": row["summary"]}) for row in rows]
        (project.root / f"data/{split}.jsonl").write_text("\n".join(lines) + "\n")
        rows = [{"clause": f"{split} {row['clause']}", "summary": row["summary"]} for row in rows]
    project.edit("source: clause", f"source: {text}")
    project.edit("target: summary}", f"target: summary}}\n  prefix: {text}")
    project.edit("domain:\n", f"domain:\n  name: {text}\n  license: {text}\n")
    project.run("build", str(project.recipe))
    script = (project.build / "train.py").read_text()
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert "system" not in calls
    constants = [n.value for n in ast.walk(ast.parse(script)) if isinstance(n, ast.Constant)]
    assert HOSTILE in constants


@pytest.mark.engine
@pytest.mark.xdist_group("build")
def test_changed_bytes_after_the_build_stop_the_training(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.run("build", str(project.recipe))
    with (project.root / "data/train.jsonl").open("a") as stream:
        stream.write('{"clause": "x", "summary": "y"}\n')
    done = project.run("run", str(project.recipe), "--engine", "sandbox", code=4)
    assert "error: data/train.jsonl: expected sha256:" in done.stderr
    assert ", found sha256:" in done.stderr
    assert not (project.build / "train/model").exists()


@pytest.mark.engine
@pytest.mark.xdist_group("build")
def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(small)], check=False
    )
    assert mounted.returncode == 0, "this test wants root"
    try:
        project = make_project(tmp_path / "project", cache=small / "cache")
        done = project.run("build", str(project.recipe), code=3)
        assert "the disk is full" in done.stderr
        assert "hint: " in done.stderr
        assert not project.build.exists()
        assert not (project.root / "recipes/tiny.lock.json").exists()
        assert list((small / "cache").rglob("tmp/*")) == []
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
