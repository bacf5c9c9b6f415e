"""A compose.yaml of ours is brought up by Docker Compose, from a registry, and trains."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import compose
import pytest

from tests.support.daemons import docker_daemon, registry
from tests.support.projects import make_project

pytestmark = [pytest.mark.slow, pytest.mark.engine]

PROGRAM = Path(compose.__file__).with_name("docker-compose")


@pytest.fixture(scope="module")
def daemon() -> Iterator[str]:
    with docker_daemon() as address:
        yield address


def test_compose_pulls_by_digest_and_trains_to_the_same_bytes(daemon: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    environment = {**os.environ, "DOCKER_HOST": daemon}

    def docker(*arguments: str) -> str:
        done = subprocess.run(
            [PROGRAM, "--file", project.build / "jobs/compose.yaml", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with registry(tmp_path / "registry") as served:
        place = f"{served.host}/team/tiny"
        project.run("push", "recipes/tiny.yaml", place)
        project.run("emit-job", "compose", "recipes/tiny.yaml", "--image", place)
        project.run("check-job", "compose", str(project.build / "jobs/compose.yaml"))
        try:
            docker("up", "--exit-code-from", "train")
            docker("cp", "train:/out/.", str(tmp_path / "out"))
        finally:
            docker("down", "--volumes")
    receipt = json.loads((tmp_path / "out/receipt.json").read_bytes())
    assert receipt["run_id"] == project.json("build", "recipes/tiny.yaml")["run_id"]
    project.environment["DOCKER_HOST"] = daemon
    project.run("run", "recipes/tiny.yaml", "--engine", "docker")
    ours = json.loads((project.build / "train/receipt.json").read_bytes())
    assert receipt["outputs"] == ours["outputs"]
