"""`recipec init` and `recipec schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipec.catalog import support
from recipec.cli.init import starter
from recipec.cli.main import main
from recipec.recipe.check import check
from recipec.recipe.json_schema import json_schema_text
from recipec.recipe.read import read
from tests.unit.conftest import Workplace


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "my-first"]) == 0
    assert capsys.readouterr() == (
        "",
        "wrote recipes/my-first.yaml: name your data and model in it, then `recipec check"
        " recipes/my-first.yaml`\n",
    )
    text = (here / "recipes/my-first.yaml").read_text()
    assert text == starter("my-first", "summarization", "path:models/my-model")
    assert [path.name for path in (here / "recipes").iterdir()] == ["my-first.yaml"]


def test_a_new_recipe_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "a", "--json", "--task", "causal-lm"]) == 0
    assert json.loads(capsys.readouterr().out) == {"recipe": "recipes/a.yaml"}
    assert "type: causal-lm" in (here / "recipes/a.yaml").read_text()


@pytest.mark.parametrize("task", sorted({task for task, _, _ in support.cells()}))
@pytest.mark.parametrize("name", ["a", "123", "1e3", "0x1f", "null", "true", "no", "a-1", "0"])
def test_a_new_recipe_passes_the_check(task: str, name: str) -> None:
    recipe = check(read(starter(name, task, "hub:a/b@c0ffee").encode(), "r.yaml"))
    assert (recipe.name, recipe.task.type) == (name, task)
    assert recipe.architecture.model == "hub:a/b@c0ffee"


@pytest.mark.parametrize("model", ["path:a b", 'path:a"b', "path:a: b", "path:ä", "path:a # b"])
def test_a_model_of_any_name_is_quoted_where_it_must_be(model: str) -> None:
    made = check(read(starter("a", "summarization", model).encode(), "r.yaml"))
    assert made.architecture.model == model


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["A", "a/b", "../a", "", "a b", "é", "-", "a\n", "x" * 64])
def test_a_name_that_is_no_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["init", "--", name])
    assert code == 2
    assert capsys.readouterr().err == (
        f"error: {name!a} is not a name for a recipe\n"
        "  hint: use lower-case letters, digits and hyphens, at most 63\n"
    )
    assert not Path("recipes").exists()


def test_a_recipe_is_never_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "recipes").mkdir()
    (here / "recipes/a.yaml").write_text("mine")
    assert main(["init", "a"]) == 2
    assert capsys.readouterr().err == (
        "error: recipes/a.yaml exists already\n  hint: choose another name, or edit the file\n"
    )
    assert (here / "recipes/a.yaml").read_text() == "mine"


def test_a_folder_that_cannot_be_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "recipes").write_text("a file")
    assert main(["init", "a"]) == 3
    assert capsys.readouterr().err.startswith("error: cannot write to recipes: ")


def test_the_schema(workplace: Workplace) -> None:
    done = workplace.run("schema")
    assert (done.code, done.err) == (0, "")
    assert done.out == json_schema_text()
    assert workplace.run("schema", "--json").out == done.out
