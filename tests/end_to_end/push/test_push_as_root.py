"""`recipec push --user root`: the image that SageMaker takes, from the same layers and lock."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipec.evidence.keys import make_pair
from tests.support.daemons import Registry, registry
from tests.support.projects import Project
from tests.support.smallbuild import copy_of, make_small, upstream

pytestmark = pytest.mark.engine

ROLE = "arn:aws:iam::123456789012:role/training"
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/tiny"
DEPLOY = f"""\
deploy:
  image: {ECR}
  targets: {{sagemaker: {{identity: '{ROLE}', output: s3://my-bucket}}}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with upstream(noise=1000) as site:
        made = make_small(tmp_path_factory.mktemp("as-root"), site, more=DEPLOY)
        made.environment["DOCKER_CONFIG"] = str(made.root / "docker")
        made.run("build", "recipes/tiny.yaml")
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def test_only_a_config_and_a_manifest_are_sent(
    project: Project, served: Registry, tmp_path: Path
) -> None:
    place = f"{served.host}/team/tiny"
    usual = project.json("push", "recipes/tiny.yaml", place)
    root = project.json("push", "recipes/tiny.yaml", f"{place}:root", "--user", "root")
    assert root["digest"] != usual["digest"]
    assert root["moved"]["sent"]["blobs"] == 1
    assert root["moved"]["sent"]["bytes"] + root["manifest_bytes"] < 20_000

    # What the recipe says of its images, and what the registry has of this one.
    own = project.json("inspect", "recipes/tiny.yaml")
    assert own["as_root"] == root["digest"]
    seen = project.json("inspect", f"{place}@{root['digest']}")
    assert (seen["user"], seen["variant_of"]) == ("0:0", own["config"])
    assert "variant_of" not in project.json("inspect", f"{place}@{usual['digest']}")
    shown = subprocess.run(
        ["skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{place}:root"],
        check=True,
        capture_output=True,
    )
    assert json.loads(shown.stdout)["config"]["User"] == "0:0"

    # Another machine makes the same one, and the lock does not move.
    other = copy_of(project, tmp_path, inputs=True)
    again = other.json("push", "recipes/tiny.yaml", f"{place}:other", "--user", "root")
    assert again["digest"] == root["digest"]
    assert other.lock == project.lock


def test_sagemaker_is_told_of_it(project: Project) -> None:
    own = project.json("inspect", "recipes/tiny.yaml")
    request = project.build / "jobs/sagemaker.json"

    def named() -> str:
        algorithm = json.loads(request.read_bytes())["AlgorithmSpecification"]
        return str(algorithm["TrainingImage"])

    assert named() == f"{ECR}@{own['as_root_schema2']}"
    done = project.run("emit-job", "sagemaker", "recipes/tiny.yaml")
    assert done.stderr.endswith("`recipec push RECIPE REFERENCE --schema2 --user root` first\n")
    tags = json.loads(request.read_bytes())["Tags"]
    assert tags[1] == {"Key": "recipec/run-id", "Value": own["run_id"]}
    for digest in (own["as_root"], own["schema2"]):
        place = f"{ECR}@{digest}"
        project.run("emit-job", "sagemaker", "recipes/tiny.yaml", "--image", place)
        assert named() == place
    other = f"{ECR}@sha256:" + 64 * "0"
    done = project.run("emit-job", "sagemaker", "recipes/tiny.yaml", "--image", other, code=4)
    assert f"expected {own['as_root']} (or {own['as_root_schema2']}" in done.stderr


def test_it_is_attested_and_signed_as_the_other(
    project: Project, served: Registry, tmp_path: Path
) -> None:
    place = f"{served.host}/team/tiny:signed"
    private, public = tmp_path / "cosign.key", tmp_path / "cosign.pub"
    make_pair(private, public, "secret".encode)
    project.environment["COSIGN_PASSWORD"] = "secret"
    pushed = project.json("push", "recipes/tiny.yaml", place, "--user", "root", "--schema2")
    told = project.json("attest", "recipes/tiny.yaml", place, "--sign", str(private))
    assert told["subject"].endswith(pushed["digest"])
    project.run("verify-signature", place, "--key", str(public))
    statement = json.loads((project.build / "evidence/provenance.json").read_bytes())
    digests = {row["digest"]["sha256"] for row in statement["subject"]}
    assert pushed["digest"].removeprefix("sha256:") in digests
