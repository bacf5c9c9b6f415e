"""Several processes of one machine: equal bytes in every repeat, after kills, and under torchrun.

With three and four of them sums depend on the order in which they are taken.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recipec.emit.script import emit_bundle
from recipec.store import write_atomically
from recipec_runtime import contract, pin
from tests.support.cells import settings_of
from tests.support.settings import outputs
from tests.support.training import base, environment, run, start, trained, wait_for

STEPS = 20
EVERYTHING: dict[str, Any] = {
    "micro_batch_size": 1,
    "steps": STEPS,
    "checkpoint_every": 3,
    "evaluate_every": 4,
    "log_every": 1,
    "learning_rate": 3e-2,  # high, so that the best weights are not always the last ones
    "ema_decay": 0.5,
    "keep": "best",
    "early_stopping": {"patience": 9},
    "packing": True,
    "trackers": ["tensorboard"],
}
"""Every knob that keeps a state or shares something out."""
CASES = [
    # how the model is spread, processes, method, kills
    pytest.param("fsdp", 3, "full", 1),
    pytest.param("ddp", 3, "lora", 3, marks=pytest.mark.slow),
    pytest.param("ddp", 4, "full", 3, marks=pytest.mark.slow),
    pytest.param("fsdp", 4, "lora", 3, marks=pytest.mark.slow),
]


def place(root: Path, kind: str, count: int, method: str, **training: Any) -> Path:
    """A cell for `count` processes; fewer rows are in an epoch's last batch and in validation."""
    shutil.copytree(base("llama"), root, dirs_exist_ok=True)
    for name, rows in (("train", 4 * count + 1), ("validation", count - 1)):
        path = root / f"data/{name}.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:rows]))
    settings, lock = settings_of(
        *(root, "causal-lm", method, "llama"),
        training={"batch_size": 2 * count, **training},
        hardware={"count": count, "parallelism": kind},
    )
    for name, content in emit_bundle(settings, lock):
        write_atomically(root / "recipe" / name, content)
    return root


def kept(folder: Path) -> dict[str, str]:
    """Digests of a run's files, but for its tracker's, which hold the time."""
    found = outputs(folder)
    assert [n for n in found if n.startswith("trackers/tensorboard/")]
    return {name: found[name] for name in found if not name.startswith("trackers/")}


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a launcher has started, the first one first."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return sorted(int(number) for number in text.split())


@pytest.mark.parametrize(("kind", "count", "method", "kills"), CASES)
def test_killed_with_everything_on(
    kind: str, count: int, method: str, kills: int, tmp_path: Path
) -> None:
    """A random process each time; nothing of it stays but its checkpoint."""
    root = place(tmp_path / "root", kind, count, method, **EVERYTHING)
    trained(root, tmp_path / "a")
    wanted = kept(tmp_path / "a")
    chance = random.Random(f"{kind} {count}")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for turn in range(kills):
        process = start(root, tmp_path / "b", TMPDIR=str(scratch))
        step = chance.randrange(4 + 5 * turn, 9 + 5 * turn)
        wait_for(process, f"step {step:>2}/{STEPS}")
        processes = children(process)
        assert len(processes) == count
        victim = chance.randrange(count)
        started = time.monotonic()
        os.kill(processes[victim], signal.SIGKILL)
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 137, said
        assert said.endswith(
            f"error: process {victim} was killed\n"
            "  hint: usually for memory: lower training.micro_batch_size, or give it more\n"
        ), said
        assert "Traceback" not in said
        assert time.monotonic() - started < 60
        assert not any(Path(f"/proc/{number}").exists() for number in processes)
        assert list(scratch.iterdir()) == []
    done = run("train", root, tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    assert kept(tmp_path / "b") == wanted
    assert not (tmp_path / "b/checkpoint").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(kind: str, number: signal.Signals, tmp_path: Path) -> None:
    """Whoever asks the launcher asks all; they stop at one step and say so once."""
    training = {**EVERYTHING, "checkpoint_every": 1000}
    root = place(tmp_path / "root", kind, 3, "full", **training)
    trained(root, tmp_path / "a")
    process = start(root, tmp_path / "b")
    wait_for(process, f"step  7/{STEPS}")
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + number, said
    assert said.count("error: ") == said.count(f"error: stopped by {number.name}\n") == 1, said
    trained(root, tmp_path / "b")
    assert kept(tmp_path / "a") == kept(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_torchrun_starts_them(kind: str, tmp_path: Path) -> None:
    root = place(tmp_path / "root", kind, 2, "full", steps=6, checkpoint_every=2)
    wanted = trained(root, tmp_path / "a")
    words = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port()))
    more = {"GLOO_SOCKET_IFNAME": "lo"}
    process = start(root, tmp_path / "b", *words, "-m", "recipec_runtime", "train", **more)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert outputs(tmp_path / "b") == wanted


SOON = """
import datetime, sys
from recipec_runtime import launch, together
together.PATIENCE = datetime.timedelta(seconds=3)
sys.exit(launch.main(["train"]))
"""
"""The runtime, but for its patience."""


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def alone(root: Path, output: Path, rank: int, at: int) -> tuple[int, str]:
    """One of two processes, as torchrun would start it: its exit code, and what it said."""
    pinned = pin.required(contract.parse((root / "recipe/run.json").read_bytes()))
    place_of_it = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": "0"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(at)}
    done = subprocess.run(
        [sys.executable, "-c", SOON],
        env={**environment(root, output), **pinned, **place_of_it, **meeting},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1], ids=["the others", "the master"])
def test_who_never_comes(rank: int, tmp_path: Path) -> None:
    """The service should start all again: the exit code is that of SIGTERM."""
    root = place(tmp_path / "root", "ddp", 2, "full")
    code, said = alone(root, tmp_path / "out", rank, port())
    assert code == 143, said
    assert said.startswith("error: not all processes of the run have come: "), said
    assert said.endswith(
        "\n  hint: start as many machines as the recipe has; each must reach the first one's port\n"
    )
    assert said.count("\n") == 2


@pytest.mark.slow
def test_a_port_in_use(tmp_path: Path) -> None:
    root = place(tmp_path / "root", "ddp", 2, "full")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        code, said = alone(root, tmp_path / "out", 0, taken.getsockname()[1])
    assert code == 3, said
    assert said.startswith("error: the port at which the processes meet is in use: "), said
    assert said.count("\n") == 2
