"""Two machines train one model: containers on a network, killed, stopped and started again.

What they leave is compared, byte for byte, with what the same recipe leaves on one machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemons import docker_daemon
from tests.support.nodes import PLAIN, SERVICES, Machines, network
from tests.support.platformruns import Docker
from tests.support.projects import Project, make_project, weights
from tests.support.training import base

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root"),
    pytest.mark.xdist_group("nodes"),
]
STEPS = 60
RECIPE = {
    "name": "tiny",
    "task": {"type": "causal-lm", "fields": {"text": "text"}},
    "domain": {"data": {s: f"data/{s}.jsonl" for s in ("train", "validation", "test")}},
    "architecture": {"model": "path:models/tiny"},
    "training": {
        "steps": STEPS,
        "batch_size": 8,
        "micro_batch_size": 1,
        "max_length": 48,
        "seed": 7,
        "checkpoint_every": 2,
        "log_every": 1,
        "evaluate_every": 20,
    },
    "reproducibility": "portable",
}
FULL, LORA = {"type": "full"}, {"type": "lora", "rank": 4, "dropout": 0.1}
SHAPES = ("ddp-1", "fsdp-1", "ddp-2", "fsdp-2")
"""How the model is spread, and over how many processes of each of two machines."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A recipe's image in a daemon, and what one machine made of it in one container."""

    docker: Docker
    network: str
    run_id: str
    files: Mapping[str, bytes]

    def machines(self, folder: Path, *, shared: bool = False, service: str = "") -> Machines:
        """Two machines that have done nothing yet."""
        return Machines(
            docker=self.docker,
            network=self.network,
            folder=folder,
            shared=shared,
            run_id=self.run_id,
            service=SERVICES[service] if service else PLAIN,
        )


def project_of(folder: Path, shape: str) -> Project:
    kind, _, processes = shape.partition("-")
    project = make_project(folder)
    shutil.rmtree(project.root / "data")
    shutil.copytree(base("llama") / "model", project.root / "models/tiny")
    shutil.copytree(base("llama") / "data", project.root / "data")
    hardware = {"nodes": 2, "count": int(processes), "parallelism": kind}
    recipe = {**RECIPE, "method": LORA if kind == "ddp" else FULL, "hardware": hardware}
    project.recipe.write_text(json.dumps(recipe))
    return project


@pytest.fixture(scope="module")
def daemon() -> Iterator[tuple[Docker, str]]:
    """A daemon without images, and a network."""
    with docker_daemon() as host:
        docker = Docker(host=host, image="")
        with network(docker) as name:
            yield docker, name


@pytest.fixture(scope="module")
def shapes() -> dict[str, Trained]:
    """What was built so far, by shape."""
    return {}


@pytest.fixture
def trained(
    request: pytest.FixtureRequest,
    daemon: tuple[Docker, str],
    shapes: dict[str, Trained],
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """The image of the shape that the test asks for, trained by `recipec run` on one machine."""
    shape: str = request.param
    if shape not in shapes:
        docker, name = daemon
        project = project_of(tmp_path_factory.mktemp("nodes") / "project", shape)
        project.run("build", str(project.recipe))
        project.run("run", str(project.recipe), "--engine", "sandbox", "--stage", "train")
        project.run("export-archive", str(project.recipe))
        archive = project.build / "tiny.tar"
        docker.client("load", "--input", str(archive))
        archive.unlink()
        docker.client("tag", "recipec.local/tiny:latest", f"tiny:{shape}")
        receipt = json.loads((project.build / "train/receipt.json").read_bytes())
        shapes[shape] = Trained(
            docker=Docker(host=docker.host, image=f"tiny:{shape}"),
            network=name,
            run_id=str(receipt["run_id"]),
            files=weights(project.build / "train"),
        )
    return shapes[shape]


def left(folder: Path) -> list[str]:
    """Files of checkpoints, and what else lies about outside the outputs of the first machine."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def finished(machines: Machines, trained: Trained, *, resumed: bool = False) -> None:
    """Train to the end: the bytes of one machine, nothing left elsewhere."""
    ends = machines.train()
    assert [end.code for end in ends] == [0, 0], "\n".join(end.said for end in ends)
    assert ("resumed at step" in ends[0].said) == resumed, ends[0].said
    assert weights(machines.kept) == trained.files
    assert left(machines.at(1)) == left(machines.saved) == []


fast_and_slow = pytest.mark.parametrize(
    "trained",
    [pytest.param(one, marks=[] if one == "fsdp-2" else [pytest.mark.slow]) for one in SHAPES],
    indirect=True,
)
one_of_each = pytest.mark.parametrize("trained", ["ddp-1", "fsdp-2"], indirect=True)


@fast_and_slow
def test_a_machine_is_killed(trained: Trained, tmp_path: Path) -> None:
    """The other one ends by itself, so that the service starts both again."""
    machines = trained.machines(tmp_path)
    machines.start()
    machines.until("step  5/60")
    machines.kill(1)
    first, second = machines.ends(limit=60)
    assert second.code == 137
    assert first.code == 143, first.said
    assert first.said.count("error: ") == 1, first.said
    assert "another process of the run is gone" in first.said
    assert "Traceback" not in first.said
    finished(machines, trained, resumed=True)


@fast_and_slow
@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_killed_again_and_again(trained: Trained, shared: bool, tmp_path: Path) -> None:
    """The master and the other in turn, at random steps; undisturbed first, for the repeat."""
    finished(trained.machines(tmp_path / "repeat", shared=shared), trained)
    machines = trained.machines(tmp_path / "killed", shared=shared)
    chance = random.Random(str(shared))
    for turn, step in enumerate((4, 13, 27)):
        machines.start()
        machines.until(f"step {step:>2}/60")
        machines.kill(chance.randrange(2) if turn == 2 else turn)
        codes = {end.code for end in machines.ends(limit=60)}
        assert codes == {137, 143}
    finished(machines, trained, resumed=True)


@one_of_each
@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_one_machine_is_asked_to_stop(
    trained: Trained, number: int, shared: bool, tmp_path: Path
) -> None:
    machines = trained.machines(tmp_path, shared=shared)
    machines.start()
    machines.until("step  4/60")
    machines.terminate(number)
    ends = machines.ends(limit=60)
    assert [end.code for end in ends] == [143, 143], "\n".join(end.said for end in ends)
    assert all("stopped by SIGTERM" in end.said for end in ends)
    places = [machines.saved] if shared else [machines.at(0), machines.at(1)]
    steps = {name.name.split("-")[1] for place in places for name in place.rglob("step-*")}
    assert len(steps) == 1, steps
    finished(machines, trained, resumed=True)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["ddp-1"], indirect=True)
@pytest.mark.parametrize("service", SERVICES)
def test_as_the_services_start_them(trained: Trained, service: str, tmp_path: Path) -> None:
    machines = trained.machines(tmp_path, service=service)
    ends = machines.train()
    assert [end.code for end in ends] == [0, 0], "\n".join(end.said for end in ends)
    assert weights(machines.kept) == trained.files
