"""The bookkeeping around a training loop: steps, history, checkpoints, stopping.

In: the losses that the script's own loop reports. Out: which step comes next, and at the end the
numbers for metrics.json. It computes no gradient and changes no weight, except to restore them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from recipec_runtime import checkpoint, outputs, stop
from recipec_runtime.errors import TrainingFailed
from recipec_runtime.history import History
from recipec_runtime.metrics import rounded
from recipec_runtime.progress import Progress
from recipec_runtime.run import Run


class Loop:
    """The steps of one run, which begin where a killed run's checkpoint ends."""

    def __init__(
        self,
        run: Run,
        model: Any,
        optimizer: Any,
        *,
        steps: int,
        log_every: int,
        checkpoint_every: int,
    ) -> None:
        """`log_every` and `checkpoint_every` are in steps."""
        self._run, self._model, self._optimizer = run, model, optimizer
        self._total, self._log_every, self._checkpoint_every = steps, log_every, checkpoint_every
        self._history = History(run.output)
        self._window: list[float] = []
        self._experts: list[list[float]] = []
        self._start = self._resume()
        self._saved: int | None = self._start if self._start else None
        self._progress = Progress(steps, self._start)
        if self._start:
            self._progress.note(f"resumed at step {self._start}")

    def _resume(self) -> int:
        state = checkpoint.load(self._run.output, fingerprint=self._run.fingerprint)
        if state is not None:
            self._history.start(state["loop"]["history"])
            checkpoint.restore(state, self._model, self._optimizer)
            self._window = list(state["loop"]["window"])
            self._experts = list(state["loop"]["experts"])
            return int(state["loop"]["step"])
        self._history.start()
        return 0

    def steps(self) -> Iterator[int]:
        """The steps that are left, each after its checkpoint if one is due.

        Raises Stopped between two steps, with a checkpoint saved, if a signal asked for it.
        """
        stop.defer()
        for step in range(self._start, self._total):
            if step % self._checkpoint_every == 0 or stop.asked():
                self.checkpoint(step)
            stop.raise_if_asked()
            self._progress.resume()
            yield step

    def checkpoint(self, step: int) -> None:
        """Save a checkpoint from which a run goes on with `step`."""
        if step == self._saved or step == 0:
            return
        state = {
            "step": step,
            "window": list(self._window),
            "experts": list(self._experts),
            "history": self._history.text,
        }
        checkpoint.save(
            self._run.output,
            fingerprint=self._run.fingerprint,
            model=self._model,
            optimizer=self._optimizer,
            loop=state,
        )
        self._saved = step

    def log(
        self, step: int, *, loss: float, learning_rate: float, grad_norm: float, examples: int
    ) -> None:
        """Step number `step` (from 0) is done. Raises TrainingFailed if a number is not finite.

        The history gets a row every `log_every` steps, with the mean loss of those since the last.
        """
        done = step + 1
        for name, value in (("loss", loss), ("gradient norm", grad_norm)):
            if not math.isfinite(value):
                raise TrainingFailed(
                    f"the {name} is {value} at step {done}",
                    hint="lower training.learning_rate, lengthen training.warmup_ratio, or set"
                    " training.max_grad_norm",
                )
        self._window.append(loss)
        due = done % self._log_every == 0 or done == self._total
        if due:
            row: dict[str, Any] = {
                "step": done,
                "loss": math.fsum(self._window) / len(self._window),
                "learning_rate": learning_rate,
                "grad_norm": grad_norm,
            }
            row = {k: float(f"{v:.7g}") if v != done else v for k, v in row.items()}
            if self._experts:
                row["experts"] = self._mean_shares()
            self._history.add(row)
            self._window, self._experts = [], []
        self._progress.step(done, loss, examples, line=due)

    def note_experts(self, shares: list[float]) -> None:
        """Share of the step's tokens that each expert got; the history's next row has the mean."""
        self._experts.append(shares)

    def _mean_shares(self) -> dict[str, float]:
        columns = zip(*self._experts, strict=True)
        means = (math.fsum(column) / len(self._experts) for column in columns)
        return rounded({str(expert): mean for expert, mean in enumerate(means)})

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Put validation metrics of the weights before step `step` into the history."""
        numbers = rounded(dict(metrics))
        self._history.add({"step": step, "validation": numbers})
        shown = " · ".join(f"{name} {value:.4f}" for name, value in numbers.items())
        self._progress.note(f"validation at step {step}: {shown}")
        self._progress.resume()

    def finish(self) -> None:
        """Write metrics, history and receipt, and drop the checkpoint."""
        losses = [row["loss"] for row in self._history.rows if "loss" in row]
        measured = [row["validation"] for row in self._history.rows if "validation" in row]
        metrics: dict[str, Any] = {"train": {"loss": losses[-1]}}
        if measured:
            metrics["validation"] = {"before": measured[0], "after": measured[-1]}
        run = self._run
        outputs.write(run.output / "history.csv", self._history.to_csv())
        outputs.finish(
            run,
            metrics,
            machine={
                "examples_per_second": round(self._progress.examples_per_second, 3),
                "seconds_to_first_step": run.seconds(self._progress.first_step_at),
                "resumed_at_step": self._start,
            },
        )
        checkpoint.remove(run.output)
