"""`domain.corpus`: the text is read once, by a stage of its own, and tasks begin with its model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.projects import Project, make_project

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("corpus")]

CORPUS = """\
  corpus: {train: data/corpus.jsonl, field: clause, steps: 4, batch_size: 2, max_length: 64}
"""


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose recipe has a corpus, built."""
    made = make_project(tmp_path_factory.mktemp("corpus") / "project")
    shutil.copy(made.root / "data/train.jsonl", made.root / "data/corpus.jsonl")
    made.edit("architecture:\n", f"{CORPUS}architecture:\n")
    made.run("build", str(made.recipe))
    return made


def corpus_of(project: Project) -> str:
    (path,) = project.root.glob("recipes/corpus-*.yaml")
    return path.stem


def test_the_corpus_is_a_recipe_of_its_own(project: Project) -> None:
    name = corpus_of(project)
    text = (project.root / f"recipes/{name}.yaml").read_text()
    assert text.startswith("# Written by recipec from `domain.corpus`")
    assert "type: span-corruption" in text
    assert (project.root / f"recipes/{name}.lock.json").is_file()
    run = read(project.build / "run.json")
    corpus = project.json("build", f"recipes/{name}.yaml")
    assert corpus["up_to_date"] is True
    assert run["adapted"] == {"name": name, "run_id": corpus["run_id"]}
    assert project.json("build", str(project.recipe))["up_to_date"] is True


def test_stages(project: Project) -> None:
    name = corpus_of(project)
    stages = YAML(typ="safe").load((project.root / "dvc.yaml").read_text())["stages"]
    assert sorted(stages) == [f"{name}-train", "tiny-evaluate", "tiny-train"]
    adapted = {f"build/{name}/train/model", f"build/{name}/train/receipt.json"}
    assert adapted <= set(stages["tiny-train"]["deps"])
    assert adapted <= set(stages["tiny-evaluate"]["deps"])
    assert "data/corpus.jsonl" in stages[f"{name}-train"]["deps"]
    assert "data/corpus.jsonl" not in stages["tiny-train"]["deps"]


def test_another_recipe_shares_it_and_another_knob_does_not(project: Project) -> None:
    text = project.recipe.read_text()
    other = project.root / "recipes/other.yaml"
    other.write_text(text.replace("name: tiny", "name: other").replace("rank: 4", "rank: 2"))
    project.run("build", str(other))
    assert len(list(project.root.glob("recipes/corpus-*.yaml"))) == 1
    stages = (project.root / "dvc.yaml").read_text()
    third = project.root / "recipes/third.yaml"
    third.write_text(text.replace("name: tiny", "name: third").replace("steps: 4", "steps: 5"))
    project.run("build", str(third))
    assert len(list(project.root.glob("recipes/corpus-*.yaml"))) == 2
    changed = (project.root / "dvc.yaml").read_text()
    assert all(line in changed.splitlines() for line in stages.splitlines())
    assert changed.count("--stage train") == 5
    for path in (other, third):
        path.unlink()
    dvc = project.root / "dvc.yaml"
    dvc.write_text("")
    project.recipe.write_text(f"# changed\n{text}")
    project.run("build", str(project.recipe))


def test_a_corpus_that_nobody_begins_with(project: Project) -> None:
    before = read(project.build / "run.json")["adapted"]["name"]
    project.edit("steps: 4", "steps: 3")
    done = project.run("build", str(project.recipe))
    assert f"no recipe begins with {before} any more: its stage is removed" in done.stderr
    assert f"{before}-train" not in (project.root / "dvc.yaml").read_text()
    project.edit("steps: 3", "steps: 4")
    project.run("build", str(project.recipe))
    stages = (project.root / "dvc.yaml").read_text()
    assert stages.count("corpus-") == stages.count(before)


def test_training_begins_with_the_model_that_read_the_text(project: Project) -> None:
    name = read(project.build / "run.json")["adapted"]["name"]
    early = project.run("run", str(project.recipe), "--engine", "sandbox", code=3)
    assert "the corpus of tiny has not been read" in early.stderr
    assert f"recipec run recipes/{name}.yaml" in early.stderr
    corpus = project.json("run", f"recipes/{name}.yaml", "--engine", "sandbox")
    assert "model/model.safetensors" in corpus["outputs"]
    task = project.json("run", str(project.recipe), "--engine", "sandbox")
    receipt = read(project.build / "train/receipt.json")
    assert receipt["adapted"] == corpus["run_id"]
    assert task["outputs"]
    project.run("run", str(project.recipe), "--stage", "evaluate", "--engine", "sandbox")
    assert project.json("verify", str(project.recipe), "--engine", "sandbox")["same"] is True


def test_a_model_that_was_changed_is_refused(project: Project) -> None:
    name = read(project.build / "run.json")["adapted"]["name"]
    config = project.root / f"build/{name}/train/model/config.json"
    config.write_bytes(config.read_bytes() + b" ")
    done = project.run("run", str(project.recipe), "--engine", "sandbox", code=4)
    assert "model/config.json is not the file" in done.stderr
