"""Two machines train one model: containers on a network, killed, stopped and started again.

What they leave is compared, byte for byte, with what the same recipe leaves on one machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
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


shapes_of_all = pytest.mark.parametrize(
    "trained",
    [pytest.param(one, marks=[] if one == "ddp-1" else [pytest.mark.slow]) for one in SHAPES],
    indirect=True,
)
one_of_each = pytest.mark.parametrize("trained", ["ddp-1", "fsdp-2"], indirect=True)


@shapes_of_all
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
    assert "Exception raised from" not in first.said
    finished(machines, trained, resumed=True)


@pytest.mark.slow
@pytest.mark.parametrize("trained", SHAPES, indirect=True)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_killed_again_and_again(trained: Trained, shared: bool, tmp_path: Path) -> None:
    """The master, the other, and one of them; undisturbed first, for the repeat."""
    finished(trained.machines(tmp_path / "repeat", shared=shared), trained)
    machines = trained.machines(tmp_path / "killed", shared=shared)
    chance = random.Random(str(shared))
    for number, steps in ((0, (3, 15)), (1, (22, 35)), (chance.randrange(2), (40, 55))):
        machines.start()
        machines.until(f"step {chance.randint(*steps):>2}/60")
        time.sleep(chance.uniform(0.0, 0.02))  # anywhere between two lines
        machines.kill(number)
        ends = machines.ends(limit=60)
        wanted = [137 if n == number else 143 for n in range(2)]
        assert [end.code for end in ends] == wanted, "\n".join(end.said for end in ends)
    finished(machines, trained, resumed=True)


@pytest.mark.slow
@one_of_each
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
    assert "error: stopped by SIGTERM\n" in ends[number].said
    # the other one is told, unless the signal came while both were saving anyway
    told = ("error: stopped by SIGTERM\n", "error: another process of the run is gone")
    for end in ends:
        assert end.said.count("error: ") == sum(map(end.said.count, told)) == 1, end.said
    found = [path.name.split("-")[1] for path in tmp_path.rglob("step-*.pt")]
    assert len(set(found)) == 1, found
    assert len(found) == (4 if trained.docker.image == "tiny:ddp-1" else 8)
    finished(machines, trained, resumed=True)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["ddp-1"], indirect=True)
@pytest.mark.parametrize("service", SERVICES)
def test_as_the_services_start_them(trained: Trained, service: str, tmp_path: Path) -> None:
    machines = trained.machines(tmp_path, service=service)
    ends = machines.train()
    assert [end.code for end in ends] == [0, 0], "\n".join(end.said for end in ends)
    assert weights(machines.kept) == trained.files


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["fsdp-2"], indirect=True)
def test_torchrun_starts_all_processes(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    code, said = trained.docker.run(
        *("-m", "torch.distributed.run", "--nproc-per-node", "4", "--master-port", "29511"),
        *("-m", "recipec_runtime", "train"),
        volumes={"/out": tmp_path / "out"},
        environment={"RECIPEC_RUN_ID": trained.run_id, "GLOO_SOCKET_IFNAME": "lo"},
        entrypoint="/usr/bin/python3.11",
    )
    assert code == 0, said
    assert weights(tmp_path / "out") == trained.files


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["ddp-1"], indirect=True)
def test_the_master_s_name_is_known_later(trained: Trained, tmp_path: Path) -> None:
    """As in Kubernetes, where a name is there when its pod is."""
    machines = trained.machines(tmp_path)
    machines.start(1)
    machines.until("machine 2 of 2, the first is algo-1", 1)
    time.sleep(15)
    machines.start(0)
    ends = machines.ends()
    assert [end.code for end in ends] == [0, 0], "\n".join(end.said for end in ends)
    assert weights(machines.kept) == trained.files


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["fsdp-2"], indirect=True)
def test_the_kernel_kills_a_process_for_memory(trained: Trained, tmp_path: Path) -> None:
    machines = trained.machines(tmp_path)
    machines.options[0] = ["--memory", "300m", "--memory-swap", "300m"]
    machines.start(0)
    (end,) = machines.ends(limit=120)
    assert end.code == 137, end.said
    assert end.said.count("error: ") == 1, end.said
    assert "was killed\n  hint: usually for memory" in end.said


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["fsdp-2"], indirect=True)
def test_another_input_on_one_machine(trained: Trained, tmp_path: Path) -> None:
    """It ends at once; the other one waits for it, and ends when it is asked to."""
    other = tmp_path / "train.jsonl"
    other.write_text('{"text": "other"}\n')
    machines = trained.machines(tmp_path)
    machines.options[1] = ["--volume", f"{other}:/opt/recipec/data/train.jsonl:ro"]
    machines.start(1)
    (end,) = machines.ends(limit=120)
    assert end.code == 4, end.said
    assert end.said.count("error: ") == 1, end.said
    machines.start(0)
    machines.until("machine 1 of 2")
    time.sleep(30)  # it has checked its inputs, and waits for the others
    machines.terminate(0)
    (end,) = machines.ends(limit=60)
    assert end.code == 143, end.said
    assert end.said.count("error: stopped by SIGTERM") == 1, end.said
    assert end.seconds < 20
