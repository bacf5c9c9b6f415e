"""Several processes of one machine: equal bytes in every repeat, after kills, and under torchrun.

With three and four of them sums depend on the order in which they are taken.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.cells import place_cell
from tests.support.settings import outputs
from tests.support.training import run, start, trained, wait_for

EVERYTHING: dict[str, Any] = {
    "micro_batch_size": 1,
    "steps": 20,
    "checkpoint_every": 3,
    "evaluate_every": 4,
    "log_every": 1,
    "learning_rate": 3e-2,  # too high on purpose: the best weights are not the last ones
    "ema_decay": 0.5,
    "keep": "best",
    "early_stopping": {"patience": 9},
    "packing": True,
    "trackers": ["tensorboard"],
}
"""Every knob that keeps a state or shares something out. Rows are packed, and the last batch of an
epoch has fewer than there are processes."""


def placed(
    root: Path, kind: str, count: int, *, method: str = "full", rows: int = 0, **training: Any
) -> Path:
    """A causal-lm cell for `count` processes. `rows`: of training data, all if 0."""
    knobs = {**EVERYTHING, "batch_size": 2 * count, **training}
    place_cell(root, "causal-lm", method, "llama", training=knobs, hardware=_hardware(kind, count))
    if rows:
        _cut(root / "data/train.jsonl", rows)
        _cut(root / "data/validation.jsonl", count - 1)
        place_again(root, kind, count, method, knobs)
    return root


def _hardware(kind: str, count: int) -> dict[str, Any]:
    return {"count": count, "parallelism": kind}


def _cut(path: Path, rows: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:rows]))


def place_again(root: Path, kind: str, count: int, method: str, training: Any) -> None:
    """Compile for the data as they are now."""
    from recipec.emit.script import emit_bundle
    from recipec.store import write_atomically
    from tests.support.cells import settings_of

    hardware = _hardware(kind, count)
    settings, lock = settings_of(
        root, "causal-lm", method, "llama", training=training, hardware=hardware
    )
    for name, content in emit_bundle(settings, lock):
        write_atomically(root / "recipe" / name, content)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a launcher has started, the first one first."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return sorted(int(number) for number in text.split())


def gone(numbers: list[int]) -> bool:
    """Whether none of the processes is there any more, not even as a zombie."""
    return not any(Path(f"/proc/{number}").exists() for number in numbers)


CASES = [
    pytest.param("fsdp", 3, "full"),
    pytest.param("ddp", 3, "lora", marks=pytest.mark.slow),
    pytest.param("ddp", 4, "full", marks=pytest.mark.slow),
    pytest.param("fsdp", 4, "lora", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "count", "method"), CASES)
def test_killed_with_everything_on(kind: str, count: int, method: str, tmp_path: Path) -> None:
    """A random process each time; the last rows are fewer than the processes, as is validation."""
    root = placed(tmp_path / "root", kind, count, method=method, rows=4 * count + 1)
    wanted = trained(root, tmp_path / "a")
    assert any(name.startswith("tensorboard/") for name in wanted) or count
    chance = random.Random(f"{kind} {count}")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for step in (5, 14):
        process = start(root, tmp_path / "b", TMPDIR=str(scratch))
        wait_for(process, f"step {step:>2}/20")
        all_of_them = children(process)
        assert len(all_of_them) == count
        victim = chance.randrange(count)
        os.kill(all_of_them[victim], signal.SIGKILL)
        started = time.monotonic()
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 137, said
        assert f"error: process {victim} was killed\n" in said
        assert "Traceback" not in said
        assert time.monotonic() - started < 60
        assert gone(all_of_them)
        assert list(scratch.iterdir()) == []
    done = run("train", root, tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    assert outputs(tmp_path / "b") == wanted
    assert not (tmp_path / "b/checkpoint").exists()
