"""The example recipe: the committed lock promises an image and weights, and keeps its word."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipec.pins.lockfile import Lock, from_json
from recipec.store import Store, digest_of_file
from tests.support.emulated import train_under_qemu

ROOT = Path(__file__).parents[2]
ORDINARY = 12345
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("demo")]


def committed() -> Lock:
    return from_json((ROOT / "recipes/legal-t5.lock.json").read_bytes())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's files, elsewhere."""
    folder = tmp_path_factory.mktemp("demo") / "project"
    for part in ("recipes", "data", "models", ".dvc"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def recipec(project: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "recipec.cli.main", *arguments, "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def moved(project: Path) -> bool:
    """Whether the world moved: an input of the lock is gone upstream, so it is pinned anew.

    That is no defect of ours; it is said, and whatever does not depend on it is still compared.
    """
    command = [sys.executable, "-m", "recipec.cli.main", "build", "recipes/legal-t5.yaml"]
    done = subprocess.run(
        [*command, "--locked"], cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return False
    assert "upstream no longer has" in done.stderr, done.stderr
    print(done.stderr)
    subprocess.run(command, cwd=project, check=True)
    return True


def test_the_committed_lock_gives_the_committed_image(project: Path, moved: bool) -> None:
    """A failure that says the image moved is a defect, unless the compiler was meant to change."""
    image = committed().image
    assert image is not None
    document = recipec(project, "build", "recipes/legal-t5.yaml")
    own = {"model", "data", "runtime", "recipe"}
    made = [layer["diff_id"] for layer in document["layers"] if not moved or layer["kind"] in own]
    assert made == [diff_id for diff_id in image.diff_ids if not moved or diff_id in made]
    assert len(made) >= len(own)
    assert moved or document["image"] == image.manifest
    assert (project / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


@pytest.fixture(scope="module")
def trained(project: Path, moved: bool) -> Any:
    """What the train stage says of itself."""
    assert moved in {True, False}
    return recipec(project, "run", "recipes/legal-t5.yaml", "--engine", "sandbox")


def test_training_gives_the_committed_weights(trained: Any, moved: bool) -> None:
    outputs = committed().outputs
    assert outputs is not None
    assert trained["outputs"] == outputs.files
    assert moved or trained["run_id"] == outputs.run_id
    assert moved or trained["same_as_lock"] is True


@pytest.mark.usefixtures("trained")
def test_tuning_helps(project: Path) -> None:
    document = recipec(
        project, "run", "recipes/legal-t5.yaml", "--engine", "sandbox", "--stage", "evaluate"
    )
    test = document["metrics"]["test"]
    tuned = test["tuned"]["rougeL"]
    assert tuned > test["untuned"]["rougeL"] + 0.15
    assert tuned > test["lead_sentence"]["rougeL"] + 0.15
    assert tuned < 0.98


def test_the_readme_prints_both_digests() -> None:
    lock = committed()
    assert lock.image is not None
    assert lock.outputs is not None
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert lock.image.manifest in text
    assert lock.outputs.files["model/adapter_model.safetensors"] in text


@pytest.mark.slow
@pytest.mark.usefixtures("moved")
def test_an_emulated_haswell_gets_the_same_weights(project: Path, tmp_path: Path) -> None:
    """It has AVX2 but no AVX-512, and says it is Intel: left alone, libraries choose otherwise."""
    outputs = committed().outputs
    assert outputs is not None
    document = recipec(project, "build", "recipes/legal-t5.yaml")
    folder = train_under_qemu(
        project / "build/legal-t5", Store(), tmp_path, cpu="Haswell", run_id=document["run_id"]
    )
    found = {path: digest_of_file(folder / path) for path in outputs.files}
    assert found == outputs.files


@pytest.mark.slow
def test_make_demo_as_an_ordinary_user_without_docker(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("ordinary")
    for parent in [home, *home.parents]:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    clone = home / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    command = ["make", "demo", "PYTHON=/usr/bin/python3.11"]
    if os.geteuid() == 0:
        for path in [home, *home.rglob("*")]:
            os.chown(path, ORDINARY, ORDINARY, follow_symlinks=False)
        command = [
            "setpriv",
            f"--reuid={ORDINARY}",
            f"--regid={ORDINARY}",
            "--clear-groups",
            *command,
        ]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"RECIPEC_CACHE", "DOCKER_HOST", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL"}
    }
    environment |= {
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "USER": "ordinary",
        "LOGNAME": "ordinary",
    }
    done = subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "yes: these are the very bytes that the lock promises" in done.stdout
