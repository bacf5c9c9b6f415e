"""Whole recipes and everything that is made of them, side by side in tests/cases/.

A case is a folder with recipe.yaml. A good recipe has the model's config.json beside it and
expected/ holds its values, its plan, its scripts and its dvc.yaml; of a wrong one expected/ holds
what `recipec check` says. `pytest --update-goldens` writes expected/ anew: read the diff.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from recipec.catalog import support
from recipec.emit import dvc
from recipec.emit.script import emit_bundle
from recipec.errors import RecipeError
from recipec.pins.lockfile import DataFile, Lock, Model, ModelFile
from recipec.pins.models import family_of
from recipec.plan.make import make_plan
from recipec.recipe.check import check
from recipec.recipe.given import given_values
from recipec.recipe.read import read
from recipec.recipe.schema import Recipe
from recipec.recipe.splits import splits_of

CASES = Path(__file__).parents[1] / "cases"
NAMES = sorted(path.parent.name for path in CASES.glob("*/recipe.yaml"))
GOOD = [name for name in NAMES if (CASES / name / "config.json").exists()]
ROWS = {"train": 1000, "validation": 100, "test": 50}


def test_no_case_is_lost() -> None:
    assert (len(GOOD), len(NAMES)) == (19, 31)
    assert sorted(path.name for path in CASES.iterdir() if path.is_dir()) == NAMES


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def lock_of(recipe: Recipe) -> Lock:
    """A lock as the passes before the plan would have made it, with digests made up."""
    labelled = "task.labels" in support.tasks()[recipe.task.type].knobs
    labels = tuple(recipe.task.labels or ("billing", "delivery")) if labelled else ()
    return Lock(
        recipe="recipes/case.yaml",
        recipe_digest=digest(1),
        uv="0.9.0",
        layer_format=1,
        wheels=(),
        debs=(),
        model=Model(
            source=recipe.architecture.model,
            license="CC0-1.0",
            files=(ModelFile(path="config.json", sha256=digest(2), size=100),),
        ),
        data=tuple(
            DataFile(
                split=split.name,
                path=f"data/{split.name}.jsonl" if split.share else split.paths[0],
                sha256=digest(3 + ["train", "validation", "test"].index(split.name)),
                size=1,
                rows=ROWS[split.name],
            )
            for split in splits_of(recipe.domain.data)
        ),
        labels=labels,
        label_counts=tuple(600 // (place + 1) for place in range(len(labels))),
    )


def stage_paths(recipe: Recipe) -> dvc.StagePaths:
    paths = {split.name: split.paths for split in splits_of(recipe.domain.data)}
    model = recipe.architecture.model.removeprefix("path:")
    trained_on = [*paths["train"], *paths.get("validation", ())]
    measured_on = [*paths.get("test", paths.get("validation", ()))]
    return dvc.StagePaths(
        recipe="recipes/case.yaml",
        lock="recipes/case.lock.json",
        build=f"build/{recipe.name}",
        train_inputs=(*trained_on, model),
        evaluate_inputs=(*measured_on, model),
    )


def outcome(name: str) -> dict[str, bytes]:
    """What comes of a case, by file name."""
    folder = CASES / name
    try:
        recipe = check(read((folder / "recipe.yaml").read_bytes(), "recipe.yaml"))
    except RecipeError as error:
        return {"diagnostics.txt": (error.render() + "\n").encode()}
    config = json.loads((folder / "config.json").read_text())
    lock = lock_of(recipe)
    plan = make_plan(
        recipe,
        lock,
        family=family_of(config, where="config.json"),
        model_type=config["model_type"],
        config=config,
    )
    lines = [
        f"{d.key} = {d.value!r}{' ' + d.unit if d.unit else ''}  [{d.origin}] {d.reason}"
        for d in plan.decisions
    ]
    made = {f"emitted/{path}": data for path, data in emit_bundle(plan.settings, lock)}
    stages = dvc.stages(recipe.name, stage_paths(recipe))
    return {
        **made,
        "values.json": (json.dumps(given_values(recipe), indent=2) + "\n").encode(),
        "plan.txt": ("\n".join(lines) + "\n").encode(),
        "dvc.yaml": dvc.merge(None, stages, file="dvc.yaml"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_of_a_recipe(name: str, update_goldens: bool) -> None:
    folder = CASES / name / "expected"
    made = outcome(name)
    if update_goldens:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for file, data in made.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
    there = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert there == sorted(made)
    assert ("diagnostics.txt" in made) == (name not in GOOD)
    for file, data in made.items():
        assert data.decode() == (folder / file).read_bytes().decode(), file


@pytest.mark.parametrize("name", GOOD)
def test_a_compile_gives_the_same_bytes_each_time(name: str) -> None:
    assert outcome(name) == outcome(name)


@pytest.mark.parametrize("name", GOOD)
def test_every_script_is_python_that_calls_only_what_it_imports(name: str) -> None:
    """No text of a recipe ends up as code: what is called was imported, defined or is built in."""
    for file, data in outcome(name).items():
        if not file.endswith(".py"):
            continue
        tree = ast.parse(data)
        assert len(data.splitlines()) < 350
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"exec", "eval", "compile", "__import__"}
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"system", "popen"}
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "subprocess" not in imported
