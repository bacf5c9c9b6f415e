"""Recipes of several files and what is made of them, side by side in tests/compositions/.

A composition is a folder with recipes/recipe.yaml and the files that it extends. expected.txt holds
the recipes that come of it, their names, values and stages; or what `recipec check` says of them.
`pytest --update-goldens` writes it anew: read the diff.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipec.cli.chain import read_chain
from recipec.cli.project import Project
from recipec.emit import dvc
from recipec.errors import RecipeError
from recipec.recipe.given import given_values
from recipec.recipe.matrix import recipes_of

FOLDER = Path(__file__).parents[1] / "compositions"
NAMES = sorted(path.name for path in FOLDER.iterdir())


def test_no_composition_is_lost() -> None:
    assert NAMES == ["chain-of-faults", "circle", "conflicts", "matrix-faults", "sweep"]


def outcome(root: Path) -> str:
    project = Project(root=root, recipe=root / "recipes/recipe.yaml", build=root / "build")
    try:
        recipes = recipes_of(read_chain(project).document)
    except RecipeError as error:
        return error.render() + "\n"
    parts = []
    stages: dict[str, dvc.Stage] = {}
    for recipe in recipes:
        parts.append(f"{recipe.name}\n{json.dumps(given_values(recipe), indent=2)}\n")
        paths = dvc.StagePaths(
            recipe=f"recipes/recipe.yaml:{recipe.name}",
            lock=f"recipes/{recipe.name}.lock.json",
            build=f"build/{recipe.name}",
            train_inputs=("data/train.jsonl",),
            evaluate_inputs=("data/test.jsonl",),
        )
        stages |= dvc.stages(recipe.name, paths)
    return "\n".join([*parts, dvc.merge(None, stages, file="dvc.yaml").decode()])


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_of_a_composition(
    name: str, update_goldens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER / name)
    made, golden = outcome(FOLDER / name), FOLDER / name / "expected.txt"
    if update_goldens:
        golden.write_text(made, encoding="utf-8")
    assert made == golden.read_text(encoding="utf-8")
