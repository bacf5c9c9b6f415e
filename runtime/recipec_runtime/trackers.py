"""TensorBoard, Weights & Biases and MLflow: the history once more, for people who look there.

In: rows of the history after they are written. Out: files under trackers/ of the output folder, or
what a server is sent if the environment names one. Off the path that the bytes depend on: nothing
of it enters the receipt, it draws no random number, and a tracker that fails is left out with a
note. A resumed run writes its folder anew, from the history that its checkpoint holds.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

FOLDER = "trackers"


class Tracker(Protocol):
    """One place that the history goes to."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take in numbers by name, such as `train/loss`."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """An event file, by torch's own writer."""

    def __init__(self, folder: Path, name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), comment=name)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take in one row's numbers."""
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)

    def close(self) -> None:
        """End the run."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases: a folder for `wandb sync`, or online if WANDB_API_KEY is set."""

    def __init__(self, folder: Path, name: str) -> None:
        for variable in ("CACHE", "CONFIG", "DATA"):
            os.environ.setdefault(f"WANDB_{variable}_DIR", str(folder / variable.lower()))
        import wandb

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "recipec"),
            name=name,
            dir=str(folder),
            mode="online" if os.environ.get("WANDB_API_KEY") else "offline",
            settings=wandb.Settings(
                silent=True, console="off", save_code=False, disable_git=True, init_timeout=30
            ),
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take in one row's numbers."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """End the run."""
        import wandb

        self._run.finish()
        wandb.teardown()  # its helper process writes the last bytes when it ends


class MLflow:
    """A run in a folder of MLflow's, or on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, folder: Path, name: str) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(
            os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri()
        )
        found = self._client.get_experiment_by_name("recipec")
        experiment = found.experiment_id if found else self._client.create_experiment("recipec")
        self._id: str = self._client.create_run(experiment, run_name=name).info.run_id

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take in one row's numbers."""
        for name, number in numbers.items():
            self._client.log_metric(self._id, name, number, step=step)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._id)


KNOWN: Mapping[str, Callable[[Path, str], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}
"""By the recipe's names."""


class Trackers:
    """All trackers of a run; those that fail drop out."""

    def __init__(
        self,
        names: Sequence[str],
        output: Path,
        run: str,
        note: Callable[[str], None],
        *,
        tensorboard: Path | None = None,
    ) -> None:
        """`run` names the run, `note` says what failed.

        `tensorboard` is its folder if not the one below `output`.
        """
        self._note = note
        self._open: dict[str, Tracker] = {}
        for name in names:
            elsewhere = tensorboard if name == "tensorboard" else None
            folder = elsewhere or output / FOLDER / name
            with self._guarded(name):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                self._open[name] = KNOWN[name](folder, run)

    def log(self, row: Mapping[str, Any]) -> None:
        """Send one row of the history."""
        numbers = dict(_flat(row))
        for name, tracker in list(self._open.items()):
            with self._guarded(name):
                tracker.log(row["step"], numbers)

    def close(self) -> None:
        """Write what is left, and end the run."""
        for name, tracker in list(self._open.items()):
            with self._guarded(name):
                tracker.close()
        self._open = {}

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """No error of a tracker stops training, and none changes Python's random state."""
        state = random.getstate()
        try:
            yield
        except Exception as error:
            self._open.pop(name, None)
            text = " ".join(str(error).split())[:200]
            self._note(f"{name} failed and is left out: {type(error).__name__}: {text}")
        finally:
            random.setstate(state)


def _flat(row: Mapping[str, Any], prefix: str = "train/") -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}/")
        elif key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
