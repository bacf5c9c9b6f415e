"""`recipec plan`: what a user sees of decisions, memory, time and money."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recipec.catalog.hardware import machines
from tests.unit.conftest import RECIPE, Workplace


def planned(workplace: Workplace, *words: str) -> Any:
    done = workplace.run("plan", "--json", "recipes/legal-t5.yaml", *words)
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def test_the_page(workplace: Workplace) -> None:
    done = workplace.run("plan", "recipes/legal-t5.yaml")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "plan of legal-t5"
    start = lines.index("what legal-t5 takes on one CPU")
    assert [line.split()[0] for line in lines[start + 1 : start + 5]] == [
        "tokens",
        "work",
        "memory",
        "time",
    ]
    assert lines[-1] == "  `recipec plan --compare` shows what it would take on other devices"


def test_the_page_as_json(workplace: Workplace) -> None:
    found = planned(workplace)
    assert set(found) == {
        "decisions",
        "settings",
        "outlook",
        "smallest",
        "machines",
        "deploy",
    }
    outlook = found["outlook"]
    assert outlook["accelerator"] == "cpu"
    assert outlook["memory"]["bytes"] > 0
    assert outlook["duration"]["low"] < outlook["duration"]["high"]
    assert (outlook["layout"], outlook["unknown"], found["machines"]) == (None, "", [])


def test_a_gpu_has_a_layout_and_machines(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE + "hardware: {accelerator: nvidia-h100}\n")
    found = planned(workplace)
    layout = found["outlook"]["layout"]
    assert (layout["accelerator"], layout["fits"]) == ("nvidia-h100-80gb", True)
    assert layout["micro_batch_size"] == 16
    names = {row["machine"]["name"] for row in found["machines"]}
    assert {"p5.4xlarge", "a3-highgpu-1g", "gx3d-160x1792x8h100"} <= names
    page = workplace.run("plan", "recipes/legal-t5.yaml").out
    assert "what legal-t5 takes on one NVIDIA H100 SXM5 80 GB" in page
    assert "time is training alone: " in page
    assert "prices: AWS Price List, " in page


DEPLOY = """\
hardware: {accelerator: nvidia-l4}
deploy:
  image: registry.example/team/legal-t5
  targets:
    sagemaker: {machine: ml.g6.xlarge, max_hours: 0.000001}
    gce: {machine: g2-standard-4}
    compose: {}
"""


def test_the_machines_of_deploy_are_priced_and_their_limits_held(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE + DEPLOY)
    done = workplace.run("plan", "recipes/legal-t5.yaml")
    assert (done.code, done.err) == (0, "")
    page = done.out[done.out.index("\ndeploy\n") :].splitlines()
    (sagemaker,) = (line for line in page if line.startswith("  sagemaker "))
    assert "  g6.xlarge  " in sagemaker
    assert sagemaker.endswith("  no: max_hours is 1e-06")
    (gce,) = (line for line in page if line.startswith("  gce "))
    assert "  g2-standard-4  " in gce
    assert gce.endswith("  yes")
    assert page[-1] == "  SageMaker asks more than EC2 does, whose prices these are"
    assert done.out.count("time is training alone") == 1
    assert set(planned(workplace)["deploy"]) == {"sagemaker", "gce"}


def test_machines_are_compared(workplace: Workplace) -> None:
    found = planned(workplace, "--compare")
    assert {row["machine"]["name"] for row in found["machines"]} == set(machines())
    done = workplace.run("plan", "--compare", "recipes/legal-t5.yaml")
    assert done.out.startswith("where legal-t5 could train\n")
    assert "under $0.01" in done.out
    assert "Google TPU v5e             this version does not train on TPUs" in done.out


def test_own_prices(workplace: Workplace) -> None:
    own = workplace.root / "recipec-prices.toml"
    own.write_text('[ibm.on_demand]\n"gx3-16x80x1l4" = 5\n')
    page = workplace.run("plan", "--compare", "recipes/legal-t5.yaml").out
    assert "  prices: recipec-prices.toml\n" in page + "\n"
    own.write_text('[ibm.on_demand]\n"gx3-16x80x1l5" = 5\n')
    done = workplace.run("plan", "recipes/legal-t5.yaml")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "recipec-prices.toml: error: `ibm.on_demand`: ibm has no machine gx3-16x80x1l5\n"
        "  hint: did you mean `gx3-16x80x1l4`?\n\n1 error\n"
    )


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file or directory"), (b"\xff", "it is not UTF-8 text")]
)
def test_prices_that_cannot_be_read(workplace: Workplace, content: bytes | None, why: str) -> None:
    own = workplace.root / "own.toml"
    if content is not None:
        own.write_bytes(content)
    done = workplace.run("plan", "recipes/legal-t5.yaml", environment={"RECIPEC_PRICES": str(own)})
    assert done.code == 3
    expected = f"error: cannot read the prices in {own}: {why}\n  hint: RECIPEC_PRICES names it\n"
    assert done.err == expected


def test_a_run_that_does_not_fit_is_refused_at_its_line(workplace: Workplace) -> None:
    more = "method: {type: full}\ntraining: {batch_size: 512, micro_batch_size: 512}\n"
    workplace.recipe.write_text(RECIPE + more + "hardware: {accelerator: nvidia-t4}\n")
    done = workplace.run("plan", "recipes/legal-t5.yaml")
    assert (done.code, done.out) == (1, "")
    first, *_, last = done.err.splitlines()
    assert first.startswith("recipes/legal-t5.yaml:12:25: error: the run needs about ")
    assert "and a process finds 14.6 GiB on an NVIDIA T4" in first
    assert "  hint: any of these makes it fit:\n        `training.micro_batch_size: " in done.err
    assert last == "1 error"


def test_a_model_that_is_not_known_is_planned_without_numbers(workplace: Workplace) -> None:
    config = {"model_type": "umt5", "is_encoder_decoder": True}
    (workplace.root / "models/tiny/config.json").write_text(json.dumps(config))
    done = workplace.run("plan", "recipes/legal-t5.yaml")
    assert (done.code, done.err) == (0, "")
    assert "  unknown  -  the memory of a umt5 model is not known beforehand\n" in done.out


def test_torch_is_not_needed(workplace: Workplace) -> None:
    done = workplace.run(
        "plan", "recipes/legal-t5.yaml", environment={"PYTHONPROFILEIMPORTTIME": "1"}
    )
    lines = [line for line in done.err.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "recipec.plan.outlook" in imported
    assert not {"torch", "numpy", "transformers", "rich", "uv", "jsonschema"} & imported


def test_several_machines(workplace: Workplace) -> None:
    many = "hardware: {accelerator: nvidia-l4, count: 4, nodes: 2}\n"
    workplace.recipe.write_text(RECIPE + many)
    found = planned(workplace)
    layout = found["outlook"]["layout"]
    assert (layout["world_size"], layout["parallelism"], layout["micro_batch_size"]) == (
        8,
        "ddp",
        2,
    )
    told = {one["key"]: one for one in found["decisions"]}
    assert told["hardware.parallelism"]["origin"] == "derived"
    assert told["hardware.parallelism"]["reason"].startswith("each process has room for the whole")
    assert all(row["nodes"] == 2 for row in found["machines"])
    assert {row["accelerators_used"] for row in found["machines"]} == {4}
    assert found["outlook"]["loading_bytes"] > 0
    least = found["smallest"]
    assert (least["accelerator"], least["count"], least["nodes"]) == ("nvidia-t4", 1, 1)
    page = workplace.run("plan", "recipes/legal-t5.yaml").out
    assert "what legal-t5 takes on 2 machines, each with 4 x NVIDIA L4" in page
    assert "  2 x g6.12xlarge" in page
    assert "  4 of 8 l4" in page
    for key in ("parallelism", "exchange", "loading", "smallest"):
        assert any(line.startswith(f"  {key} ") for line in page.splitlines()), key


def test_processes_on_cpus(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE + "hardware: {count: 2}\n")
    page = workplace.run("plan", "recipes/legal-t5.yaml").out
    assert "what legal-t5 takes on 2 processes on one CPU machine" in page
    found = planned(workplace)
    assert found["outlook"]["exchange"]["words"] == "2 x the gradients (ddp)"


def test_a_target_s_machine_with_fewer_gpus(workplace: Workplace) -> None:
    deploy = DEPLOY.replace("nvidia-l4", "nvidia-l4, count: 4")
    workplace.recipe.write_text(RECIPE + deploy)
    done = workplace.run("plan", "recipes/legal-t5.yaml")
    assert done.code == 0, done.err
    assert "it has 1 of the 4 GPUs" in done.out
