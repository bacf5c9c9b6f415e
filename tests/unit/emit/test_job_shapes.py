"""Where a machine of several learns its number, and where it meets the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from recipec.emit.jobs.make import job_documents
from recipec.recipe.schema import TargetName
from tests.support.jobs import CLUSTERS, DIGEST, cases, job, only_document


def plain(target: TargetName, case: str) -> Any:
    """The last document of a case, which is the job itself."""
    data = only_document(job(target, cases(target)[case]))
    if data.startswith(b"{"):
        return json.loads(data)
    return list(YAML(typ="safe", pure=True).load_all(data))[-1]


def variables(container: Any) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


@pytest.mark.parametrize("target", CLUSTERS)
def test_a_job_of_a_cluster_meets_at_its_first_pod(target: TargetName) -> None:
    made = plain(target, "two-machines-of-cpus")
    name, spec = made["metadata"]["name"], made["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    told = variables(container)
    assert told["RECIPEC_NODES"] == "2"
    assert told["RECIPEC_MASTER_ADDR"] == f"{name}-0.{name}"
    # The pods' own number is JOB_COMPLETION_INDEX, which an Indexed Job sets by itself.
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 2
    assert spec["template"]["spec"]["subdomain"] == name
    assert "command" not in container
    # Two pods leave when one is gone, and three times is what `retries` says.
    assert spec["backoffLimit"] == 6
    assert spec["podReplacementPolicy"] == "Failed"


def test_a_set_starts_all_its_machines_again() -> None:
    made = plain("jobset", "four-machines")
    name = made["metadata"]["name"]
    assert made["spec"]["failurePolicy"] == {
        "maxRestarts": 3,
        "restartStrategy": "BlockingRecreate",
        "rules": [
            {
                "name": "final",
                "action": "FailJobSet",
                "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
            }
        ],
    }
    spec = made["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert spec["backoffLimit"] == 0
    told = variables(spec["template"]["spec"]["containers"][0])
    assert told["RECIPEC_MASTER_ADDR"] == f"{name}-node-0-0.{name}"


def test_trainer_tells_the_place_by_itself() -> None:
    trainer = plain("trainjob", "four-machines")["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (4, 8)
    assert trainer["command"] == ["/usr/bin/python3", "-m", "recipec_runtime"]
    assert not any(name.startswith(("PET_", "RECIPEC_NODE")) for name in variables(trainer))


@pytest.mark.parametrize("case", ["four-machines", "eight-gpus"])
def test_sagemaker_says_it_in_a_file(case: str) -> None:
    made = plain("sagemaker", case)
    assert made["ResourceConfig"]["InstanceCount"] == (4 if case == "four-machines" else 1)
    assert "ContainerEntrypoint" not in made["AlgorithmSpecification"]
    assert made["Environment"].keys() == {"RECIPEC_ENGINE", "RECIPEC_RUN_ID"}


def test_vertex_says_it_in_its_own_variable() -> None:
    pools = plain("vertex", "four-machines")["jobSpec"]["workerPoolSpecs"]
    assert [pool["replicaCount"] for pool in pools] == ["1", "3"]
    assert all("command" not in pool["containerSpec"] for pool in pools)


def test_azure_starts_the_runtime_once_a_machine() -> None:
    made = plain("azureml", "two-machines-of-cpus")
    assert made["distribution"] == {"type": "pytorch", "process_count_per_instance": 1}
    assert made["command"] == (
        "env --unset=WORLD_SIZE --unset=RANK --unset=LOCAL_RANK RECIPEC_NODES=2"
        " RECIPEC_MASTER_ADDR=$MASTER_ADDR RECIPEC_MASTER_PORT=$MASTER_PORT"
        " RECIPEC_NODE_RANK=$NODE_RANK /usr/bin/python3 -m recipec_runtime train"
    )
    alone = plain("azureml", "eight-gpus")
    assert "distribution" not in alone
    assert alone["command"] == "/usr/bin/python3 -m recipec_runtime train"


def test_skypilot_hands_on_what_it_says() -> None:
    script = plain("skypilot", "four-machines")["run"]
    for name in ("SKYPILOT_NUM_NODES", "SKYPILOT_NODE_RANK", "SKYPILOT_NODE_IPS"):
        assert f"--env {name} " in script
    assert "--network host" in script
    assert "SKYPILOT_N" not in plain("skypilot", "eight-gpus")["run"]


def test_databricks_starts_the_runtime_once_a_machine() -> None:
    made = job("databricks", cases("databricks")["four-machines"])
    files = job_documents(made)
    task = json.loads(files["databricks.json"])["tasks"][0]["ai_runtime_task"]
    assert task["docker_image_url"] == f"registry.example/team/legal-t5:manifest-{DIGEST[7:]}"
    (deployment,) = task["deployments"]
    assert deployment["compute"] == {"accelerator_type": "GPU_8xH100", "accelerator_count": 32}
    place = f"/Volumes/main/training/runs/{made.digits}"
    assert files["databricks.command.sh"].decode() == (
        "#!/bin/bash\n"
        "exec env --unset=WORLD_SIZE --unset=RANK --unset=LOCAL_RANK \\\n"
        "  RECIPEC_ENGINE=databricks \\\n"
        f"  RECIPEC_RUN_ID={made.run_id} \\\n"
        f"  RECIPEC_COLLECT={place} \\\n"
        f"  RECIPEC_CHECKPOINTS={place}/checkpoints \\\n"
        "  RECIPEC_NODES=4 \\\n"
        '  RECIPEC_NODE_RANK="$NODE_RANK" \\\n'
        '  RECIPEC_MASTER_ADDR="$MASTER_ADDR" \\\n'
        '  RECIPEC_MASTER_PORT="$MASTER_PORT" \\\n'
        "  /usr/bin/python3 -m recipec_runtime train\n"
    )


def test_compose_plays_several_machines_on_one() -> None:
    made = plain("compose", "four-machines")
    assert list(made["services"]) == ["train", "train-1", "train-2", "train-3"]
    assert made["networks"] == {"run": {"internal": True}}
    seen: list[str] = []
    for number, service in enumerate(made["services"].values()):
        told = service["environment"]
        assert told["RECIPEC_NODES"] == "4"
        assert told["RECIPEC_NODE_RANK"] == str(number)
        assert told["RECIPEC_MASTER_ADDR"] == "train"
        assert service["networks"] == ["run"]
        assert "network_mode" not in service
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        seen += device["device_ids"]
    assert seen == [str(number) for number in range(32)]


def test_one_machine_needs_no_network() -> None:
    made = plain("compose", "eight-gpus")
    assert made["services"].keys() == {"train"}
    assert made["services"]["train"]["network_mode"] == "none"
    assert "networks" not in made
