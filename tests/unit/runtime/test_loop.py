"""The loop's bookkeeping, with a small real model and real checkpoints."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from recipec_runtime import stop
from recipec_runtime.errors import Stopped, TrainingFailed
from recipec_runtime.loop import Loop
from recipec_runtime.ranks import read
from recipec_runtime.run import Run
from recipec_runtime.watch import Watch
from tests.unit.runtime.test_bookkeeping import spec

torch = import_module("torch")


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop defers signals for good; a test's process goes on."""
    monkeypatch.setattr(stop, "_state", {"deferred": 0, "signal": 0})


def make_run(folder: Path) -> Run:
    output = folder / "out"
    output.mkdir(parents=True, exist_ok=True)
    return Run(
        stage="train",
        spec=spec(inputs=[]),
        root=folder,
        output=output,
        trained=folder,
        run_id=None,
        engine="host",
        ranks=read({}, world_size=1),
        fingerprint="this run",
        started=time.monotonic(),
    )


def make_loop(folder: Path, **more: Any) -> tuple[Loop, Any]:
    """A loop of ten steps around a model with one weight."""
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"steps": 10, "log_every": 2, "checkpoint_every": 4, **more}
    return Loop(make_run(folder), model, optimizer, **options), model


def log(loop: Loop, step: int, **more: float) -> None:
    values = {"loss": 1.0, "learning_rate": 0.1, "grad_norm": 2.0, "examples": 4, **more}
    loop.log(step, **values)  # type: ignore[arg-type]


def rows(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "out" / "history.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def put(model: Any, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


def drive(loop: Loop, model: Any, losses: list[float], until: int = 10) -> int:
    """Steps in which the weight is the number of steps done; measured before every second one."""
    for step in loop.steps():
        if step == until:
            break
        if step % 2 == 0:
            loop.checkpoint(step)
            if loop.record(step, {"loss": losses[step // 2]}):
                break
        put(model, step + 1.0)
        log(loop, step)
    return loop.done


def test_it_stops_and_goes_back_to_the_best(tmp_path: Path) -> None:
    watch = Watch(patience=2, keep_best=True)
    loop, model = make_loop(tmp_path, watch=watch)
    assert drive(loop, model, [5.0, 3.0, 4.0, 4.0, 1.0]) == 6
    loop.record(6, {"loss": 4.0})
    assert loop.restore_best()
    assert model.weight.item() == 2.0
    loop.finish({"loss": 3.0})
    assert rows(tmp_path)[-1] == {"step": 6, "best_step": 2, "saved": {"loss": 3.0}}
    assert [row["step"] for row in rows(tmp_path) if "validation" in row] == [0, 2, 4, 6]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics == {
        "train": {"loss": 1.0, "steps": 6, "best_step": 2},
        "validation": {"before": {"loss": 5.0}, "after": {"loss": 3.0}},
    }
    assert not (tmp_path / "out" / "checkpoint").exists()


@pytest.mark.parametrize("until", range(1, 10))
def test_it_goes_on_with_what_it_knew(tmp_path: Path, until: int) -> None:
    losses = [5.0, 3.0, 4.0, 2.5, 9.0]
    first, model = make_loop(tmp_path, watch=Watch(patience=3, keep_best=True))
    drive(first, model, losses, until)
    watch = Watch(patience=3, keep_best=True)
    second, model = make_loop(tmp_path, watch=watch)
    assert drive(second, model, losses) == 10
    second.record(10, {"loss": 8.0})
    assert (watch.best_step, watch.waited) == (6, 2)
    assert second.restore_best()
    assert model.weight.item() == 6.0
    second.finish()
    whole, other = make_loop(tmp_path / "other", watch=Watch(patience=3, keep_best=True))
    drive(whole, other, losses)
    whole.record(10, {"loss": 8.0})
    whole.finish()
    assert rows(tmp_path) == rows(tmp_path / "other")


def test_the_last_weights_may_be_the_best(tmp_path: Path) -> None:
    loop, model = make_loop(tmp_path, watch=Watch(keep_best=True))
    drive(loop, model, [5.0, 4.0, 3.0, 2.0, 1.5])
    loop.checkpoint(10)
    loop.record(10, {"loss": 1.0})
    names = sorted(path.name for path in (tmp_path / "out" / "checkpoint").iterdir())
    assert names == ["best-10.pt", "best-8.pt", "state.pt"], "8 is the checkpoint's until the next"
    assert not loop.restore_best()
    assert model.weight.item() == 10.0


@pytest.mark.parametrize("harm", ["gone", "damaged", "foreign"])
def test_best_weights_that_cannot_be_used_mean_a_new_start(
    tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loop, model = make_loop(tmp_path, watch=Watch(keep_best=True))
    drive(loop, model, [5.0, 4.0, 3.0, 2.0, 1.5], 9)
    (path,) = (tmp_path / "out" / "checkpoint").glob("best-6.pt")
    if harm == "gone":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        state = torch.load(path, weights_only=True)
        torch.save({**state, "fingerprint": "another run"}, path)
    capsys.readouterr()
    again, _ = make_loop(tmp_path, watch=Watch(keep_best=True))
    assert again.done == 0
    wanted = {
        "gone": "the checkpoint's best weights are gone",
        "damaged": "the file of the best weights cannot be read (",
        "foreign": "the file of the best weights belongs to another recipe, image or version",
    }[harm]
    assert capsys.readouterr().err.startswith(f"note: {wanted}")


def test_a_step_that_16_bits_could_not_hold_is_left_out(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    loop, _ = make_loop(tmp_path, scaler=scaler)
    log(loop, 0, grad_norm=float("inf"))
    log(loop, 1, grad_norm=float("nan"))
    log(loop, 2)
    log(loop, 3)
    assert [sorted(row) for row in rows(tmp_path)] == [
        ["learning_rate", "loss", "step"],
        ["grad_norm", "learning_rate", "loss", "step"],
    ]
    with pytest.raises(TrainingFailed, match="the loss is nan at step 5"):
        log(loop, 4, loss=float("nan"))
    scaler.load_state_dict({**scaler.state_dict(), "scale": 0.5})
    with pytest.raises(TrainingFailed, match="the gradient norm is inf at step 5"):
        log(loop, 4, grad_norm=float("inf"))


def test_without_a_scaler_every_norm_must_be_finite(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path)
    with pytest.raises(TrainingFailed, match="the gradient norm is inf at step 1"):
        log(loop, 0, grad_norm=float("inf"))


def test_a_validation_that_is_not_finite(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path)
    with pytest.raises(TrainingFailed) as caught:
        loop.record(4, {"loss": float("nan")})
    assert caught.value.render() == (
        "error: the validation's loss is nan at step 4\n"
        "  hint: lower training.learning_rate, or look at the validation rows"
    )


def test_lost_rows_are_in_the_metrics(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, lost={"dropped": 3})
    for step in range(10):
        log(loop, step)
    loop.finish()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics == {"train": {"loss": 1.0, "rows": {"dropped": 3}}}


@pytest.fixture
def term() -> Iterator[Callable[[], None]]:
    """What sends SIGTERM to this very process, whose signals the runtime has taken over."""
    before = {number: signal.getsignal(number) for number in stop.SIGNALS}
    stop.install()
    yield lambda: os.kill(os.getpid(), signal.SIGTERM)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_waits_for_the_end_of_a_step_and_for_a_checkpoint(
    tmp_path: Path, term: Callable[[], None]
) -> None:
    loop, model = make_loop(tmp_path)
    done = []

    def train() -> None:
        for step in loop.steps():
            if step == 2:
                term()
            put(model, step + 1.0)
            log(loop, step)
            done.append(step)

    with pytest.raises(Stopped):
        train()
    assert done == [0, 1, 2]
    again, other = make_loop(tmp_path)
    assert (again.done, other.weight.item()) == (3, 3.0)


def test_a_signal_does_not_wait_for_a_measurement(tmp_path: Path, term: Callable[[], None]) -> None:
    """All that there is to keep is in the checkpoint before it, and a platform waits 30 s."""
    loop, model = make_loop(tmp_path)
    reached = []

    def train() -> None:
        for step in loop.steps():
            if step == 2:
                loop.checkpoint(step)
                term()
                reached.append(step)
                loop.record(step, {"loss": 1.0})
            put(model, step + 1.0)
            log(loop, step)

    with pytest.raises(Stopped):
        train()
    assert reached == []
    again, other = make_loop(tmp_path)
    assert (again.done, other.weight.item()) == (2, 2.0)


def test_a_signal_after_the_measurement_waits_again(
    tmp_path: Path, term: Callable[[], None]
) -> None:
    loop, _ = make_loop(tmp_path)
    for step in loop.steps():
        loop.checkpoint(step)
        loop.record(step, {"loss": 1.0})
        term()
        log(loop, step)
        break
    with pytest.raises(Stopped):
        loop.checkpoint(1)
    assert make_loop(tmp_path)[0].done == 1


def test_the_checkpoint_lies_where_the_platform_keeps_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = replace(make_run(tmp_path), saved=tmp_path / "volume/legal-t5")
    loop = Loop(run, model, optimizer, steps=4, log_every=2, checkpoint_every=2)
    for step in loop.steps():
        log(loop, step)
    assert [path.name for path in run.checkpoints.iterdir()] == ["state.pt"]
    assert not (run.output / "checkpoint").exists()
    loop.finish()
    assert list((tmp_path / "volume").iterdir()) == []
