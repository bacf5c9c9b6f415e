"""The bookkeeping around a training loop: steps, history, checkpoints, stopping.

In: the losses that the script's own loop reports. Out: which step comes next, and at the end the
numbers for metrics.json. It computes no gradient and changes no weight, except to restore them.
What the recipe does not use (a metric to watch, a gradient scaler, trackers) is left out.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recipec_runtime import checkpoint, memory, outputs, stop
from recipec_runtime.errors import TrainingFailed
from recipec_runtime.history import History
from recipec_runtime.metrics import rounded
from recipec_runtime.progress import Progress
from recipec_runtime.run import Run
from recipec_runtime.trackers import Trackers
from recipec_runtime.watch import Watch

SMALLEST_SCALE = 1.0
"""Of the loss in 16-bit training: gradients that are not finite even so never will be."""


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
        watch: Watch | None = None,
        averages: checkpoint.Stateful | None = None,
        scaler: Any = None,
        random: checkpoint.Stateful | None = None,
        lost: Mapping[str, int] | None = None,
        trackers: Sequence[str] = (),
    ) -> None:
        """`log_every` and `checkpoint_every` are in steps.

        `watch` looks at the validation metrics; `averages`, `scaler` (torch's GradScaler) and
        `random` (the state of a generator beside the CPU's) go through the checkpoint; `lost` are
        numbers of rows for metrics.json.
        """
        self._run, self._model, self._optimizer = run, model, optimizer
        self._total, self._log_every, self._checkpoint_every = steps, log_every, checkpoint_every
        self._watch, self._scaler, self._lost = watch, scaler, dict(lost or {})
        self._seen: int | None = None
        found = {"watch": watch, "averages": averages, "scaler": scaler, "random": random}
        self._kept: checkpoint.Keeper = run.group.kept if run.group is not None else checkpoint
        self._more = {name: one for name, one in found.items() if one is not None}
        self._history = History(run.output)
        self._window: list[float] = []
        self._experts: list[list[float]] = []
        self._start = self.done = self._resume()
        self._saved: int | None = self._start if self._start else None
        self._progress = Progress(steps, self._start, None if run.first else io.StringIO())
        if self._start:
            self._progress.note(f"resumed at step {self._start}")
        self._trackers = Trackers(
            trackers if run.first else (),
            run.output,
            run.spec.name,
            self._progress.note,
            tensorboard=run.tensorboard,
        )
        for row in self._history.rows:
            self._trackers.log(row)

    def _resume(self) -> int:
        """The step to go on with. `done` counts the steps that are behind the weights."""
        run = self._run
        state = self._kept.load(run.checkpoints, fingerprint=run.fingerprint)
        best = state["more"].get("watch", {}).get("best_step") if state else None
        if best is not None and self._keeps_best:
            weights = self._kept.load_best(run.checkpoints, best, fingerprint=run.fingerprint)
            state = state if weights is not None else None
        if state is None:
            self._history.start()
            return 0
        self._history.start(state["loop"]["history"])
        self._kept.restore(state, self._model, self._optimizer, self._more)
        self._window = list(state["loop"]["window"])
        self._experts = list(state["loop"]["experts"])
        return int(state["loop"]["step"])

    @property
    def _keeps_best(self) -> bool:
        return self._watch is not None and self._watch.keep_best

    def steps(self) -> Iterator[int]:
        """The steps that are left, each after its checkpoint if one is due.

        Raises Stopped between two steps, with a checkpoint saved, if a signal asked for it.
        """
        stop.defer()
        shared = self._run.spec.parallelism
        memory.settle(gathers=shared is not None and shared.type == "fsdp")
        for step in range(self._start, self._total):
            asked = self._asked()
            if asked or step % self._checkpoint_every == 0:
                self.checkpoint(step)
            stop.defer()
            self._progress.resume()
            yield step

    def _asked(self) -> bool:
        """Whether a process of the run is asked to stop; all of them then do, at one step."""
        if self._run.group is not None and (number := self._run.group.largest(stop.number())):
            stop.ask(number)
        return stop.asked()

    def checkpoint(self, step: int) -> None:
        """Save a checkpoint from which a run goes on with `step`.

        Raises Stopped if a signal asked for it. Until the next step or `record` nothing would be
        lost, so that a signal does not wait: measuring may take longer than a platform does.
        """
        if step not in (self._saved, 0):
            self._save(step)
        stop.release()

    def _save(self, step: int) -> None:
        state = {
            "step": step,
            "window": list(self._window),
            "experts": list(self._experts),
            "history": self._history.text,
        }
        self._kept.save(
            self._run.checkpoints,
            fingerprint=self._run.fingerprint,
            model=self._model,
            optimizer=self._optimizer,
            loop=state,
            more=self._more,
        )
        if self._watch is not None and self._keeps_best:
            self._kept.prune_best(self._run.checkpoints, self._watch.best_step)
        self._saved = step

    def log(
        self, step: int, *, loss: float, learning_rate: float, grad_norm: float, examples: int
    ) -> None:
        """Step number `step` (from 0) is done. Raises TrainingFailed if a number is not finite.

        The history gets a row every `log_every` steps, with the mean loss of those since the last.
        """
        done = self.done = step + 1
        skipped = self._was_skipped(grad_norm)
        for name, value in (("loss", loss), ("gradient norm", 0.0 if skipped else grad_norm)):
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
                **({} if skipped else {"grad_norm": grad_norm}),
            }
            row = {k: _short(v) if v != done else v for k, v in row.items()}
            if self._experts:
                row["experts"] = self._mean_shares()
            self._add(row)
            self._window, self._experts = [], []
        self._progress.step(done, loss, examples, line=due)

    def note_experts(self, shares: list[float]) -> None:
        """Share of the step's tokens that each expert got; the history's next row has the mean."""
        self._experts.append(shares)

    def _mean_shares(self) -> dict[str, float]:
        columns = zip(*self._experts, strict=True)
        means = (math.fsum(column) / len(self._experts) for column in columns)
        return rounded({str(expert): mean for expert, mean in enumerate(means)})

    def record(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Put validation metrics of the weights before step `step` into the history.

        Whether training should end, because the watched metric has stopped getting better. Raises
        TrainingFailed if a metric is not finite.
        """
        stop.defer()
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingFailed(
                    f"the validation's {name} is {value} at step {step}",
                    hint="lower training.learning_rate, or look at the validation rows",
                )
        numbers = rounded(dict(metrics))
        row = {"step": step, "validation": numbers}
        if self._history.rows[-1:] != [row]:  # after an early stop, the same weights again
            self._add(row)
        shown = " · ".join(f"{name} {value:.4f}" for name, value in numbers.items())
        self._progress.note(f"validation at step {step}: {shown}")
        self._progress.resume()
        if self._watch is None or step == self._seen:
            return False
        self._seen = step
        return self._see(self._watch, step, numbers)

    def restore_best(self) -> bool:
        """Put the weights of the best evaluation back, if they are not the last ones."""
        if self._watch is None or self._watch.best_step in (None, self.done):
            return False
        step = self._watch.best_step
        assert step is not None
        run = self._run
        weights = self._kept.load_best(run.checkpoints, step, fingerprint=run.fingerprint)
        if weights is None:
            raise TrainingFailed(
                f"the best weights, those of step {step}, are gone from the checkpoint's folder",
                hint="run the same command again, and leave the output folder alone meanwhile",
            )
        self._kept.put_weights(self._model, weights)
        self._progress.note(f"the weights of step {step} are the best and are saved")
        return True

    def finish(self, metrics: Mapping[str, float] | None = None) -> None:
        """Write metrics, history and receipt, and drop the checkpoint.

        `metrics` are those of the saved weights if they are not the last evaluation's.
        """
        if self._watch is not None:
            row: dict[str, Any] = {"step": self.done, "best_step": self._watch.best_step}
            self._add(row if metrics is None else {**row, "saved": rounded(dict(metrics))})
        self._trackers.close()
        run = self._run
        outputs.write(run.output / "history.csv", self._history.to_csv())
        outputs.finish(
            run,
            self._metrics(),
            machine={
                "examples_per_second": round(self._progress.examples_per_second, 3),
                "seconds_to_first_step": run.seconds(self._progress.first_step_at),
                "resumed_at_step": self._start,
            },
        )
        self._kept.remove(run.checkpoints)

    def _metrics(self) -> dict[str, Any]:
        rows = self._history.rows
        losses = [row["loss"] for row in rows if "loss" in row]
        measured = [row["validation"] for row in rows if "validation" in row]
        if not losses:  # training ended before the first line was due
            losses = [_short(math.fsum(self._window) / max(1, len(self._window)))]
        metrics: dict[str, Any] = {"train": {"loss": losses[-1]}}
        if measured:
            after = rows[-1].get("saved", measured[-1])
            metrics["validation"] = {"before": measured[0], "after": after}
        if self._watch is not None:
            metrics["train"] |= {"steps": self.done, "best_step": self._watch.best_step}
        if self._lost:
            metrics["train"]["rows"] = self._lost
        return metrics

    def _add(self, row: dict[str, Any]) -> None:
        self._history.add(row)
        self._trackers.log(row)

    def _see(self, watch: Watch, step: int, numbers: Mapping[str, float]) -> bool:
        if watch.see(step, numbers) and watch.keep_best:
            run = self._run
            self._kept.save_best(
                run.checkpoints, fingerprint=run.fingerprint, model=self._model, step=step
            )
        if watch.over:
            self._progress.note(
                f"{watch.metric} has not improved in {watch.waited} evaluations: training ends at"
                f" step {step} of {self._total}"
            )
        return watch.over

    def _was_skipped(self, grad_norm: float) -> bool:
        """Whether the gradient scaler left this step out, to try again with a smaller scale."""
        if self._scaler is None or math.isfinite(grad_norm):
            return False
        return bool(self._scaler.get_scale() >= SMALLEST_SCALE)


def _short(number: float) -> float:
    """Seven digits: as many as a 32-bit float has."""
    return float(f"{number:.7g}")
