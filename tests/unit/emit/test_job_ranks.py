"""What a document says, and what its service adds, is the place that the runtime finds.

The shell lines are run by bash, with a program in place of Python that prints its environment.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recipec.emit.jobs.job import Job
from recipec.emit.jobs.make import job_documents
from recipec.recipe.schema import TargetName
from recipec_runtime.platforms import recognise
from recipec_runtime.ranks import Ranks, read
from tests.support.jobs import CLUSTERS, cases, job

SECOND = Ranks(world_size=4, rank=2, nodes=2, node_rank=1)
"""The first process of the second machine of two, each of which has two."""


def two_machines(target: TargetName) -> Job:
    return job(target, cases(target)["two-machines-of-cpus"])


def place(environ: Mapping[str, str], root: Path, *, processes: int = 2) -> Ranks:
    name = recognise(environ, root).name
    return read(environ, world_size=2 * processes, processes=processes, platform=name, root=root)


def plain(made: Job) -> Any:
    (data, *_) = job_documents(made).values()
    if data.startswith(b"{"):
        return json.loads(data)
    return list(YAML(typ="safe", pure=True).load_all(data))[-1]


def shown(command: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that a program of this command line has."""
    whole = {"PATH": "/usr/bin:/bin", **environ}
    done = subprocess.run(command, env=whole, check=True, capture_output=True, text=True)
    pairs = (line.partition("=") for line in done.stdout.split("\0") if line)
    return {name: value for name, _, value in pairs}


@pytest.fixture
def interpreter(tmp_path: Path) -> str:
    """A program that prints its environment, in place of the image's Python."""
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\nexec env --null\n")
    program.chmod(0o755)
    return str(program)


def with_interpreter(made: Job, interpreter: str) -> Job:
    return replace(made, container=replace(made.container, interpreter=interpreter))


@pytest.mark.parametrize("target", [*CLUSTERS, "jobset"])
def test_a_pod_of_a_cluster(target: TargetName, tmp_path: Path) -> None:
    made = two_machines(target)
    found = plain(made)["spec"]
    template = found["replicatedJobs"][0]["template"]["spec"] if target == "jobset" else found
    (container,) = template["template"]["spec"]["containers"]
    told = {one["name"]: one["value"] for one in container["env"]}
    ranks = place({**told, "JOB_COMPLETION_INDEX": "1"}, tmp_path)
    assert replace(ranks, master_address="127.0.0.1") == SECOND
    assert "-0.legal-t5-" in ranks.master_address


def test_a_pod_of_trainer(tmp_path: Path) -> None:
    trainer = plain(two_machines("trainjob"))["spec"]["trainer"]
    told = {one["name"]: one["value"] for one in trainer["env"]}
    adds = {
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_NODE_RANK": "1",
    }
    assert place({**told, **adds}, tmp_path) == SECOND


def test_a_service_of_compose(tmp_path: Path) -> None:
    services = plain(two_machines("compose"))["services"]
    ranks = place(services["train-1"]["environment"], tmp_path)
    assert ranks == replace(SECOND, master_address="train")


def test_a_host_of_sagemaker(tmp_path: Path) -> None:
    request = plain(two_machines("sagemaker"))
    config = tmp_path / "opt/ml/input/config"
    config.mkdir(parents=True)
    hosts = [f"algo-{n + 1}" for n in range(request["ResourceConfig"]["InstanceCount"])]
    (config / "resourceconfig.json").write_text(
        json.dumps({"hosts": hosts, "current_host": "algo-2"})
    )
    assert place(request["Environment"], tmp_path) == replace(SECOND, master_address="algo-1")


def test_a_worker_of_vertex(tmp_path: Path) -> None:
    pools = plain(two_machines("vertex"))["jobSpec"]["workerPoolSpecs"]
    told = {one["name"]: one["value"] for one in pools[1]["containerSpec"]["env"]}
    cluster = {f"workerpool{n}": [f"cmle-{n}-0:2222"] for n in range(len(pools))}
    spec = {"cluster": cluster, "task": {"type": "workerpool1", "index": 0}}
    ranks = place({**told, "CLUSTER_SPEC": json.dumps(spec)}, tmp_path)
    assert ranks == replace(SECOND, master_address="cmle-0-0", master_port=2222)


TOLD = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "0",
    "NODE_RANK": "1",
    "MASTER_ADDR": "10.0.0.4",
    "MASTER_PORT": "6105",
}
"""What a service that starts one process a machine says in torchrun's words."""


def test_an_instance_of_azure(tmp_path: Path, interpreter: str) -> None:
    made = plain(with_interpreter(two_machines("azureml"), interpreter))
    assert made["distribution"]["process_count_per_instance"] == 1
    environ = {**made["environment_variables"], **TOLD, "AZUREML_NODE_COUNT": "2"}
    found = shown(["bash", "-c", made["command"]], environ)
    ranks = place(found, tmp_path)
    assert ranks == replace(SECOND, master_address="10.0.0.4", master_port=6105)


def test_a_machine_of_databricks(tmp_path: Path, interpreter: str) -> None:
    case = cases("databricks")["two-machines-of-one"]
    made = with_interpreter(job("databricks", case), interpreter)
    script = tmp_path / "command.sh"
    script.write_bytes(job_documents(made)["databricks.command.sh"])
    found = shown(["bash", str(script)], {**TOLD, "NUM_NODES": "2"})
    ranks = place(found, tmp_path, processes=1)
    second = Ranks(world_size=2, rank=1, nodes=2, node_rank=1)
    assert ranks == replace(second, master_address="10.0.0.4", master_port=6105)
    assert found["RECIPEC_COLLECT"] == f"/Volumes/main/training/runs/{made.digits}"


def test_a_machine_of_skypilot(tmp_path: Path) -> None:
    """docker hands a variable on as the machine has it where its option gives no value."""
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\n[ "$1" = pull ] || printf "%s\\0" "$@"\n')
    program.chmod(0o755)
    machine = {
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5",
    }
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    script = plain(two_machines("skypilot"))["run"]
    done = subprocess.run(
        ["bash", "-c", script], env={**machine, **path}, check=True, capture_output=True, text=True
    )
    words = done.stdout.split("\0")
    given = [words[n + 1] for n, word in enumerate(words) if word == "--env"]
    pairs = (one.partition("=") for one in given)
    told = {name: value if equals else machine[name] for name, equals, value in pairs}
    assert place(told, tmp_path) == replace(SECOND, master_address="10.0.0.4")
