"""Trackers get the history, and never stop a run."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from recipec_runtime import trackers
from recipec_runtime.trackers import Trackers

ROWS: list[dict[str, Any]] = [
    {"step": 0, "validation": {"loss": 2.0}},
    {"step": 5, "loss": 1.5, "learning_rate": 0.1, "experts": {"0": 0.25, "1": 0.75}},
    {"step": 10, "loss": 1.0, "best_step": 5},
]


def fill(names: list[str], output: Path) -> list[str]:
    """Send all rows; the notes."""
    notes: list[str] = []
    sent = Trackers(names, output, "a-run", notes.append)
    for row in ROWS:
        sent.log(row)
    sent.close()
    return notes


def test_tensorboard_reads_the_history_back(tmp_path: Path) -> None:
    events = import_module("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):  # a resumed run begins its folder anew
        assert fill(["tensorboard"], tmp_path) == []
    found = events.EventAccumulator(str(tmp_path / "trackers" / "tensorboard")).Reload()
    assert {
        name: [(one.step, round(one.value, 6)) for one in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    } == {
        "validation/loss": [(0, 2.0)],
        "train/loss": [(5, 1.5), (10, 1.0)],
        "train/learning_rate": [(5, 0.1)],
        "train/best_step": [(10, 5.0)],
        "experts/0": [(5, 0.25)],
        "experts/1": [(5, 0.75)],
    }


def test_tensorboard_writes_where_the_platform_looks(tmp_path: Path) -> None:
    (tmp_path / "logs/theirs").mkdir(parents=True)
    notes: list[str] = []
    folder = tmp_path / "logs/ours"
    Trackers(["tensorboard"], tmp_path / "out", "a-run", notes.append, tensorboard=folder).close()
    assert notes == []
    assert [path.name[:10] for path in folder.iterdir()] == ["events.out"]
    assert (tmp_path / "logs/theirs").is_dir()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_mlflow_reads_the_history_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = import_module("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert fill(["mlflow"], tmp_path) == []
    client = mlflow.MlflowClient((tmp_path / "trackers" / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("recipec")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("a-run", "FINISHED")
    loss = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in loss] == [(5, 1.5), (10, 1.0)]


@pytest.mark.slow
def test_wandb_writes_a_run_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for variable in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{variable}_DIR", str(tmp_path))
    assert fill(["wandb"], tmp_path) == []
    (run,) = (tmp_path / "trackers" / "wandb").glob("wandb/offline-run-*/*.wandb")
    assert b"validation/loss" in run.read_bytes()


class Failing:
    """A tracker that breaks at the second row."""

    def __init__(self) -> None:
        self.seen = 0

    def log(self, *_: object) -> None:
        random.random()
        self.seen += 1
        if self.seen == 2:
            raise ConnectionError("no\n  route to host")

    def close(self) -> None:
        raise AssertionError("it has dropped out")


def test_one_that_fails_drops_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "KNOWN", {"wandb": lambda *_: Failing()})
    random.seed(1)
    state = random.getstate()
    assert fill(["wandb"], tmp_path) == [
        "wandb failed and is left out: ConnectionError: no route to host"
    ]
    assert random.getstate() == state


def test_one_whose_package_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    (note,) = fill(["mlflow"], tmp_path)
    assert note.startswith("mlflow failed and is left out: ModuleNotFoundError: ")


def test_none_leave_no_folder(tmp_path: Path) -> None:
    assert fill([], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
