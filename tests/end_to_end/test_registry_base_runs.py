"""Training in an image that begins with one that docker built: several layers, one with whiteouts.

Nothing can be pulled where this runs, so docker imports a Debian root of the pinned packages, and
moves its Python to /usr/local, where Docker's own Python images have it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipec.image.image import OCI_LAYER, Descriptor
from recipec.pins.lockfile import from_json
from recipec.progress import Silent
from recipec.publish.bases import RegistryBase
from recipec.publish.reference import parse_source
from recipec.store import Store
from tests.support.bases import base_layer, root_image
from tests.support.daemons import Registry, docker_daemon, registry
from tests.support.projects import ROOT, Project, lend_inputs, make_project, weights

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("registry-base"),
    pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root"),
]

DOCKER = "/usr/bin/docker"
MOVE = """
import os, shutil
os.makedirs('/usr/local/bin', exist_ok=True)
shutil.copy2('/usr/bin/python3.11', '/usr/local/bin/python3.11')
shutil.copytree('/usr/lib/python3.11', '/usr/local/lib/python3.11', symlinks=True)
os.symlink('python3.11', '/usr/local/bin/python3')
"""
REMOVE = """
import os, shutil
os.remove('/usr/bin/python3'); os.remove('/usr/bin/python3.11')
shutil.rmtree('/usr/lib/python3.11')
"""
OLD_NUMPY = """
import os
site = '/usr/local/lib/python3.11/dist-packages/'
os.makedirs(site + 'numpy-1.0.dist-info'); os.makedirs(site + 'numpy')
open(site + 'numpy-1.0.dist-info/METADATA', 'w').write('Name: numpy')
open(site + 'numpy/__init__.py', 'w').write('raise ImportError')
"""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A docker with a registry beside it, and the image that it built and pushed there."""

    docker: str
    kept: Registry
    named: str


def docker(host: str, *words: str) -> str:
    done = subprocess.run(
        [DOCKER, *words],
        env={**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def exec_form(python: str, script: str) -> str:
    """A RUN that needs no shell, which the base does not have."""
    text = script.strip().replace("\n", "; ")
    return f'RUN ["{python}", "-c", "{text}"]\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("docker")
    lock = from_json((ROOT / "recipes/legal-t5.lock.json").read_bytes())
    store = Store(folder / "cache")
    lend_inputs(lock, store.root)
    layer = base_layer(store, lock.debs, "debian-12")
    with gzip.open(store.path(layer.blob.digest)) as blob, (folder / "root.tar").open("wb") as out:
        shutil.copyfileobj(blob, out)
    context = folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM root\n"
        + exec_form("/usr/bin/python3.11", MOVE)
        + exec_form("/usr/local/bin/python3.11", REMOVE)
        + exec_form("/usr/local/bin/python3.11", OLD_NUMPY)
        + 'ENV LANG=C PYTHON_VERSION=3.11.2\nVOLUME /data\nCMD ["python3"]\n'
    )
    with docker_daemon() as host, registry(folder / "registry") as kept:
        docker(host, "import", str(folder / "root.tar"), "root")
        name = f"{kept.host}/org/python:3.11"
        docker(host, "build", "--network", "none", "--quiet", "--tag", name, str(context))
        docker(host, "push", name)
        docker(host, "rmi", "--force", name, "root")
        digest = RegistryBase(parse_source(name), store, Silent()).tagged()
        yield Made(docker=host, kept=kept, named=f"{kept.host}/org/python@{digest}")


@pytest.fixture(scope="module")
def project(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("trained")
    cache = folder / "cache"
    lend_inputs(from_json((ROOT / "recipes/legal-t5.lock.json").read_bytes()), cache)
    found = make_project(folder / "project", cache=cache)
    with found.recipe.open("a") as recipe:
        recipe.write(f'image: {{base: "{made.named}"}}\n')
    found.environment["DOCKER_HOST"] = made.docker
    said = found.run("lock", "recipes/tiny.yaml").stderr
    assert "numpy 1.0 of the base is hidden by " in said
    found.run("build", "recipes/tiny.yaml")
    return found


def test_its_python_is_found_under_whiteouts(project: Project) -> None:
    base = project.lock.base
    assert base is not None
    assert (base.interpreter, base.python, base.glibc) == (
        "/usr/local/bin/python3.11",
        "3.11",
        "2.36",
    )
    assert len(base.layers) == 4
    assert {layer.media_type for layer in base.layers} == {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    }
    assert [(p.name, p.version) for p in base.packages] == [("numpy", "1.0")]


def forget(project: Project) -> list[str]:
    """Remove the base's layers from the cache, as on a machine that only has the lock."""
    base, store = project.lock.base, Store(project.cache)
    assert base is not None
    digests = [layer.digest for layer in base.layers]
    for digest in digests:
        store.path(digest).unlink(missing_ok=True)
        (project.build / "image/blobs/sha256" / digest[7:]).unlink(missing_ok=True)
    return digests


def test_it_trains_in_the_sandbox_and_in_docker_to_the_same_bytes(
    project: Project, tmp_path: Path
) -> None:
    digests = forget(project)
    first = project.json("run", "recipes/tiny.yaml", "--engine", "sandbox")
    store = Store(project.cache)
    assert all(store.has(digest) for digest in digests)  # had when an engine wanted them
    shutil.copytree(project.build / "train", tmp_path / "first")
    second = project.json("run", "recipes/tiny.yaml", "--engine", "docker")
    assert first["outputs"] == second["outputs"]
    assert weights(tmp_path / "first").keys() == weights(project.build / "train").keys()
    evaluated = project.json(
        "run", "recipes/tiny.yaml", "--stage", "evaluate", "--engine", "sandbox"
    )
    assert evaluated["metrics"]["test"]["tuned"]["loss"] > 0


def test_docker_pulls_and_runs_what_was_pushed(made: Made, project: Project) -> None:
    forget(project)
    pushed = project.json("push", "recipes/tiny.yaml", f"{made.kept.host}/team/tiny:one")
    assert pushed["moved"]["mounted"]["blobs"] == 4
    docker(made.docker, "pull", "--quiet", pushed["reference"])
    entry = ("run", "--rm", "--network", "none", "--entrypoint", "/usr/local/bin/python3.11")
    probe = "import numpy, torch, sys; print(numpy.__file__, torch.eye(2).sum().item())"
    said = docker(made.docker, *entry, pushed["reference"], "-c", probe)
    site = "/opt/recipec/python/lib/python3.11/site-packages"
    assert said == f"{site}/numpy/__init__.py 2.0\n"


def test_a_base_that_our_builder_made_trains_too(made: Made, tmp_path: Path) -> None:
    lock = from_json((ROOT / "recipes/legal-t5.lock.json").read_bytes())
    cache = tmp_path / "cache"
    lend_inputs(lock, cache)
    store = Store(cache)
    image = root_image(store, [base_layer(store, lock.debs, "debian-12")], "/usr/bin/python3")
    from recipec.publish.registry import push

    pushed = push(image, store, f"{made.kept.host}/org/ours:12", progress=Silent())
    project = make_project(tmp_path / "project", cache=cache)
    with project.recipe.open("a") as recipe:
        recipe.write(f'image: {{base: "{made.kept.host}/org/ours@{pushed.digest}"}}\n')
    project.run("build", "recipes/tiny.yaml")
    base = project.lock.base
    assert base is not None
    assert base.interpreter == "/usr/bin/python3.11"
    blob = Descriptor(media_type=OCI_LAYER, digest=base.layers[0].digest, size=base.layers[0].size)
    assert blob == image.layers[0].blob
    project.run("run", "recipes/tiny.yaml", "--engine", "sandbox")
    assert (project.build / "train/receipt.json").is_file()
