"""The support table, held to its word: what it calls supported trains, learns and repeats.

Every cell is read from support.toml and compiled by the real passes. The fast tier trains a
selection with every task, family and method in it; `make test-all` trains every cell.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from recipec.catalog import support
from recipec.errors import RecipeError
from recipec.plan.fit import Target, misfits
from recipec.recipe.check import check
from recipec.recipe.read import read
from tests.support import cells
from tests.support.cells import Cell, place_cell, recipe_text
from tests.support.emulated import train_on_host_cpu
from tests.support.training import read as read_json
from tests.support.training import run, trained

SUPPORTED = cells.supported()
FEW = cells.few(SUPPORTED)
TABLE = [
    pytest.param(cell, marks=[] if cell in FEW else [pytest.mark.slow], id=str(cell))
    for cell in SUPPORTED
]


def test_the_selection_has_every_task_family_and_method() -> None:
    for part in ("task", "family", "method"):
        assert {getattr(c, part) for c in FEW} == {getattr(c, part) for c in SUPPORTED}
    assert {c.method for c in SUPPORTED} == set(support.methods())
    assert {c.task for c in SUPPORTED} == set(support.tasks())


@pytest.mark.parametrize("cell", TABLE)
def test_a_cell_trains_learns_and_repeats(cell: Cell, tmp_path: Path) -> None:
    root = place_cell(tmp_path / "root", cell.task, cell.method, cell.model_type)
    first = trained(root, tmp_path / "a")
    second = trained(
        root, tmp_path / "b", PYTHONHASHSEED="9", LANG="tr_TR.UTF-8", OMP_NUM_THREADS="4"
    )
    assert first == second
    assert any(name.endswith(".safetensors") for name in first)
    measured = read_json(tmp_path / "a" / "metrics.json")["validation"]
    assert measured["after"]["loss"] < measured["before"]["loss"]
    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    test = read_json(tmp_path / "e" / "metrics.json")["test"]
    assert test["tuned"]["loss"] < test["untuned"]["loss"]
    assert set(support.tasks()[cell.task].metrics) <= set(test["tuned"])
    for script in ("train.py", "evaluate.py"):
        assert len((root / "recipe" / script).read_text().splitlines()) < 350


UNSUPPORTED = [
    combination
    for combination in itertools.product(support.tasks(), support.FAMILIES, support.methods())
    if combination not in support.cells()
]


@pytest.mark.parametrize(("task", "family", "method"), UNSUPPORTED)
def test_an_unsupported_cell_is_refused_with_its_reason(
    task: str, family: str, method: str
) -> None:
    cell = support.cell(task, family, method)
    assert not cell.supported
    assert cell.reason
    assert cell.hint
    model_type = cells.TYPES[family][0]
    document = read(recipe_text(task, method, model_type, {}), "cell.yaml")
    if not (known := support.task_has_cells(task, method)).supported:
        with pytest.raises(RecipeError) as caught:
            check(document)
        assert f"error: {known.reason}" in caught.value.render()
        return
    recipe = check(document)
    target = Target(family=family, model_type=model_type, config={"model_type": model_type})
    (broken,) = misfits(recipe, target)
    assert broken.message == f"{cell.reason} (path:model is {family})"


def test_no_reason_is_that_this_version_does_not_do_it() -> None:
    """What is refused cannot be, or is better done otherwise: the reason says which."""
    reasons = {support.cell(*combination).reason for combination in UNSUPPORTED}
    assert not [reason for reason in reasons if reason.startswith("this version")]


EMULATED = {cell.method: cell for cell in SUPPORTED}


@pytest.mark.slow
@pytest.mark.parametrize("cell", EMULATED.values(), ids=str)
def test_an_emulated_haswell_gets_the_same_bytes(cell: Cell, tmp_path: Path) -> None:
    knobs: dict[str, Any] = {"training": {"steps": 5}, "reproducibility": "portable"}
    root = place_cell(tmp_path / "root", cell.task, cell.method, cell.model_type, **knobs)
    own = train_on_host_cpu(root, tmp_path / "own")
    emulated = train_on_host_cpu(root, tmp_path / "haswell", cpu="Haswell")
    assert own == emulated
