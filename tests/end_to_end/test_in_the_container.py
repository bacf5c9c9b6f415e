"""One image on every platform: started with the platform's variables and folders, under docker.

The contract of SageMaker with a whole /opt/ml; the others by their environment and paths. What each
collects is compared, byte for byte, with what the sandbox made.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.daemons import docker_daemon, registry
from tests.support.platformruns import Docker, sagemaker_tree
from tests.support.projects import Project, make_project, weights

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root"),
    pytest.mark.xdist_group("platforms"),
]
ROOT = "0:0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project, built, and trained once in the sandbox without any disturbance."""
    project = make_project(tmp_path_factory.mktemp("platforms") / "project")
    project.run("build", str(project.recipe))
    project.run("run", str(project.recipe), "--engine", "sandbox")
    return project


@pytest.fixture(scope="module")
def docker(trained: Project) -> Iterator[Docker]:
    """A daemon with the project's image."""
    trained.run("export-archive", str(trained.recipe))
    with docker_daemon() as host:
        docker = Docker(host=host, image="recipec.local/tiny:latest")
        docker.client("load", "--input", str(trained.build / "tiny.tar"))
        yield docker


@pytest.fixture(scope="module")
def run_id(trained: Project) -> str:
    return str(json.loads((trained.build / "train/receipt.json").read_bytes())["run_id"])


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def open_to_all(*folders: Path) -> None:
    """As a volume that belongs to the container's user."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)


def test_sagemaker_stops_a_job_and_starts_it_again(
    docker: Docker, trained: Project, run_id: str, tmp_path: Path
) -> None:
    passed = {"recipec_run_id": json.dumps(run_id)}
    rows = {"train": {"train.jsonl": trained.root / "data/train.jsonl"}}
    tree = sagemaker_tree(tmp_path / "ml", hyperparameters=passed, channels=rows)
    first = docker.start("train", volumes={"/opt/ml": tree}, user=ROOT)
    docker.until(first, "step 2/6")
    docker.client("stop", "--time", "120", first)  # as StopTrainingJob and a spot machine do
    code, said = docker.end(first)
    assert code == 143, said
    assert "stopped by SIGTERM" in said
    assert names(tree / "checkpoints") == ["tiny/state.pt"]
    assert names(tree / "output") == []
    assert "receipt.json" not in names(tree / "model")

    # another machine: an empty model folder, and the checkpoints as S3 gives them back
    (tree / "checkpoints/tiny/.state.pt.part").write_bytes(b"half of the next one")
    shutil.rmtree(tree / "model")
    (tree / "model").mkdir()
    code, said = docker.run("train", volumes={"/opt/ml": tree}, user=ROOT)
    assert code == 0, said
    assert "SageMaker training job: outputs in /opt/ml/model" in said
    assert "resumed at step" in said
    assert weights(tree / "model") == weights(trained.build / "train")
    assert names(tree / "checkpoints") == []
    assert names(tree / "output") == []


def test_sagemaker_is_told_what_is_wrong(docker: Docker, tmp_path: Path) -> None:
    tree = sagemaker_tree(tmp_path / "ml", hyperparameters={"learning_rate": "0.1"})
    code, said = docker.run("train", volumes={"/opt/ml": tree}, user=ROOT)
    assert code == 3
    assert said == (
        "error: the job passes the hyperparameter learning_rate, and the image is compiled: nothing"
        " would come of it\n"
        "  hint: put it into the recipe and build again; a job may only repeat hardware_class,"
        " name, recipec_run_id, reproducibility, threads, world_size\n"
    )
    assert (tree / "output/failure").read_text() == said.removesuffix("\n")

    tree = sagemaker_tree(tmp_path / "two", hosts=("algo-2", "algo-1"))
    code, said = docker.run("train", volumes={"/opt/ml": tree}, user=ROOT)
    assert code == 3
    assert "there are 2 processes on 2 machines, of which this is number 1, and" in said
    assert "compiled for 1" in (tree / "output/failure").read_text()


def test_sagemaker_s_folders_are_root_s(docker: Docker, tmp_path: Path) -> None:
    """The image's own user is nobody there."""
    tree = sagemaker_tree(tmp_path / "ml")
    code, said = docker.run("train", volumes={"/opt/ml": tree})
    assert code == 3
    assert said == (
        "error: user 65532 cannot write to /opt/ml/checkpoints/tiny: Permission denied\n"
        "  hint: SageMaker's folders are root's: give it an image that runs as root, see"
        " docs/platforms.md\n"
    )


@pytest.mark.slow
def test_the_image_and_the_words_of_a_job_of_sagemaker(
    docker: Docker, trained: Project, tmp_path: Path
) -> None:
    """`push --user root`, pulled by the digest of the document, with the document's variables."""
    recipe, ecr = str(trained.recipe), "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/tiny"
    deploy = f"""
deploy:
  image: {ecr}
  targets: {{sagemaker: {{identity: 'arn:aws:iam::123456789012:role/a', output: s3://my-bucket}}}}
"""
    before = trained.recipe.read_text()
    trained.recipe.write_text(before + deploy)
    try:
        trained.run("emit-job", "sagemaker", recipe)
    finally:
        trained.recipe.write_text(before)
    request = json.loads((trained.build / "jobs/sagemaker.json").read_bytes())
    digest = request["AlgorithmSpecification"]["TrainingImage"].partition("@")[2]
    with registry(tmp_path / "registry") as served:
        place = f"{served.host}/team/tiny"
        trained.run("push", recipe, place, "--schema2", "--user", "root")
        docker.client("pull", f"{place}@{digest}")
    tree = sagemaker_tree(tmp_path / "ml")
    code, said = docker.run(
        "train",
        volumes={"/opt/ml": tree},
        environment=request["Environment"],
        image=f"{place}@{digest}",
    )
    assert code == 0, said
    assert dict(weights(tree / "model")) == dict(weights(trained.build / "train"))


@pytest.mark.slow
def test_folders_that_anybody_may_write_to_need_no_root(
    docker: Docker, trained: Project, tmp_path: Path
) -> None:
    tree = sagemaker_tree(tmp_path / "ml")
    open_to_all(tree / "model", tree / "checkpoints", tree / "output")
    code, said = docker.run("train", volumes={"/opt/ml": tree})
    assert code == 0, said
    same_but_for_the_run_id(tree / "model", trained)


def same_but_for_the_run_id(folder: Path, trained: Project) -> None:
    """The sandbox's files; the receipt names no run, because nobody told its id."""
    found, wanted = dict(weights(folder)), dict(weights(trained.build / "train"))
    receipt = json.loads(found.pop("receipt.json"))
    assert receipt == json.loads(wanted.pop("receipt.json")) | {"run_id": receipt["run_id"]}
    assert found == wanted


PYTHON = "/usr/bin/python3.11"
VERTEX = {
    "CLOUD_ML_JOB_ID": "1",
    "AIP_MODEL_DIR": "gs://bucket/run/model",
    "AIP_CHECKPOINT_DIR": "gs://bucket/run/checkpoints",
    "CLUSTER_SPEC": json.dumps(
        {"cluster": {"workerpool0": ["a:2222"]}, "task": {"type": "workerpool0", "index": 0}}
    ),
}
AZURE = {
    "AZUREML_RUN_ID": "sharp_pear",
    "AZURE_ML_OUTPUT_trained": "/mnt/azureml/trained",
    "AZURE_ML_OUTPUT_checkpoints": "/mnt/azureml/saved",
}
VOLUMES = {"RECIPEC_OUTPUT": "/data/run", "RECIPEC_CHECKPOINTS": "/data/saved"}
CLOUDS: dict[str, tuple[Mapping[str, str], str, str, str]] = {
    # variables; where a volume is mounted; what of it is collected; what is said first
    "vertex": (VERTEX, "/gcs/bucket", "run/model", "Vertex AI custom job"),
    "azureml": (AZURE, "/mnt/azureml", "trained", "Azure ML command job"),
    "kubernetes": (
        {**VOLUMES, "KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"},
        *("/data", "run", "Kubernetes Job"),
    ),
    "jobset": ({**VOLUMES, "RECIPEC_ENGINE": "jobset"}, "/data", "run", "Kubernetes JobSet"),
    "trainjob": (
        {**VOLUMES, "PET_NNODES": "1", "PET_NODE_RANK": "0", "PET_NPROC_PER_NODE": "1"},
        *("/data", "run", "Kubeflow Trainer v2"),
    ),
    "skypilot": (
        {
            **VOLUMES,
            "SKYPILOT_TASK_ID": "sky-1",
            "SKYPILOT_NODE_RANK": "0",
            "SKYPILOT_NUM_NODES": "1",
            "SKYPILOT_NODE_IPS": "10.0.0.1",
        },
        *("/data", "run", "SkyPilot task"),
    ),
    "databricks": (
        {
            "DATABRICKS_RUNTIME_VERSION": "17.0",
            "RECIPEC_COLLECT": "/Volumes/main/runs/tiny",
            "RECIPEC_CHECKPOINTS": "/Volumes/main/saved",
        },
        *("/Volumes", "main/runs/tiny", "Databricks job"),
    ),
    "compose": ({**VOLUMES, "RECIPEC_ENGINE": "compose"}, "/data", "run", "docker compose"),
    "vm": ({**VOLUMES, "RECIPEC_ENGINE": "gce"}, "/data", "run", "Plain machine"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOUDS)
def test_outputs_land_where_the_platform_collects_them(
    name: str, docker: Docker, trained: Project, run_id: str, tmp_path: Path
) -> None:
    environ, mount, kept, title = CLOUDS[name]
    open_to_all(tmp_path / "volume")
    code, said = docker.run(
        *("-m", "recipec_runtime", "train"),
        volumes={mount: tmp_path / "volume"},
        environment={**environ, "RECIPEC_RUN_ID": run_id},
        entrypoint=PYTHON,  # Azure ML and Databricks start a command of their own
        read_only=mount == "/data",  # where files are collected, the image's /out is written to
    )
    assert code == 0, said
    assert said.startswith(title), said
    assert weights(tmp_path / "volume" / kept) == weights(trained.build / "train")
    rest = [one for one in names(tmp_path / "volume") if not one.startswith(f"{kept}/")]
    assert rest == []


@pytest.mark.slow
def test_torchrun_starts_one_process(
    docker: Docker, trained: Project, run_id: str, tmp_path: Path
) -> None:
    open_to_all(tmp_path / "volume")
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "1", "--master-port", "29511")
    code, said = docker.run(
        *(*launcher, "-m", "recipec_runtime", "train"),
        volumes={"/out": tmp_path / "volume"},
        environment={"RECIPEC_RUN_ID": run_id},
        entrypoint=PYTHON,
    )
    assert code == 0, said
    assert "torchrun: outputs in /out" in said
    assert weights(tmp_path / "volume") == weights(trained.build / "train")


@pytest.mark.slow
def test_a_pod_is_evicted_and_another_goes_on(
    docker: Docker, trained: Project, run_id: str, tmp_path: Path
) -> None:
    """SIGTERM while the model is measured: nothing waits for the end of it."""
    open_to_all(tmp_path / "volume")
    environ = {**CLOUDS["kubernetes"][0], "RECIPEC_RUN_ID": run_id}
    volumes = {"/data": tmp_path / "volume"}
    pod = docker.start("train", volumes=volumes, environment=environ)
    docker.until(pod, "step 6/6")
    docker.client("stop", "--time", "30", pod)
    code, said = docker.end(pod)
    assert code in (143, 0), said
    if code == 143:
        assert names(tmp_path / "volume/saved") == ["tiny/state.pt"]
        code, said = docker.run("train", volumes=volumes, environment=environ)
        assert code == 0, said
        assert "resumed at step 6" in said
    assert weights(tmp_path / "volume/run") == weights(trained.build / "train")
