"""`deploy` and `recipec emit-job`: documents beside the image, and an image that does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.projects import Project
from tests.support.smallbuild import copy_of, make_small, upstream

DEPLOY = """\
deploy:
  image: 123456789012.dkr.ecr.us-east-1.amazonaws.com/team/tiny
  targets:
    compose: {}
    gke: {output: pvc:results}
    sagemaker: {identity: 'arn:aws:iam::123456789012:role/training', output: s3://my-bucket}
"""
SHORT = """\
deploy: {image: registry.example/team/tiny, targets: [compose]}
"""

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that is built, and whose recipe names no target."""
    with upstream(noise=1000) as site:
        project = make_small(tmp_path_factory.mktemp("jobs"), site)
        project.run("build", "recipes/tiny.yaml")
        yield project


@pytest.fixture
def project(plain: Project, tmp_path: Path) -> Project:
    """The same one elsewhere, with its lock and the inputs."""
    return copy_of(plain, tmp_path, inputs=True)


def deploy(project: Project, text: str = DEPLOY) -> None:
    recipe = project.recipe.read_text().partition("deploy:")[0]
    project.recipe.write_text(recipe + text)


def jobs(project: Project) -> list[str]:
    return sorted(path.name for path in (project.build / "jobs").iterdir())


def test_where_a_recipe_runs_moves_no_lock_and_no_byte(plain: Project, project: Project) -> None:
    deploy(project)
    built = project.json("build", "recipes/tiny.yaml", "--locked")
    before = plain.json("build", "recipes/tiny.yaml", "--locked")
    for key in ("image", "config", "schema2", "run_id", "scripts"):
        assert built[key] == before[key]
    assert project.lock == plain.lock
    assert jobs(project) == ["compose.yaml", "gke.yaml", "sagemaker.json"]
    assert not any("jobs" in layer["name"] for layer in built["layers"])
    assert project.json("build", "recipes/tiny.yaml")["up_to_date"]


def test_documents_name_the_image_by_the_lock_and_the_run_by_its_id(project: Project) -> None:
    deploy(project)
    built = project.json("build", "recipes/tiny.yaml")
    place = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/tiny"
    request = json.loads((project.build / "jobs/sagemaker.json").read_bytes())
    pod = YAML(typ="safe").load(project.build / "jobs/gke.yaml")["spec"]["template"]["spec"]
    root = project.json("inspect", "recipes/tiny.yaml")["as_root_schema2"]
    assert request["AlgorithmSpecification"]["TrainingImage"] == f"{place}@{root}"
    assert pod["containers"][0]["image"] == f"{place}@{built['image']}"
    assert request["Tags"][1] == {"Key": "recipec/run-id", "Value": built["run_id"]}
    assert {"name": "RECIPEC_RUN_ID", "value": built["run_id"]} in pod["containers"][0]["env"]


def test_documents_come_and_go_with_the_recipe(project: Project) -> None:
    deploy(project)
    project.run("build", "recipes/tiny.yaml")
    (project.build / "jobs/own.txt").write_text("the user's own")
    deploy(project, SHORT)
    project.run("build", "recipes/tiny.yaml")
    assert jobs(project) == ["compose.yaml", "own.txt"]
    (project.build / "jobs/compose.yaml").unlink()
    project.run("build", "recipes/tiny.yaml")
    assert jobs(project) == ["compose.yaml", "own.txt"]


def test_a_target_that_the_recipe_does_not_name(project: Project) -> None:
    done = project.run("emit-job", "compose", "recipes/tiny.yaml", "--image", "registry.example/a")
    assert done.stdout == "build/tiny/jobs/compose.yaml\n"
    assert done.stderr.endswith("`recipec push RECIPE REFERENCE` first\n")
    assert project.lock.image is not None
    document = YAML(typ="safe").load(project.build / "jobs/compose.yaml")
    digest = project.lock.image.manifest
    assert document["services"]["train"]["image"] == f"registry.example/a@{digest}"
    again = project.json(
        "emit-job", "compose", "recipes/tiny.yaml", "--image", f"registry.example/a@{digest}"
    )
    assert again == {"target": "compose", "files": ["build/tiny/jobs/compose.yaml"]}


def test_a_job_needs_a_place_for_its_image(project: Project) -> None:
    done = project.run("emit-job", "compose", "recipes/tiny.yaml", code=2)
    assert done.stderr == (
        "error: a job needs the image's place in a registry, and neither `deploy.image` nor"
        " --image names one\n"
        "  hint: --image registry.example/team/NAME; the digest is the lock's\n"
    )


def test_another_image_than_the_locks_is_refused(project: Project) -> None:
    other = "registry.example/a@sha256:" + "0" * 64
    done = project.run("emit-job", "compose", "recipes/tiny.yaml", "--image", other, code=4)
    assert "error: the image that --image names: expected sha256:" in done.stderr
    assert not (project.build / "jobs").exists()


def test_faults_come_before_any_work_and_at_their_lines(project: Project) -> None:
    deploy(
        project,
        "deploy:\n"
        "  image: registry.example/team/tiny:v1\n"
        "  targets:\n"
        "    gke: {nodes: 2, spots: true}\n"
        "hardware: {nodes: 2}\n",
    )
    done = project.run("check", "recipes/tiny.yaml", code=1)
    assert "unknown key `spots` in `deploy.targets.gke`" in done.stderr
    assert "hint: did you mean `spot`?" in done.stderr
    assert "unknown key `nodes` in `deploy.targets.gke`" in done.stderr
    assert "hint: that key belongs at `hardware.nodes`" in done.stderr
    project.edit("nodes: 2, spots: true", "")
    for command in ("check", "build"):
        done = project.run(command, "recipes/tiny.yaml", code=1)
        for message in (
            "tiny.yaml:6:10: error: registry.example/team/tiny:v1 has a tag; jobs name the image by"
            " the digest of the lock",
            "error: gke needs `output`",
        ):
            assert message in done.stderr
    assert not project.build.exists()


def test_the_machine_must_have_the_recipes_gpu(project: Project) -> None:
    more = "hardware: {accelerator: nvidia-h100}\n" + DEPLOY.replace(
        "my-bucket}", "my-bucket, machine: ml.g5.xlarge}"
    )
    project.recipe.write_text(project.recipe.read_text() + more)
    done = project.run("check", "recipes/tiny.yaml", code=1)
    assert (
        "error: ml.g5.xlarge has 1 x nvidia-a10g, and the run needs 1 x nvidia-h100-80gb"
        in done.stderr
    )
    project.edit(", machine: ml.g5.xlarge", "")
    project.run("check", "recipes/tiny.yaml")


def test_a_target_that_cannot_be(project: Project) -> None:
    deploy(project, "deploy: {image: registry.example/a, targets: [watson]}\n")
    done = project.run("build", "recipes/tiny.yaml", code=1)
    assert "error: watson: Watson Machine Learning is now watsonx.ai Runtime" in done.stderr
    assert "hint: iks and ibm-vpc train on IBM Cloud" in done.stderr


def test_the_run_id_of_a_document_is_no_matter_of_this_machine(project: Project) -> None:
    deploy(project, "reproducibility: bitwise\n" + SHORT)
    built = project.json("build", "recipes/tiny.yaml")
    service = YAML(typ="safe").load(project.build / "jobs/compose.yaml")["services"]["train"]
    assert service["environment"]["RECIPEC_RUN_ID"] != built["run_id"]
