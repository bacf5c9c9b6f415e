"""The same run gives the same bytes: under every engine, after kill -9, through DVC."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.daemons import docker_daemon, podman_storage, registry
from tests.support.projects import Project, make_project, weights

SANDBOX = ["--engine", "sandbox"]
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("bytes")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project built, and trained once in the sandbox."""
    project = make_project(tmp_path_factory.mktemp("trained") / "project")
    project.run("build", str(project.recipe))
    project.run("run", str(project.recipe), "--engine", "sandbox")
    return project


def copy_of(trained: Project, folder: Path) -> Project:
    """The same project with its build, but nothing trained."""
    shutil.copytree(trained.root, folder / "project", symlinks=True)
    shutil.rmtree(folder / "project/build")
    copy = Project(root=folder / "project", cache=trained.cache)
    copy.run("build", str(copy.recipe), "--locked")
    return copy


def test_docker_gives_the_sandbox_s_bytes(trained: Project, tmp_path: Path) -> None:
    copy = copy_of(trained, tmp_path)
    with docker_daemon() as host:
        copy.environment = {"DOCKER_HOST": host}
        document = copy.json("run", str(copy.recipe), "--engine", "docker")
    assert document["engine"] == "docker"
    assert weights(copy.build / "train") == weights(trained.build / "train")


def test_podman_gives_the_sandbox_s_bytes(trained: Project, tmp_path: Path) -> None:
    copy = copy_of(trained, tmp_path)
    with podman_storage() as storage:
        copy.environment = {"CONTAINERS_STORAGE_CONF": storage}
        document = copy.json("run", str(copy.recipe), "--engine", "podman")
    assert document["engine"] == "podman"
    assert weights(copy.build / "train") == weights(trained.build / "train")


def start(project: Project) -> subprocess.Popen[bytes]:
    """`recipec run` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "recipec.cli.main", "run", str(project.recipe), *SANDBOX],
        cwd=project.root,
        env={**os.environ, "RECIPEC_CACHE": str(project.cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def until(condition: object, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until `condition()` holds or the process has ended."""
    limit = time.monotonic() + seconds
    assert callable(condition)
    while not condition() and process.poll() is None:
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.02)


def test_a_run_killed_three_times_resumes_to_the_same_bytes(
    trained: Project, tmp_path: Path
) -> None:
    copy = copy_of(trained, tmp_path)
    history = copy.build / "train/history.jsonl"

    def reached(step: int) -> bool:
        return history.is_file() and f'"step": {step},' in history.read_text()

    killed = 0
    for step in sorted(random.Random().sample(range(2, 6), 3)):
        process = start(copy)
        until(partial(reached, step), process)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    done = copy.run("run", str(copy.recipe), "--engine", "sandbox")
    assert killed > 0
    assert "resumed at step" in done.stderr
    assert weights(copy.build / "train") == weights(trained.build / "train")


def test_ctrl_c_leaves_a_checkpoint_that_the_next_run_goes_on_from(
    trained: Project, tmp_path: Path
) -> None:
    copy = copy_of(trained, tmp_path)
    copy.edit("steps: 6", "steps: 24")
    copy.run("build", str(copy.recipe))
    process = start(copy)
    until((copy.build / "train/checkpoint/state.pt").exists, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert (copy.build / "train/checkpoint/state.pt").exists()
    done = copy.run("run", str(copy.recipe), "--engine", "sandbox")
    assert "resumed at step" in done.stderr
    assert not (copy.build / "train/checkpoint").exists()


def test_dvc_repro_runs_once_and_again_only_when_something_moved(
    trained: Project, tmp_path: Path
) -> None:
    copy = copy_of(trained, tmp_path)
    shutil.rmtree(copy.root / "build")
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "RECIPEC_CACHE": str(copy.cache),
        "DVC_NO_ANALYTICS": "1",
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
    }

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(
            command, cwd=copy.root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    dvc("init", "--no-scm")
    copy.run("build", str(copy.recipe))
    dvc("repro")
    assert (copy.build / "evaluate/metrics.json").is_file()
    assert "up to date" in dvc("repro")
    assert "rougeL" in dvc("metrics", "show")
    copy.recipe.write_text("# only a comment\n" + copy.recipe.read_text())
    copy.run("build", str(copy.recipe))
    assert "up to date" in dvc("repro")
    copy.edit("learning_rate: 1.0e-3", "learning_rate: 2.0e-3")
    copy.run("build", str(copy.recipe))
    before = weights(copy.build / "train")
    assert "tiny-train" in dvc("repro")
    assert weights(copy.build / "train") != before


def test_a_registry_returns_the_image_with_the_same_digest(
    trained: Project, tmp_path: Path
) -> None:
    with registry(tmp_path / "registry") as server:
        reference = f"{server.host}/team/tiny:v1"
        pushed = trained.json("push", str(trained.recipe), reference)
        inspect = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]
        seen = subprocess.run(
            [*inspect, f"docker://{reference}"], capture_output=True, text=True, check=True
        ).stdout.strip()
    assert trained.lock.image is not None
    assert pushed["digest"] == seen == trained.lock.image.manifest


def test_host_engine_trains_and_says_that_its_bytes_are_not_promised(
    trained: Project, tmp_path: Path
) -> None:
    import json

    copy = copy_of(trained, tmp_path)
    copy.run("run", str(copy.recipe), "--engine", "host")
    receipt = json.loads((copy.build / "train/receipt.json").read_bytes())
    assert receipt["reproducible"] is False
