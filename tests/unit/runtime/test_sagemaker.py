"""SageMaker's files: hosts, hyperparameters, channels, and the failure's message."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from recipec_runtime import collect, ranks, sagemaker
from recipec_runtime.errors import EnvironmentLacks
from tests.unit.runtime.test_bookkeeping import spec

ROWS = b'{"clause": "a"}\n'
RUN = "sha256:" + "1" * 64


def tree(root: Path, **files: object) -> Path:
    """/opt/ml below `root`, with these files of its configuration; bytes go in as they are."""
    folder = root / "opt/ml/input/config"
    folder.mkdir(parents=True)
    for name, plain in files.items():
        data = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
        (folder / f"{name}.json").write_bytes(data)
    return root


def read(root: Path, size: int = 1) -> ranks.Ranks:
    return ranks.read({}, world_size=size, platform="sagemaker", root=root)


def test_one_host(tmp_path: Path) -> None:
    assert read(tmp_path) == ranks.Ranks()
    tree(tmp_path, resourceconfig={"hosts": ["algo-1"], "current_host": "algo-1"})
    assert read(tmp_path) == ranks.Ranks()


def test_hosts_are_numbered_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    hosts = [f"algo-{number}" for number in (10, 2, 1, 3, 4, 5, 6, 7, 8, 9)]
    tree(tmp_path, resourceconfig={"hosts": hosts, "current_host": "algo-10"})
    assert read(tmp_path, size=10) == ranks.Ranks(
        world_size=10, rank=9, nodes=10, node_rank=9, master_address="algo-1"
    )
    told = {"RECIPEC_PROCESSES": "8"}
    found = ranks.read(told, world_size=80, platform="sagemaker", root=tmp_path)
    assert (found.rank, found.local_rank, found.nodes) == (72, 0, 10)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (b"{", "resourceconfig.json cannot be read: Expecting property name"),
        (b"\xff", "resourceconfig.json cannot be read: 'utf-8' codec can't decode byte 0xff"),
        ([], "resourceconfig.json cannot be read: it is no object"),
        ({}, "resourceconfig.json cannot be read: it has no list `hosts`"),
        ({"hosts": []}, "it has no list `hosts`"),
        ({"hosts": ["a"]}, "`current_host` is None, which is not among `hosts`"),
        ({"hosts": ["a"], "current_host": "b"}, "`current_host` is 'b', which is not among"),
    ],
)
def test_resources_that_cannot_be_read(plain: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks) as found:
        read(tree(tmp_path, resourceconfig=plain))
    assert message in found.value.message
    assert found.value.message.startswith("/opt/ml/input/config/resourceconfig.json")
    assert found.value.exit_code == 3
    assert found.value.hint


def test_hyperparameters_may_repeat_the_run(tmp_path: Path) -> None:
    given = {"name": '"legal-t5"', "threads": "1", "reproducibility": "portable"}
    theirs = {"sagemaker_region": '"eu-central-1"', "sagemaker_job_name": "x"}
    tree(tmp_path, hyperparameters={**given, **theirs, "recipec_run_id": f'"{RUN}"'})
    assert sagemaker.check_hyperparameters(tmp_path, spec(), None) == RUN
    assert sagemaker.check_hyperparameters(tmp_path, spec(), RUN) == RUN


def test_without_hyperparameters_the_run_id_is_the_environment_s(tmp_path: Path) -> None:
    assert sagemaker.check_hyperparameters(tmp_path, spec(), RUN) == RUN
    assert sagemaker.check_hyperparameters(tree(tmp_path), spec(), None) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"learning_rate": "0.1"},
            "the job passes the hyperparameter learning_rate, and the image is compiled: nothing"
            " would come of it",
        ),
        (
            {"sagemaker_program": '"train.py"'},
            "the job passes the hyperparameter sagemaker_program, and the image is compiled:"
            " nothing would come of it",
        ),
        (
            {"threads": "2"},
            "the job's hyperparameter threads is 2, and the image is compiled for 1",
        ),
        (
            {"threads": "true"},
            "the job's hyperparameter threads is true, and the image is compiled for 1",
        ),
        (
            {"recipec_run_id": "other"},
            "the job's hyperparameter recipec_run_id is other, and the image is compiled for "
            + RUN,
        ),
    ],
)
def test_hyperparameters_that_would_change_the_run(
    given: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentLacks) as found:
        sagemaker.check_hyperparameters(tree(tmp_path, hyperparameters=given), spec(), RUN)
    assert found.value.message == message
    assert found.value.exit_code == 3


def channel(root: Path, name: str, rows: bytes = ROWS) -> None:
    folder = root / "opt/ml/input/data" / name
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(rows)


def test_channels_may_bring_the_rows_of_the_image(tmp_path: Path) -> None:
    digest = "sha256:" + hashlib.sha256(ROWS).hexdigest()
    run = spec(inputs=[{"path": "data/train.jsonl", "sha256": digest, "size": len(ROWS)}])
    tree(tmp_path, inputdataconfig={"train": {}})
    with pytest.raises(EnvironmentLacks, match="the channel train has no file in /opt/ml/input/"):
        sagemaker.check_channels(tmp_path, run)
    channel(tmp_path, "train")
    sagemaker.check_channels(tmp_path, run)
    with pytest.raises(EnvironmentLacks) as found:
        sagemaker.check_channels(tmp_path, spec())
    assert found.value.message == (
        "/opt/ml/input/data/train/train.jsonl is none of the files that the recipe was compiled for"
    )


def test_the_channel_of_the_adapted_model(tmp_path: Path) -> None:
    assert sagemaker.adapted(tmp_path) is None
    tree(tmp_path, inputdataconfig={"adapted": {}})
    channel(tmp_path, "adapted")
    with pytest.raises(EnvironmentLacks, match="is none of the files"):
        sagemaker.check_channels(tmp_path, spec())
    sagemaker.check_channels(tmp_path, spec(adapted={"run_id": RUN}))
    assert sagemaker.adapted(tmp_path) == tmp_path / "opt/ml/input/data/adapted"


def test_the_failure_s_message_is_cut_where_the_service_cuts_it(tmp_path: Path) -> None:
    sagemaker.write_failure(tmp_path, "x" * 2000)
    assert (tmp_path / "opt/ml/output/failure").read_text() == "x" * 1024
    (tmp_path / "file").write_text("")
    sagemaker.write_failure(tmp_path / "file", "nowhere to write to")


def test_collected_files_are_the_run_s_and_the_receipt_comes_last(tmp_path: Path) -> None:
    output, target = tmp_path / "out", tmp_path / "bucket/run"
    for name in (
        "model/a/weights",
        "checkpoint/state.pt",
        ".x.part",
        "metrics.json",
        "receipt.json",
    ):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(name)
    (target / "model").mkdir(parents=True)
    (target / "model/old").write_text("of an earlier run")
    (target / "notes.txt").write_text("somebody's")
    collect.check(target, "")
    collect.collect(output, target)
    found = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    assert found == ["metrics.json", "model/a/weights", "notes.txt", "receipt.json"]
    assert (target / "receipt.json").stat().st_mtime_ns == max(
        (target / name).stat().st_mtime_ns for name in found
    )


def test_a_folder_that_nobody_can_make() -> None:
    with pytest.raises(EnvironmentLacks) as found:
        collect.check(Path("/proc/recipec"), "ask")
    assert found.value.message == (
        f"user {os.geteuid()} cannot write to /proc/recipec: No such file or directory"
    )
    assert found.value.hint == "ask"
