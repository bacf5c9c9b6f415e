"""A compose.yaml of ours is brought up by Docker Compose, from a registry, and trains.

One machine, and two, which are two services on a network of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose
import pytest

from tests.support.daemons import docker_daemon, registry
from tests.support.projects import Project, make_project

pytestmark = [pytest.mark.slow, pytest.mark.engine]

PROGRAM = Path(compose.__file__).with_name("docker-compose")


@pytest.fixture(scope="module")
def daemon() -> Iterator[str]:
    with docker_daemon() as address:
        yield address


class Compose:
    """Docker Compose with the project that `emit-job compose` has written."""

    def __init__(self, project: Project, daemon: str) -> None:
        self._file = project.build / "jobs/compose.yaml"
        self._environment = {**os.environ, "DOCKER_HOST": daemon}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [PROGRAM, "--file", self._file, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def trained(project: Project, daemon: str, folder: Path) -> Any:
    """The receipt of a run from push to the end."""
    docker = Compose(project, daemon)
    with registry(folder / "registry") as served:
        place = f"{served.host}/team/tiny"
        project.run("push", "recipes/tiny.yaml", place)
        project.run("emit-job", "compose", "recipes/tiny.yaml", "--image", place)
        project.run("check-job", "compose", str(project.build / "jobs/compose.yaml"))
        try:
            docker("up", "--exit-code-from", "train")
            docker("cp", "train:/out/.", str(folder / "out"))
        finally:
            docker("down", "--volumes")
    return json.loads((folder / "out/receipt.json").read_bytes())


def test_compose_pulls_by_digest_and_trains_to_the_same_bytes(daemon: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    receipt = trained(project, daemon, tmp_path)
    assert receipt["run_id"] == project.json("build", "recipes/tiny.yaml")["run_id"]
    project.environment["DOCKER_HOST"] = daemon
    project.run("run", "recipes/tiny.yaml", "--engine", "docker")
    ours = json.loads((project.build / "train/receipt.json").read_bytes())
    assert receipt["outputs"] == ours["outputs"]


def test_two_machines_of_compose_train_to_the_bytes_of_two_processes_on_one(
    daemon: str, tmp_path: Path
) -> None:
    two = make_project(tmp_path / "two")
    two.recipe.write_text(two.recipe.read_text() + "hardware: {nodes: 2}\n")
    receipt = trained(two, daemon, tmp_path)
    one = make_project(tmp_path / "one")
    one.recipe.write_text(one.recipe.read_text() + "hardware: {count: 2}\n")
    one.environment["DOCKER_HOST"] = daemon
    one.run("build", "recipes/tiny.yaml")
    one.run("run", "recipes/tiny.yaml", "--engine", "docker")
    ours = json.loads((one.build / "train/receipt.json").read_bytes())
    weights = {name: digest for name, digest in ours["outputs"].items() if "safetensors" in name}
    assert weights
    assert weights.items() <= receipt["outputs"].items()
