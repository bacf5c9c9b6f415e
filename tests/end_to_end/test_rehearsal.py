"""A few rounds of the spot rehearsal, as a user runs it; twenty take `scripts/rehearse_spot.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import ROOT, Project, make_project

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def rehearse(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.rehearse_spot", *words],
        cwd=project.root,
        env={**os.environ, "RECIPEC_CACHE": str(project.cache), "PYTHONPATH": path()},
        capture_output=True,
        text=True,
        check=False,
    )


def path() -> str:
    """Where `scripts` is found, whatever folder the command runs in."""
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


def test_spot_machines_end_with_the_undisturbed_bytes(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.edit("steps: 6", "steps: 20")
    project.edit("checkpoint_every: 2", "checkpoint_every: 3, evaluate_every: 10")
    project.run("build", str(project.recipe))
    rounds = ("--rounds", "3", "--stops", "2", "--engine", "sandbox", "--seed", "2")
    done = rehearse(project, str(project.recipe), *rounds)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("same bytes") == 3
    assert re.search(r"^3 rounds, [3-6] stops", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("3 passed, 0 failed\n")


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    done = rehearse(project, "recipes/none.yaml")
    assert done.returncode == 1
    assert "recipes/none.yaml: error: there is no such recipe\n" in done.stderr
    assert "Traceback" not in done.stderr
