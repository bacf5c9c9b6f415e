"""Every platform's environment and files: recognised, and mapped to folders and ranks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recipec_runtime import platforms, ranks
from recipec_runtime.errors import EnvironmentLacks
from recipec_runtime.ranks import Ranks

NOWHERE = Path("/nowhere")
CLUSTER = {
    "cluster": {
        "workerpool0": ["master-0:2222"],
        "workerpool1": ["worker-0:2222", "worker-1:2222"],
        "workerpool3": ["evaluator-0:2222"],
    },
    "environment": "cloud",
    "task": {"type": "workerpool1", "index": 1},
}
CLOUDS: dict[str, tuple[Mapping[str, str], str, Ranks]] = {
    "nothing is set": ({}, "docker", Ranks()),
    "recipec's own engine, in a pod": (
        {"RECIPEC_ENGINE": "host", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        "docker",
        Ranks(),
    ),
    "torchrun": (
        {
            "TORCHELASTIC_RUN_ID": "none",
            "WORLD_SIZE": "8",
            "RANK": "5",
            "LOCAL_RANK": "1",
            "GROUP_WORLD_SIZE": "2",
            "GROUP_RANK": "1",
            "MASTER_ADDR": "one.example",
            "MASTER_PORT": "29400",
        },
        "torchrun",
        Ranks(
            world_size=8,
            rank=5,
            local_rank=1,
            nodes=2,
            node_rank=1,
            master_address="one.example",
            master_port=29400,
        ),
    ),
    "vertex, one machine": ({"CLOUD_ML_JOB_ID": "7"}, "vertex", Ranks()),
    "vertex, pools": (
        {"CLUSTER_SPEC": json.dumps(CLUSTER)},
        "vertex",
        Ranks(
            world_size=3,
            rank=2,
            nodes=3,
            node_rank=2,
            master_address="master-0",
            master_port=2222,
        ),
    ),
    "azureml, distribution: pytorch": (
        {
            "AZUREML_RUN_ID": "x",
            "AZUREML_NODE_COUNT": "2",
            "MASTER_ADDR": "10.0.0.4",
            "MASTER_PORT": "6105",
            "WORLD_SIZE": "4",
            "NODE_RANK": "1",
            "RANK": "3",
            "LOCAL_RANK": "1",
        },
        "azureml",
        Ranks(
            world_size=4,
            rank=3,
            local_rank=1,
            nodes=2,
            node_rank=1,
            master_address="10.0.0.4",
            master_port=6105,
        ),
    ),
    "trainer v2": (
        {
            "PET_NNODES": "2",
            "PET_NPROC_PER_NODE": "4",
            "PET_NODE_RANK": "1",
            "PET_MASTER_ADDR": "job-node-0-0.job",
            "PET_MASTER_PORT": "29400",
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        },
        "trainjob",
        Ranks(
            world_size=8,
            rank=4,
            nodes=2,
            node_rank=1,
            master_address="job-node-0-0.job",
            master_port=29400,
        ),
    ),
    "trainer v2, a process as it comes": (
        {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "auto", "PET_NODE_RANK": "0"},
        "trainjob",
        Ranks(),
    ),
    "kubernetes, an Indexed Job": (
        {
            "JOB_COMPLETION_INDEX": "2",
            "RECIPEC_NODES": "3",
            "RECIPEC_MASTER_ADDR": "job-0.job",
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        },
        "kubernetes",
        Ranks(world_size=3, rank=2, nodes=3, node_rank=2, master_address="job-0.job"),
    ),
    "jobset": (
        {"RECIPEC_ENGINE": "jobset", "JOB_COMPLETION_INDEX": "0", "RECIPEC_NODES": "1"},
        "jobset",
        Ranks(),
    ),
    "skypilot": (
        {
            "SKYPILOT_TASK_ID": "sky-1",
            "SKYPILOT_NODE_RANK": "1",
            "SKYPILOT_NUM_NODES": "2",
            "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n",
            "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        },
        "skypilot",
        Ranks(world_size=2, rank=1, nodes=2, node_rank=1, master_address="10.0.0.1"),
    ),
    "databricks": ({"DATABRICKS_RUNTIME_VERSION": "17.0"}, "databricks", Ranks()),
    "compose": ({"RECIPEC_ENGINE": "compose"}, "compose", Ranks()),
    "a machine of EC2": ({"RECIPEC_ENGINE": "ec2"}, "vm", Ranks()),
    "several processes on a plain machine": (
        {"RECIPEC_ENGINE": "ibm-vpc", "RECIPEC_PROCESSES": "2"},
        "vm",
        Ranks(world_size=2),
    ),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_a_platform_is_recognised_and_its_ranks_are_understood(name: str) -> None:
    environ, platform, expected = CLOUDS[name]
    assert platforms.recognise(environ, NOWHERE).name == platform
    size = expected.world_size
    assert ranks.read(environ, world_size=size, platform=platform, root=NOWHERE) == expected


def test_every_row_is_recognised_by_something() -> None:
    seen = {platform for _, platform, _ in CLOUDS.values()}
    assert seen | {"sagemaker"} == {row.name for row in platforms.TABLE}
    targets = [name for row in platforms.TABLE for name in row.targets or (row.name,)]
    assert len(targets) == len(set(targets))
    assert all(row.stop_code in range(129, 256) for row in platforms.TABLE)


BAD: dict[str, tuple[Mapping[str, str], str]] = {
    "a word for a number": (
        {"WORLD_SIZE": "two"},
        "WORLD_SIZE is 'two', and must be a whole number from 1 on",
    ),
    "no process at all": (
        {"WORLD_SIZE": "0"},
        "WORLD_SIZE is '0', and must be a whole number from 1 on",
    ),
    "a negative rank": (
        {"WORLD_SIZE": "1", "RANK": "-1"},
        "RANK is '-1', and must be a whole number from 0 on",
    ),
    "a rank beyond the world": (
        {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"},
        "this is process number 2, counted from 0, of only 2",
    ),
    "a machine's rank beyond the world": (
        {"WORLD_SIZE": "2", "RANK": "2"},
        "this is machine number 2, counted from 0, of only 2",
    ),
    "a port that is none": (
        {"WORLD_SIZE": "1", "MASTER_PORT": "70000"},
        "the master's port is 70000, and ports end at 65535",
    ),
    "an index and no number of machines": (
        {"JOB_COMPLETION_INDEX": "1"},
        "this is machine number 1, counted from 0, of only 1",
    ),
    "elastic machines": (
        {"PET_NNODES": "1:4"},
        "PET_NNODES is '1:4', and must be a whole number from 1 on",
    ),
    "a missing address": (
        {
            "SKYPILOT_TASK_ID": "x",
            "SKYPILOT_NUM_NODES": "2",
            "SKYPILOT_NODE_RANK": "0",
            "SKYPILOT_NODE_IPS": "10.0.0.1",
        },
        "SKYPILOT_NODE_IPS has 1 addresses, and SKYPILOT_NUM_NODES is 2",
    ),
    "no JSON": (
        {"CLUSTER_SPEC": "{"},
        "CLUSTER_SPEC cannot be read: JSONDecodeError: Expecting property name enclosed in double"
        " quotes: line 1 column 2 (char 1)",
    ),
    "no task": (
        {"CLUSTER_SPEC": json.dumps({"cluster": CLUSTER["cluster"]})},
        "CLUSTER_SPEC cannot be read: KeyError: 'task'",
    ),
    "no master": (
        {"CLUSTER_SPEC": json.dumps({**CLUSTER, "cluster": {"workerpool1": []}})},
        "CLUSTER_SPEC cannot be read: IndexError: list index out of range",
    ),
    "an index beyond the pool": (
        {"CLUSTER_SPEC": json.dumps({**CLUSTER, "task": {"type": "workerpool0", "index": 1}})},
        "CLUSTER_SPEC cannot be read: ValueError: workerpool0 has 1 replicas, and this is number 1",
    ),
    "no such platform": (
        {"RECIPEC_ENGINE": "sagemakr"},
        "RECIPEC_ENGINE is sagemakr, which is no platform that recipec knows",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    environ, message = BAD[name]

    def understand() -> Ranks:
        platform = platforms.recognise(environ, NOWHERE)
        return ranks.read(environ, world_size=1, platform=platform.name, root=NOWHERE)

    with pytest.raises(EnvironmentLacks) as found:
        understand()
    assert found.value.message == message
    assert found.value.exit_code == 3
    assert found.value.hint


def test_more_processes_than_the_recipe_has_are_refused_after_they_were_understood() -> None:
    environ, platform, _ = CLOUDS["vertex, pools"]
    with pytest.raises(EnvironmentLacks) as found:
        ranks.read(environ, world_size=1, platform=platform, root=NOWHERE)
    assert found.value.message == (
        "there are 3 processes on 3 machines, of which this is number 2, and the recipe was"
        " compiled for 1"
    )


SAID_TO_MACHINES: dict[str, tuple[Mapping[str, str], str]] = {
    "the first of one, as nobody says anything": ({}, "docker"),
    "nobody says how many processes": (
        {"RECIPEC_NODES": "2", "JOB_COMPLETION_INDEX": "1", "RECIPEC_MASTER_ADDR": "one"},
        "kubernetes",
    ),
    "Trainer, which lets torchrun count": (
        {
            **{"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "auto"},
            "PET_MASTER_ADDR": "one",
        },
        "trainjob",
    ),
    "Kubeflow's PyTorchJob": (
        {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "one", "MASTER_PORT": "29500"},
        "kubernetes",
    ),
    "SkyPilot": (
        {
            **{"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"},
            "SKYPILOT_NODE_IPS": "one\ntwo",
        },
        "skypilot",
    ),
}


@pytest.mark.parametrize("name", SAID_TO_MACHINES)
def test_a_machine_starts_as_many_processes_as_the_recipe_has_for_it(name: str) -> None:
    environ, platform = SAID_TO_MACHINES[name]
    assert ranks.starts_others(environ)
    nodes = 2 if environ else 1
    found = ranks.read(environ, world_size=3 * nodes, processes=3, platform=platform, root=NOWHERE)
    first = Ranks(world_size=3, rank=0)
    second = Ranks(world_size=6, rank=3, nodes=2, node_rank=1, master_address="one")
    assert found == (second if environ else first)
    told = {**environ, **ranks.of_process(found, 2)}
    assert not ranks.starts_others(told)
    again = ranks.read(told, world_size=3 * nodes, processes=3, platform=platform, root=NOWHERE)
    assert again == dataclasses.replace(found, rank=found.rank + 2, local_rank=2)


def place(root: Path, **environ: str) -> platforms.Place:
    return platforms.place(platforms.recognise(environ, root), environ, name="legal-t5", root=root)


def folders(found: platforms.Place) -> dict[str, Any]:
    names = ("output", "collect", "checkpoints", "tensorboard")
    return {name: value for name in names if (value := getattr(found, name)) is not None}


def test_folders_of_a_plain_container(tmp_path: Path) -> None:
    assert folders(place(tmp_path)) == {"output": tmp_path / "out"}
    told = place(tmp_path, RECIPEC_OUTPUT="/data/out", RECIPEC_CHECKPOINTS="/data/saved")
    assert folders(told) == {
        "output": tmp_path / "data/out",
        "checkpoints": tmp_path / "data/saved/legal-t5",
    }


def test_folders_of_sagemaker(tmp_path: Path) -> None:
    (tmp_path / "opt/ml/input/config").mkdir(parents=True)
    found = place(tmp_path)
    assert found.platform.name == "sagemaker"
    assert folders(found) == {
        "output": tmp_path / "opt/ml/model",
        "checkpoints": tmp_path / "opt/ml/checkpoints/legal-t5",
    }
    # all in the one folder that is kept: the checkpoint lies beside the outputs
    one = place(tmp_path, RECIPEC_OUTPUT="/opt/ml/checkpoints")
    assert folders(one) == {"output": tmp_path / "opt/ml/checkpoints"}


def test_folders_of_vertex(tmp_path: Path) -> None:
    base = {
        "CLOUD_ML_JOB_ID": "7",
        "AIP_MODEL_DIR": "gs://bucket/run/model/",
        "AIP_CHECKPOINT_DIR": "gs://bucket/run/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": "/gcs/bucket/run/logs/",
    }
    with pytest.raises(EnvironmentLacks) as found:
        place(tmp_path, **base)
    assert found.value.message == (
        "gs://bucket/run/checkpoints/ is a bucket, and it is not mounted at /gcs/bucket"
    )
    mounted = tmp_path / "gcs/bucket"
    mounted.mkdir(parents=True)
    assert folders(place(tmp_path, **base)) == {
        "output": tmp_path / "out",
        "collect": mounted / "run/model",
        "checkpoints": mounted / "run/checkpoints/legal-t5",
        "tensorboard": mounted / "run/logs/legal-t5",
    }
    with pytest.raises(EnvironmentLacks, match="nothing would be kept: none of AIP_MODEL_DIR"):
        place(tmp_path, CLOUD_ML_JOB_ID="7")


def test_folders_of_azure(tmp_path: Path) -> None:
    found = place(
        tmp_path,
        AZUREML_RUN_ID="x",
        AZURE_ML_OUTPUT_trained="/mnt/trained",
        AZURE_ML_OUTPUT_checkpoints="/mnt/saved",
    )
    assert folders(found) == {
        "output": tmp_path / "out",
        "collect": tmp_path / "mnt/trained",
        "checkpoints": tmp_path / "mnt/saved/legal-t5",
    }
    with pytest.raises(EnvironmentLacks, match="nothing would be kept"):
        place(tmp_path, AZUREML_RUN_ID="x")
    told = place(tmp_path, AZUREML_RUN_ID="x", RECIPEC_OUTPUT="/mnt/all")
    assert folders(told) == {"output": tmp_path / "mnt/all"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RECIPEC_OUTPUT", "s3://bucket/x", "s3://bucket/x is an address, and the image has no"),
        ("RECIPEC_COLLECT", "gs://bucket/x", "gs://bucket/x is a bucket, and it is not mounted"),
        ("RECIPEC_CHECKPOINTS", "/out/saved", "lies in the outputs'"),
    ],
)
def test_folders_that_cannot_be(name: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks) as found:
        place(tmp_path, **{name: value})
    assert message in found.value.message
    assert found.value.hint
