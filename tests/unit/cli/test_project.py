"""Where a recipe's things lie, and what is remembered of a checked one."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipec.cli.frontend import load
from recipec.cli.project import MARKERS, Project, find_project
from recipec.errors import RecipeError
from recipec.fingerprint import compiler_fingerprint
from recipec.store import Store
from tests.unit.conftest import RECIPE, Workplace


@pytest.mark.parametrize("marker", MARKERS)
def test_the_root_is_the_nearest_marked_folder(
    tmp_path: Path, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer" / "inner"
    (inner / "recipes").mkdir(parents=True)
    (tmp_path / "outer" / ".git").mkdir()
    recipe = inner / "recipes" / "a.yaml"
    recipe.write_text("")
    monkeypatch.chdir(tmp_path)
    assert find_project(recipe).root == tmp_path / "outer"
    (inner / marker).mkdir()
    assert find_project(recipe).root == inner
    assert find_project(Path("outer/inner/recipes/a.yaml")).root == inner


def test_without_a_mark_it_is_where_the_user_stands_or_the_recipe_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "recipes", there):
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text("")
    monkeypatch.chdir(here)
    assert find_project(Path("recipes/a.yaml")).root == here
    assert find_project(there / "a.yaml").root == there


def test_the_places_of_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = Project(
        root=tmp_path, recipe=tmp_path / "recipes" / "a.v2.yaml", build=tmp_path / "build"
    )
    assert project.lock == tmp_path / "recipes" / "a.v2.lock.json"
    assert project.dvc == tmp_path / "dvc.yaml"
    assert project.folder("a") == tmp_path / "build" / "a"
    assert project.shown(tmp_path / "x" / "y") == "x/y"
    assert project.shown(Path("/elsewhere/y")) == "/elsewhere/y"
    assert project.relative(tmp_path / "x" / "y") == "x/y"
    assert project.relative(tmp_path.parent / "y") == "../y"


def test_the_build_folder_may_be_named(workplace: Workplace) -> None:
    assert find_project(workplace.recipe).build == workplace.root / "build"
    assert find_project(workplace.recipe, Path("/elsewhere")).build == Path("/elsewhere")


def test_a_recipe_behind_a_link_belongs_to_its_own_project(
    workplace: Workplace, tmp_path: Path
) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(workplace.recipe)
    assert find_project(link) == find_project(workplace.recipe)


@pytest.mark.parametrize("name", ["", ".", "no.yaml", "x" * 400, "\0", "legal-t5.yaml/x"])
def test_what_is_no_recipe(
    name: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace.root / "recipes")
    with pytest.raises(RecipeError):
        find_project(Path(name))


def test_a_checked_recipe_is_not_checked_again(workplace: Workplace) -> None:
    project, store = find_project(workplace.recipe), workplace.store
    first = load(project, store)
    assert load(project, store) == first
    (record,) = (store.root / "records" / "checked").iterdir()
    known = store.record("checked", record.stem)
    assert known is not None
    known["recipes"][0]["training"]["seed"] = 99
    store.put_record("checked", record.stem, known)
    assert load(project, store).recipe.training.seed == 99  # it came from the record
    workplace.recipe.write_text(RECIPE + "# moved\n")
    assert load(project, store).recipe == first.recipe


def test_only_good_recipes_are_remembered(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE + "x: 1\n")
    with pytest.raises(RecipeError):
        load(find_project(workplace.recipe), workplace.store)
    assert not (workplace.cache / "records").exists()


def test_missing_files_are_noticed_though_the_recipe_is_known(workplace: Workplace) -> None:
    project, store = find_project(workplace.recipe), Store(workplace.cache)
    load(project, store)
    (workplace.root / "data/test.jsonl").unlink()
    with pytest.raises(RecipeError) as caught:
        load(project, store)
    assert "the test file is missing: data/test.jsonl" in caught.value.render()


def test_the_fingerprint_is_steady() -> None:
    first = compiler_fingerprint()
    assert first.startswith("sha256:")
    assert compiler_fingerprint() == first
