"""Several machines: containers on a network of their own, started as each service starts them.

In: a docker daemon with a recipe's image. Out: exit codes, what was said, and after how long. A
machine that is killed loses its container; its folders stay, as a service's volumes do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.platformruns import READ_ONLY, Docker, sagemaker_tree

SUBNET = "10.213.7"
"""Its first three bytes; machine n is .10+n, and the network reaches nothing else."""

Told = Callable[[int, list[str]], dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Service:
    """How a service tells machine number n of these hosts its place, and what it mounts."""

    told: Told
    mount: str = "/data"
    user: str = ""
    kept: str = "out"
    """Where below the mounted folder the first machine's outputs end up."""


def _places(number: int) -> dict[str, str]:
    return {"RECIPEC_OUTPUT": "/data/out", "RECIPEC_CHECKPOINTS": f"/data/saved-{number}"}


def _plain(number: int, hosts: list[str]) -> dict[str, str]:
    return {
        "RECIPEC_NODES": str(len(hosts)),
        "RECIPEC_NODE_RANK": str(number),
        "RECIPEC_MASTER_ADDR": hosts[0],
    }


def _kubernetes(number: int, hosts: list[str]) -> dict[str, str]:
    return {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "JOB_COMPLETION_INDEX": str(number),
        "RECIPEC_NODES": str(len(hosts)),
        "RECIPEC_MASTER_ADDR": hosts[0],
    }


def _trainer(number: int, hosts: list[str]) -> dict[str, str]:
    return {
        "PET_NNODES": str(len(hosts)),
        "PET_NODE_RANK": str(number),
        "PET_NPROC_PER_NODE": "auto",
        "PET_MASTER_ADDR": hosts[0],
        "PET_MASTER_PORT": "29400",
    }


def _skypilot(number: int, hosts: list[str]) -> dict[str, str]:
    return {
        "SKYPILOT_TASK_ID": "sky-1",
        "SKYPILOT_NUM_NODES": str(len(hosts)),
        "SKYPILOT_NODE_RANK": str(number),
        "SKYPILOT_NODE_IPS": "\n".join(address(n) for n in range(len(hosts))),
    }


def _vertex(number: int, hosts: list[str]) -> dict[str, str]:
    cluster = {"workerpool0": [f"{hosts[0]}:2222"], "workerpool1": [f"{h}:2222" for h in hosts[1:]]}
    task = {"type": f"workerpool{min(number, 1)}", "index": max(0, number - 1)}
    return {
        "CLOUD_ML_JOB_ID": "1",
        "AIP_MODEL_DIR": "gs://bucket/run/model",
        "AIP_CHECKPOINT_DIR": "gs://bucket/run/checkpoints",
        "CLUSTER_SPEC": json.dumps({"cluster": cluster, "task": task}),
    }


def _azureml(number: int, hosts: list[str]) -> dict[str, str]:
    """`distribution: pytorch` with one process an instance: the service starts each process."""
    return {
        "AZUREML_RUN_ID": "sharp_pear",
        "AZURE_ML_OUTPUT_trained": "/mnt/azureml/trained",
        "AZURE_ML_OUTPUT_checkpoints": "/mnt/azureml/saved",
        "AZUREML_NODE_COUNT": str(len(hosts)),
        "NODE_RANK": str(number),
        "WORLD_SIZE": str(len(hosts)),
        "RANK": str(number),
        "LOCAL_RANK": "0",
        "MASTER_ADDR": hosts[0],
        "MASTER_PORT": "6105",
    }


def _operator(number: int, hosts: list[str]) -> dict[str, str]:
    """Kubeflow's PyTorchJob: the words of torchrun, said to each machine."""
    return {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "WORLD_SIZE": str(len(hosts)),
        "RANK": str(number),
        "MASTER_ADDR": hosts[0],
        "MASTER_PORT": "23456",
    }


def _with_places(told: Told) -> Told:
    return lambda number, hosts: {**told(number, hosts), **_places(number)}


PLAIN = Service(told=_plain, mount="/out", kept=".")
SERVICES: Mapping[str, Service] = {
    "indexed-job": Service(told=_with_places(_kubernetes)),
    "trainjob": Service(told=_with_places(_trainer)),
    "pytorchjob": Service(told=_with_places(_operator)),
    "skypilot": Service(told=_with_places(_skypilot)),
    "sagemaker": Service(told=lambda *_: {}, mount="/opt/ml", user="0:0", kept="model"),
    "vertex": Service(told=_vertex, mount="/gcs/bucket", kept="run/model"),
    "azureml": Service(told=_azureml, mount="/mnt/azureml", kept="trained"),
}


def address(number: int) -> str:
    """A machine's address."""
    return f"{SUBNET}.{10 + number}"


@contextmanager
def network(docker: Docker) -> Iterator[str]:
    """A network of its own, without a way out; its name. Whatever is on it goes with it."""
    name = "machines"
    words = ("--internal", "--subnet", f"{SUBNET}.0/24", "--gateway", f"{SUBNET}.1")
    docker.client("network", "create", *words, name)
    try:
        yield name
    finally:
        left = docker.client("ps", "--all", "--quiet", "--filter", f"network={name}").stdout
        if left.split():
            docker.client("rm", "--force", *left.split(), check=False)
        docker.client("network", "rm", name, check=False)


@dataclass(frozen=True, kw_only=True)
class End:
    """How a machine ended: after how many seconds of waiting for it, what it had said."""

    code: int
    said: str
    seconds: float


@dataclass(kw_only=True)
class Machines:
    """The machines of one job; each has a folder below `folder` that outlives its container."""

    docker: Docker
    network: str
    folder: Path
    count: int = 2
    service: Service = PLAIN
    shared: bool = False
    """Whether checkpoints go to one folder of all machines."""
    run_id: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[int, list[str]] = field(default_factory=dict)
    """More options of `docker run`, by machine."""
    containers: dict[int, str] = field(default_factory=dict)
    processes: dict[int, int] = field(default_factory=dict)
    """The first process of each container, by its number outside."""

    @property
    def hosts(self) -> list[str]:
        """The machines' names."""
        return [f"algo-{number + 1}" for number in range(self.count)]

    def at(self, number: int) -> Path:
        """A machine's folder."""
        return self.folder / f"machine-{number}"

    @property
    def saved(self) -> Path:
        """The folder that all share."""
        return self.folder / "saved"

    @property
    def kept(self) -> Path:
        """The run's outputs, on the first machine."""
        return self.at(0) / self.service.kept

    def start(self, *numbers: int) -> None:
        """Start machines, all if none is named."""
        for number in numbers or range(self.count):
            name = self.containers[number] = self._start(number)
            found = self.docker.client("inspect", "--format", "{{.State.Pid}}", name)
            self.processes[number] = int(found.stdout)

    def _start(self, number: int) -> str:
        folder = self.at(number)
        for one in (folder, self.saved):
            one.mkdir(parents=True, exist_ok=True)
            one.chmod(0o777)
        volumes = {self.service.mount: folder}
        told = self.service.told(number, self.hosts) | self.environment
        if self.service is SERVICES["sagemaker"]:
            _sagemaker(folder, self.hosts, number, self.run_id)
        elif self.run_id:
            told["RECIPEC_RUN_ID"] = self.run_id
        if self.shared:
            told["RECIPEC_CHECKPOINTS"] = "/saved"
            volumes["/saved"] = self.saved
        docker = replace(self.docker, network=self.network)
        more = ["--hostname", self.hosts[number], "--network-alias", self.hosts[number]]
        more += ["--ip", address(number)]
        more += ["--user", self.service.user] if self.service.user else []
        more += READ_ONLY if self.service.mount in ("/out", "/data") else ()
        more += self.options.get(number, [])
        options = docker.options(volumes, told)
        words = ("run", "--detach", *options, *more, docker.image, "train")
        return docker.client(*words).stdout.split()[-1]

    def until(self, text: str, number: int = 0) -> None:
        """Wait for a machine to say `text`; at once, since a step takes milliseconds."""
        words = ["/usr/bin/docker", "--host", self.docker.host, "logs", "--follow"]
        with subprocess.Popen(
            [*words, self.containers[number]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as follow:
            assert follow.stdout is not None
            seen = ""
            for line in follow.stdout:
                seen += line
                if text in line:
                    follow.kill()
                    return
        raise AssertionError(f"never said {text!r}: {seen}")

    def kill(self, number: int) -> None:
        """The machine is gone, as if its plug had been pulled; its folders stay."""
        os.kill(self.processes[number], signal.SIGKILL)

    def terminate(self, number: int) -> None:
        """The service asks one machine to stop."""
        os.kill(self.processes[number], signal.SIGTERM)

    def ends(self, *, limit: float = 240) -> list[End]:
        """Wait for all that were started and remove them; how they ended, by number."""
        found = []
        for number in sorted(self.containers):
            started = time.monotonic()
            name = self.containers.pop(number)
            try:
                subprocess.run(
                    ["/usr/bin/docker", "--host", self.docker.host, "wait", name],
                    timeout=limit,
                    check=True,
                    capture_output=True,
                )
            except subprocess.TimeoutExpired:
                said = self.docker.said(name)
                self.docker.client("rm", "--force", name)
                raise AssertionError(f"machine {number} hangs: {said}") from None
            seconds = time.monotonic() - started
            code, said = self.docker.end(name)
            found.append(End(code=code, said=said, seconds=seconds))
        return found

    def train(self) -> list[End]:
        """Start all, and wait for all."""
        self.start()
        return self.ends()


def _sagemaker(folder: Path, hosts: list[str], number: int, run_id: str) -> None:
    passed = {"recipec_run_id": json.dumps(run_id)} if run_id else None
    sagemaker_tree(folder, hosts=tuple(hosts), hyperparameters=passed)
    config = folder / "input/config/resourceconfig.json"
    plain = json.loads(config.read_text())
    config.write_text(json.dumps({**plain, "current_host": hosts[number]}))
