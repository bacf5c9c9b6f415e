"""Documents of Vertex AI, Compute Engine, Azure ML, SkyPilot and cloud-init, by their own clients.

Each client is installed into an environment of its own, as `recipec[EXTRA]` would: together they
are larger than all the rest of the tests' environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recipec.cli.main import main
from recipec.emit.jobs.make import job_documents
from recipec.emit.jobs.text import json_text, yaml_text
from recipec.recipe.schema import TargetName
from tests.support.jobs import cases, changed, job, messages, only_document
from tests.support.projects import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.engine]

Change = Callable[[Any], object]


def extra(name: str) -> list[str]:
    """What an extra of ours brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: list[str] = project["optional-dependencies"][name]
    return found


def environment_with(packages: list[str], folder: Path) -> Path:
    """A Python that has these packages, and behind them what this one has."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    shown = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    # A .pth comes behind the environment's own packages, so that a client finds its versions.
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    Path(shown.stdout.strip(), "zz.pth").write_text("\n".join(ours) + "\n")
    return python


def checked(python: Path, documents: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Who has checked each document, and what is wrong with it."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "compiler", "runtime", "templates"))
    done = subprocess.run(
        [python, "-m", "tests.support.heavy"],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "HOME": str(python.parents[1])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(who, faults) for who, faults in json.loads(done.stdout.splitlines()[-1])]


def _pool(document: Any) -> Any:
    return document["jobSpec"]["workerPoolSpecs"][0]


VERTEX: list[tuple[Change, str]] = [
    (lambda d: d["jobSpec"].update(workerPools=[]), "jobSpec.workerPools: unknown key"),
    (lambda d: d["jobSpec"]["scheduling"].update(strategy="SPOTTY"), "'SPOTTY' is none of the"),
    (lambda d: d.update(state="JOB_STATE_RUNNING"), "state: only the server writes it"),
    (lambda d: _pool(d).update(replicaCount=1), "1 is not of type string"),
    (lambda d: _pool(d).update(replicaCount="2"), "the first pool is exactly one machine"),
    (lambda d: _pool(d)["containerSpec"].update(imageUri="a.example/b"), "are not pinned"),
    (lambda d: _pool(d)["machineSpec"].pop("acceleratorCount"), "have a type and a count"),
    (lambda d: d["labels"].update(a="sha256:0"), "is no label's value"),
    (lambda d: _pool(d).update(pythonPackageSpec={}), "one of containerSpec, pythonPackageSpec"),
    (lambda d: d["jobSpec"]["scheduling"].update(timeout="1h"), "'1h' is no duration"),
]
GCE: list[tuple[Change, str]] = [
    (lambda d: d.update(machinetype="a"), "machinetype: unknown key; did you mean machineType?"),
    (lambda d: d["scheduling"].update(onHostMaintenance="MIGRATE"), "cannot be moved: TERMINATE"),
    (lambda d: d["disks"][0].update(boot="yes"), "'yes' is not of type boolean"),
    (lambda d: d.update(name="A"), "name: 'A' is no name"),
    (lambda d: d["scheduling"].update(automaticRestart=True), "does not start by itself"),
    (lambda d: d["metadata"]["items"][0].update(value="x"), "does not begin with #cloud-config"),
]
AZUREML: list[tuple[Change, str]] = [
    (lambda d: d.pop("command"), "command"),
    (lambda d: d["resources"].update(instances=1), "instances"),
    (lambda d: d["distribution"].update(type="pytorhc"), "pytorhc"),
    (lambda d: d["limits"].update(timeout="a day"), "timeout"),
    (lambda d: d["environment"].update(image="a.example/b:v1"), "its bytes are not pinned"),
    (lambda d: d["resources"].update(instance_type="big"), "'big' is no machine type"),
    (lambda d: d["resources"].pop("instance_type"), "one of them says where the job runs"),
    (lambda d: d.update(command="${{inputs.a}}"), "inputs.a"),
]

SKYPILOT: list[tuple[Change, str]] = [
    (lambda d: d.update(num_node=2), "did you mean 'num_nodes'"),
    (lambda d: d["resources"].update(use_spott=True), "did you mean 'use_spot'"),
    (lambda d: d.update(num_nodes="two"), "'two' is not of type 'integer'"),
    (lambda d: d["resources"].update(accelerators={"H1000": 8}), "'H1000' is none of"),
    (lambda d: d["resources"]["job_recovery"].update(restarts=1), "job_recovery.restarts: unknown"),
    (lambda d: d.update(run="docker run a.example/b:v1 train"), "its bytes are not pinned"),
]


def _loaded(target: TargetName, name: str) -> Any:
    data = only_document(job(target, cases(target)[name]))
    return json.loads(data) if data.startswith(b"{") else YAML(typ="safe", pure=True).load(data)


def _text(target: TargetName, plain: Any) -> str:
    return (json_text if target in ("vertex", "gce") else yaml_text)(plain).decode()


@pytest.mark.parametrize(
    ("name", "mistakes", "who"),
    [
        pytest.param(
            "gcp",
            {"vertex": ("four-machines", VERTEX), "gce": ("spot", GCE)},
            r"google-api-python-client 2\.\d+\.\d+, (aiplatform|compute) v1",
            id="gcp",
        ),
        pytest.param(
            "azure",
            {"azureml": ("four-machines", AZUREML)},
            r"azure-ai-ml 1\.\d+\.\d+",
            id="azure",
        ),
        pytest.param(
            "skypilot",
            {"skypilot": ("four-machines", SKYPILOT)},
            r"skypilot 0\.\d+\.\d+",
            id="skypilot",
        ),
    ],
)
def test_documents_and_their_clients(
    name: str,
    mistakes: dict[TargetName, tuple[str, list[tuple[Change, str]]]],
    who: str,
    tmp_path: Path,
) -> None:
    good = [
        (target, only_document(job(target, case)).decode())
        for target in mistakes
        for case in cases(target).values()
        if not messages(job(target, case))
    ]
    assert len(good) >= 5 * len(mistakes)
    bad = [
        (target, _text(target, changed(_loaded(target, spoilt), change)), said)
        for target, (spoilt, changes) in mistakes.items()
        for change, said in changes
    ]
    python = environment_with(extra(name), tmp_path / "venv")
    found = checked(python, [*good, *((target, text) for target, text, _ in bad)])
    assert all(re.fullmatch(who, validator) for validator, _ in found)
    for (target, text), (_, faults) in zip(good, found, strict=False):
        assert faults == [], f"{target}\n{text}"
    for (target, text, said), (_, faults) in zip(bad, found[len(good) :], strict=True):
        assert any(said in fault for fault in faults), f"{target}: {said}: {faults}\n{text}"


@pytest.fixture
def cloud_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cloud-init of Debian, unpacked beside what it needs of Python."""
    python = environment_with(["configobj", "jsonpatch", "oauthlib"], tmp_path / "venv")
    done = subprocess.run(
        ["apt-get", "download", "-qq", "cloud-init"], cwd=tmp_path, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("apt has no cloud-init here")
    (deb,) = tmp_path.glob("cloud-init_*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path / "root"], check=True)
    program = tmp_path / "bin/cloud-init"
    program.parent.mkdir()
    modules = tmp_path / "root/usr/lib/python3/dist-packages"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{modules}" exec "{python}" -m cloudinit.cmd.main "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("cloud_init")
def test_user_data_and_cloud_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "user-data"
    for target in ("ec2", "gce", "ibm-vpc"):
        for case in cases(target).values():
            if not messages(job(target, case)):
                documents = job_documents(job(target, case))
                file.write_bytes(documents[f"{target}.cloud-init.yaml"])
                assert main(["check-job", target, str(file)]) == 0
    assert "good, says cloud-init " in capsys.readouterr().err
    text = file.read_text()
    for old, new, said in (
        ("runcmd:", "runcmds:", "did you mean runcmd?"),
        ('permissions: "0644"', "permissions: 644", "644 is not of type 'string'"),
        ("write_files:\n- path", "write_files:\n- pth", "write_files"),
    ):
        file.write_text(text.replace(old, new))
        assert main(["check-job", "ec2", str(file)]) == 1
        assert said in capsys.readouterr().err
