"""The example recipes: every one compiles to the image that its committed lock promises.

legal-t5 is trained by test_demo.py; the others are trained in the slow tier, and reach their gates.
Those for GPUs are in test_cuda_lock.py: their images take a download of 3 GB.
"""

from __future__ import annotations

import json
import shutil

import pytest

from recipec.pins.lockfile import from_json
from tests.end_to_end.test_cuda_lock import ON_GPUS
from tests.support.projects import ROOT, Project

ALL = sorted(
    path.stem for path in (ROOT / "recipes").glob("*.yaml") if not path.name.startswith("corpus-")
)
RECIPES = [name for name in ALL if name not in ON_GPUS]
SWEEP = "legal-sweep"
TRAINED_ELSEWHERE = ("legal-t5", SWEEP)
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("examples")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The repository's recipes, data and models, elsewhere."""
    from recipec.store import Store

    root = tmp_path_factory.mktemp("examples") / "project"
    for part in ("recipes", "data", "models"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "dvc.yaml").write_text("")
    return Project(root=root, cache=Store().root)


def test_there_is_an_example_of_each_kind() -> None:
    assert len(RECIPES) == 13
    assert len(ALL) == 14
    texts = "".join((ROOT / f"recipes/{name}.yaml").read_text() for name in RECIPES)
    for word in (
        "qlora",
        "prefix",
        "type: full",
        "corpus:",
        "moe:",
        "matrix:",
        "extends:",
        "count:",
    ):
        assert word in texts, word
    for task in ("translation", "instruction", "token-classification", "question-answering"):
        assert f"type: {task}" in texts, task


@pytest.mark.parametrize("name", RECIPES)
def test_it_compiles_to_the_promised_image(project: Project, name: str) -> None:
    document = project.json("build", f"recipes/{name}.yaml", "--locked")
    for member in document.get("members", [document]):
        lock = from_json((project.root / f"recipes/{member['name']}.lock.json").read_bytes())
        assert lock.image is not None
        assert member["image"] == lock.image.manifest
    script = (project.root / f"build/{member['name']}/train.py").read_text()
    assert len(script.splitlines()) < 350


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in TRAINED_ELSEWHERE])
def test_it_trains_and_reaches_its_gates(project: Project, name: str) -> None:
    """`evaluate` ends with 5 where a gate does not hold; the tuned model beats the untuned."""
    recipe = f"recipes/{name}.yaml"
    project.run("build", recipe)
    if name == "legal-adapted":
        (corpus,) = (project.root / "recipes").glob("corpus-*.yaml")
        project.run("run", str(corpus), "--engine", "sandbox")
    project.run("run", recipe, "--engine", "sandbox")
    project.run("run", recipe, "--engine", "sandbox", "--stage", "evaluate")
    metrics = json.loads((project.root / f"build/{name}/evaluate/metrics.json").read_text())
    assert metrics["test"]["tuned"]["loss"] < metrics["test"]["untuned"]["loss"]
