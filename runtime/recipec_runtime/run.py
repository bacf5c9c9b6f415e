"""One run: where its inputs lie, where its outputs go, and what run.json says about it.

In: the environment's paths and the contract. Out: paths and rows. It trains nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recipec_runtime import checkpoint, data, outputs
from recipec_runtime.contract import RunFile
from recipec_runtime.errors import TrainingFailed
from recipec_runtime.metrics import rounded
from recipec_runtime.ranks import Ranks


class Device(Protocol):
    """What a run trains on if not the CPU."""

    @property
    def identity(self) -> dict[str, object]:
        """What of it decides about bytes."""

    def facts(self) -> dict[str, object]:
        """What else is known of it, and what it was used for."""


class Group(Protocol):
    """The processes of a run that has several, as its loop knows them."""

    @property
    def kept(self) -> checkpoint.Keeper:
        """What writes and reads their checkpoints."""

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes bring; each waits for all."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a script is given. `started` is on the monotonic clock, in seconds."""

    stage: str
    spec: RunFile
    root: Path
    output: Path
    trained: Path
    run_id: str | None
    engine: str | None
    ranks: Ranks
    fingerprint: str
    started: float
    device: Device | None = None
    """None for CPUs."""
    group: Group | None = None
    """None for one process."""
    saved: Path | None = None
    """Where checkpoints lie if not beside the outputs: where the platform keeps them."""
    tensorboard: Path | None = None
    """Where the platform looks for TensorBoard's files, if anywhere."""
    base: Path | None = None
    """Where the model to tune lies if not in `root`: a GGUF file is unpacked before the script."""

    @property
    def first(self) -> bool:
        """Whether this process writes what the run leaves: one of them does."""
        return self.ranks.rank == 0

    @property
    def checkpoints(self) -> Path:
        """The folder of this run's checkpoint."""
        return self.saved or self.output / "checkpoint"

    @property
    def model(self) -> str:
        """The folder of the model to tune."""
        return str(self.base or self.root / "model")

    @property
    def trained_model(self) -> str:
        """The folder of the tuned model; only the evaluate stage has one."""
        return str(self.trained / "model")

    def rows(self, split: str, *fields: str) -> list[data.Row]:
        """The rows of a split with these fields, in the file's order."""
        for entry in self.spec.inputs:
            path = Path(entry.path)
            if path.parent == Path("data") and path.stem == split:
                return data.read_rows(self.root / path, fields)
        raise TrainingFailed(f"the recipe has no {split} data", hint="build the recipe again")

    @contextmanager
    def new_model(self) -> Iterator[str]:
        """A folder to save the tuned model into; on leaving, it is completed and takes its place.

        Completed: the tokenizer's files as they came, the recipe's model card, and one byte form of
        what the libraries write in an order of their own.
        """
        with outputs.new_model(self.output / "model", self.root, Path(self.model)) as folder:
            yield str(folder)

    def finish(
        self,
        split: str,
        metrics: dict[str, dict[str, float]],
        predictions: list[dict[str, Any]],
    ) -> None:
        """End of an evaluate stage: write predictions, metrics and receipt, then check the gates.

        `metrics` are by what was measured, such as `tuned` and `untuned`; gates compare `tuned`.
        """
        numbers = {name: rounded(found) for name, found in metrics.items()}
        outputs.write(self.output / "predictions.jsonl", outputs.lines(predictions))
        outputs.finish(self, {split: numbers}, machine={})
        outputs.check_gates(self.spec, split, numbers["tuned"])

    def seconds(self, moment: float | None) -> float | None:
        """Seconds from the run's start to a moment of the monotonic clock."""
        return None if moment is None else round(moment - self.started, 3)

    @property
    def elapsed(self) -> float:
        """Seconds since the run's start."""
        return round(time.monotonic() - self.started, 3)
