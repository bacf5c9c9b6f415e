"""Two rounds of the rehearsal of machines that fail; ten take `scripts/rehearse_nodes.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemons import docker_daemon
from tests.support.projects import ROOT, Project, make_project

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root"),
]


def rehearse(project: Project, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    found = {"RECIPEC_CACHE": str(project.cache), "PYTHONPATH": path, "DOCKER_HOST": host}
    return subprocess.run(
        [sys.executable, "-m", "scripts.rehearse_nodes", str(project.recipe), *words],
        cwd=project.root,
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        check=False,
    )


def test_machines_that_fail_end_with_the_undisturbed_bytes(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.edit("steps: 6", "steps: 20")
    project.edit("reproducibility:", "hardware: {nodes: 2, parallelism: ddp}\nreproducibility:")
    project.run("build", str(project.recipe))
    with docker_daemon() as host:
        done = rehearse(project, host, "--rounds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("same bytes") == 2
    assert re.search(r"^2 rounds, [12] kills", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("2 passed, 0 failed\n")


def test_a_recipe_of_one_machine(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.run("build", str(project.recipe))
    done = rehearse(project, "unix:///nowhere")
    assert done.returncode == 3
    assert "is for one machine\n  hint: set hardware.nodes" in done.stderr
    assert "Traceback" not in done.stderr
