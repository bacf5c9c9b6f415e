"""`recipec check` of recipes for GPUs: what has no room is refused before anything is locked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from recipec.cli.frontend import load
from recipec.cli.project import find_project
from recipec.cli.room import at_hand
from recipec.pins.lockfile import Lock, Model, ModelFile, to_json
from recipec.store import sha256
from tests.unit.conftest import RECIPE, Workplace

LARGE = "method: {type: full}\ntraining: {batch_size: 512, micro_batch_size: 512}\n"
T4 = "hardware: {accelerator: nvidia-t4}\n"


def test_a_model_in_the_project(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE + LARGE + T4)
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert (done.code, done.out) == (1, "")
    planned = workplace.run("plan", "recipes/legal-t5.yaml")
    assert planned.err == done.err
    assert done.err.startswith("recipes/legal-t5.yaml:12:25: error: the run needs about ")
    workplace.recipe.write_text(RECIPE + T4)
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0


def test_several_processes_need_less(workplace: Workplace) -> None:
    less = LARGE.replace("micro_batch_size: 512", "micro_batch_size: 32")
    workplace.recipe.write_text(RECIPE + less + T4.replace("t4", "t4, count: 4"))
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0
    alone = "hardware: {accelerator: nvidia-t4, parallelism: fsdp}\n"
    workplace.recipe.write_text(RECIPE + less + alone)
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert "`hardware.parallelism` does nothing with one process" in done.err


def test_a_model_from_elsewhere_is_known_once_it_is_locked(workplace: Workplace) -> None:
    source = "hub:a/b@main"
    recipe = (RECIPE + LARGE + T4).replace("path:models/tiny", source)
    workplace.recipe.write_text(recipe)
    store, project = workplace.store, find_project(workplace.recipe)
    loaded = load(project, store)
    assert at_hand(loaded, store) is None
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0
    files = []
    for path in sorted((workplace.root / "models/tiny").iterdir()):
        data = path.read_bytes()
        if path.suffix != ".safetensors":
            store.add_bytes(data)
        files.append(ModelFile(path=path.name, sha256=sha256(data), size=len(data)))
    lock = Lock(
        recipe="recipes/legal-t5.yaml",
        recipe_digest=loaded.digest,
        uv="0.9",
        layer_format=1,
        wheels=(),
        debs=(),
        model=Model(source=source, license="MIT", files=tuple(files)),
        data=(),
    )
    project.lock.write_bytes(to_json(lock))
    found = at_hand(loaded, store)
    assert found is not None
    assert found.model_type == "t5"
    workplace.recipe.write_text(recipe + "# again\n")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert "and a process finds 14.6 GiB on an NVIDIA T4" in done.err
    project.lock.write_bytes(b"torn")
    assert at_hand(loaded, store) is None


@pytest.mark.parametrize(("hardware", "pays"), [("", False), (T4, True)])
def test_a_recipe_for_cpus_is_not_planned(workplace: Workplace, hardware: str, pays: bool) -> None:
    workplace.recipe.write_text(RECIPE + hardware)
    script = (
        "import sys\n"
        "from recipec.cli.main import main\n"
        "try:\n"
        "    main(['check', 'recipes/legal-t5.yaml'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('recipec.plan.make' in sys.modules, 'recipec.plan.memory' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=workplace.root,
        env={**os.environ, "RECIPEC_CACHE": str(workplace.cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"{pays} {pays}"
