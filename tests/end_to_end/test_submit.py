"""`recipec submit`: an image that is in its registry becomes a job, once.

The registry is docker-registry, SageMaker an emulator, the cluster a stub; each at its own client's
other end. ECR's name leads to the registry on loopback by a proxy, as in a company's network.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.clouds import Asked, Cloud, Reply, certified, cloud
from tests.support.clusters import TOKEN, Server, kubeconfig, status
from tests.support.daemons import Registry, registry
from tests.support.projects import Project
from tests.support.smallbuild import copy_of, make_small, upstream

pytestmark = pytest.mark.engine

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
SAGEMAKER = f"""\
deploy:
  image: {ECR}/team/tiny
  targets:
    sagemaker:
      identity: arn:aws:iam::123456789012:role/training
      output: s3://my-bucket/runs
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with upstream(noise=1000) as site:
        project = make_small(tmp_path_factory.mktemp("submit"), site)
        project.run("build", "recipes/tiny.yaml")
        yield project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    copy = copy_of(built, tmp_path, inputs=True)
    copy.environment["DOCKER_CONFIG"] = str(tmp_path)
    copy.environment["AWS_CONFIG_FILE"] = str(tmp_path / "none")
    return copy


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "registry") as served:
        yield served


def deploy(project: Project, text: str) -> None:
    project.recipe.write_text(project.recipe.read_text().partition("deploy:")[0] + text)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def cluster(project: Project, server: Server, tmp_path: Path) -> Iterator[Cloud]:
    with cloud(server) as made:
        project.environment["KUBECONFIG"] = str(kubeconfig(made.url, tmp_path))
        yield made


def gke(project: Project, place: Registry, more: str = "") -> None:
    deploy(
        project,
        f"deploy:\n  image: {place.host}/team/tiny\n  targets:\n"
        f"    gke: {{output: pvc:results{more}}}\n",
    )


def test_an_image_that_is_not_there_is_refused_before_anything_is_sent(
    project: Project, place: Registry, cluster: Cloud
) -> None:
    gke(project, place)
    done = project.run("submit", "gke", "recipes/tiny.yaml", code=3)
    assert project.lock.image is not None
    name = f"{place.host}/team/tiny"
    assert done.stdout == ""
    assert done.stderr.endswith(
        f"error: the image has not been pushed: there is no {name}@{project.lock.image.manifest}\n"
        f"  hint: recipec push recipes/tiny.yaml {name}\n"
    )
    assert cluster.asked == []
    project.run("push", "recipes/tiny.yaml", name)
    project.run("submit", "gke", "recipes/tiny.yaml")
    assert [asked.method for asked in cluster.asked] == ["GET", "POST"]


@pytest.mark.slow
def test_a_job_is_started_once_and_said_how_to_follow(
    project: Project, place: Registry, cluster: Cloud, server: Server
) -> None:
    gke(project, place)
    project.run("push", "recipes/tiny.yaml", f"{place.host}/team/tiny")
    done = project.run("submit", "gke", "recipes/tiny.yaml")
    name = cluster.asked[-1].plain["metadata"]["name"]
    assert done.stdout == f"job/{name}\n"
    assert f"started {name} on gke\n" in done.stderr
    for line in (
        f"  follow:        kubectl get job/{name} --namespace team --watch\n",
        "  results:       pvc:results\n",
        f"  stop:          kubectl delete job/{name} --namespace team\n",
    ):
        assert line in done.stderr
    again = project.json("submit", "gke", "recipes/tiny.yaml")
    assert (again["name"], again["id"], again["started"]) == (name, f"job/{name}", False)
    assert [asked.method for asked in cluster.asked] == ["GET", "POST", "GET"]
    assert again["pushed"] is True
    assert again["checked_by"][0].startswith("kubernetes-validate ")
    done = project.run("submit", "gke", "recipes/tiny.yaml")
    assert f"{name} is there already: Pending; nothing was sent" in done.stderr
    assert f"start it anew: kubectl delete job/{name} --namespace team" in done.stderr
    (stored,) = server.objects.values()
    stored["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    done = project.run("submit", "gke", "recipes/tiny.yaml", code=3)
    assert f"error: job/{name} is there and has ended: Failed; nothing was sent\n" in done.stderr
    assert TOKEN not in done.stderr


@pytest.mark.slow
def test_a_dry_run_needs_nothing_and_sends_nothing(
    project: Project, place: Registry, cluster: Cloud
) -> None:
    gke(project, place)
    found = project.json("submit", "gke", "recipes/tiny.yaml", "--dry-run")
    assert (found["dry_run"], found["pushed"]) == (True, False)
    (call,) = found["calls"]
    assert call["operation"] == "POST /apis/batch/v1/namespaces/team/jobs"
    assert call["endpoint"] == cluster.url
    assert cluster.asked == []
    project.environment["KUBECONFIG"] = "/nonexistent"
    done = project.run(
        "submit", "gke", "recipes/tiny.yaml", "--dry-run", "--image", "registry.invalid/team/tiny"
    )
    head, _, text = done.stdout.partition("\n")
    assert head == "batch/v1: POST /apis/batch/v1/namespaces/default/jobs"
    image = json.loads(text)["body"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("registry.invalid/team/tiny@sha256:")
    assert "may be in its registry or not: there is no host called registry.invalid" in done.stderr
    assert done.stderr.endswith("nothing was sent\n")


@pytest.mark.slow
def test_a_setting_that_the_service_refuses_is_shown_in_the_recipe(
    project: Project, place: Registry, cluster: Cloud, server: Server
) -> None:
    gke(project, place, ", namespace: nowhere")
    project.run("push", "recipes/tiny.yaml", f"{place.host}/team/tiny")
    server.instead["POST /apis/batch/v1/namespaces/nowhere/jobs"] = [
        status(404, "NotFound", 'namespaces "nowhere" not found')
    ]
    done = project.run("submit", "gke", "recipes/tiny.yaml", code=1)
    assert (
        "recipes/tiny.yaml:8:43: error: the cluster does not find what the job names: NotFound:"
        ' namespaces "nowhere" not found\n' in done.stderr
    )
    assert server.objects == {}
    assert [asked.method for asked in cluster.asked] == ["GET", "POST"]


@pytest.mark.slow
def test_a_registry_that_does_not_let_us_in(
    project: Project, tmp_path: Path, cluster: Cloud
) -> None:
    # htpasswd of `me:secret`, bcrypt.
    line = "me:$2y$05$3o4v.ZIyLzq3e5Ve9UOMPOoGXE2dqvMW9QzGzRTcwvS.O0o.ty7C2\n"
    with registry(tmp_path / "closed", htpasswd=line) as closed:
        gke(project, closed)
        done = project.run("submit", "gke", "recipes/tiny.yaml", code=3)
    assert f"error: {closed.host} wants credentials and there are none\n" in done.stderr
    assert cluster.asked == []


def test_flags_that_say_nothing_are_refused(project: Project) -> None:
    done = project.run("submit", "gke", "recipes/tiny.yaml", "--region", "x", code=2)
    assert done.stderr == (
        "error: --region does nothing on gke: it follows from the rest\n"
        "  hint: gke can be told: none\n"
    )
    done = project.run("submit", "watson", "recipes/tiny.yaml", "--image", "a.example/b", code=1)
    assert "error: watson: Watson Machine Learning is now" in done.stderr


@pytest.fixture
def ecr(project: Project, place: Registry, tmp_path: Path) -> Iterator[Cloud]:
    """A proxy that leads from ECR's name to the registry."""

    def forward(asked: Asked) -> Reply:
        assert asked.host == ECR
        line = http.client.HTTPConnection(place.host)
        line.request(asked.method, asked.path, headers={"Accept": asked.headers.get("accept", "")})
        answer = line.getresponse()
        data = answer.read()
        digest = answer.headers.get("Docker-Content-Digest")
        headers = {"Docker-Content-Digest": digest} if digest else {}
        return Reply(status=answer.status, plain=data, headers=headers)

    with cloud(forward, certified(tmp_path, ECR)) as made:
        project.environment |= made.proxied()
        yield made


@pytest.fixture
def emulator(project: Project) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "not-to-be-shown"}
        project.environment |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", **keys}
        yield boto3.client(
            "sagemaker",
            region_name="us-east-1",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
    finally:
        server.stop()


def test_sagemaker_wants_the_schema2_twin_in_its_own_registry(
    project: Project, place: Registry, ecr: Cloud, emulator: Any
) -> None:
    deploy(project, SAGEMAKER)
    loopback = f"{place.host}/team/tiny"
    project.run("push", "recipes/tiny.yaml", loopback)
    done = project.run("submit", "sagemaker", "recipes/tiny.yaml", code=3)
    assert (
        f"hint: recipec push recipes/tiny.yaml {ECR}/team/tiny --schema2 --user root\n"
        in done.stderr
    )
    assert emulator.list_training_jobs()["TrainingJobSummaries"] == []
    project.run("push", "recipes/tiny.yaml", loopback, "--schema2", "--user", "root")
    found = project.json("submit", "sagemaker", "recipes/tiny.yaml")
    request = json.loads((project.build / "jobs/sagemaker.json").read_bytes())
    assert found["started"]
    assert found["id"] == request["TrainingJobName"]
    assert found["checked_by"] == [found["checked_by"][0]]
    job = emulator.describe_training_job(TrainingJobName=found["id"])
    assert job["AlgorithmSpecification"]["TrainingImage"] == found["image"]
    assert {asked.method for asked in ecr.asked} == {"GET", "HEAD"}
    assert not project.json("submit", "sagemaker", "recipes/tiny.yaml")["started"]
