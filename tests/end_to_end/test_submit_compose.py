"""`recipec submit compose` brings a project up on a docker daemon, and it trains."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

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


def docker(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        [PROGRAM, "--file", project.build / "jobs/compose.yaml", *arguments],
        env={**os.environ, **project.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_project_comes_up_once_and_trains(daemon: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.environment["DOCKER_HOST"] = daemon
    with registry(tmp_path / "registry") as served:
        image = f"{served.host}/team/tiny"
        words = ("submit", "compose", "recipes/tiny.yaml", "--image", image)
        done = project.run(*words, code=3)
        assert f"hint: recipec push recipes/tiny.yaml {image}\n" in done.stderr
        project.run("push", "recipes/tiny.yaml", image)
        dry = project.json(*words, "--dry-run")
        assert dry["calls"][0]["endpoint"] == daemon
        assert docker(project, "ps", "--all", "--format", "json") == ""
        try:
            made = project.json(*words)
            assert (made["started"], made["id"]) == (True, dry["calls"][0]["parameters"]["name"])
            assert made["results"] == f"the volume {made['id']}_results"
            assert not project.json(*words)["started"]
            for _ in range(300):
                again = project.json(*words)
                if again["state"] != "running":
                    break
                time.sleep(1)
            assert (again["started"], again["state"]) == (False, "exited (0)")
            docker(project, "cp", "train:/out/receipt.json", str(tmp_path / "receipt.json"))
            receipt = json.loads((tmp_path / "receipt.json").read_bytes())
            assert receipt["run_id"] == made["run_id"]
        finally:
            docker(project, "down", "--volumes")


def test_a_project_that_does_not_come_up_is_taken_down(daemon: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.environment["DOCKER_HOST"] = daemon
    text = project.recipe.read_text()
    with registry(tmp_path / "registry") as served:
        place = f"deploy:\n  image: {served.host}/team/tiny\n  targets:\n"
        project.recipe.write_text(f"{text}{place}    compose: {{output: ./nowhere}}\n")
        project.run("push", "recipes/tiny.yaml", f"{served.host}/team/tiny")
        done = project.run("submit", "compose", "recipes/tiny.yaml", code=1)
        assert "tiny.yaml:" in done.stderr
        assert "docker refuses the job: " in done.stderr
        assert "compose: {output: ./nowhere}" in done.stderr
        assert docker(project, "ps", "--all", "--format", "json") == ""
    project.environment["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    done = project.run("submit", "compose", "recipes/tiny.yaml", code=3)
    # The registry is gone by now, and is asked first.
    assert "does not answer as it should" in done.stderr
