"""A platform takes the machine away: what is kept where, and with which exit code a run ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.cells import place_cell
from tests.support.settings import outputs
from tests.support.training import environment, run, start, wait_for

TRAINING = {"log_every": 1, "checkpoint_every": 1000, "evaluate_every": 5}


def test_another_machine_goes_on_from_the_platform_s_folder(tmp_path: Path) -> None:
    root = place_cell(tmp_path / "root", "causal-lm", "lora", "llama", training=TRAINING)
    saved, bucket = tmp_path / "saved", tmp_path / "bucket/run"
    on: dict[str, Any] = {
        "RECIPEC_CHECKPOINTS": str(saved),
        "RECIPEC_COLLECT": str(bucket),
    }
    done = run("train", root, tmp_path / "a", **on)
    assert done.returncode == 0, done.stderr
    wanted = outputs(tmp_path / "a")
    assert outputs(bucket) == wanted
    assert [path for path in saved.rglob("*") if path.is_file()] == []

    (bucket / "receipt.json").unlink()
    process = start(root, tmp_path / "b", **on)
    wait_for(process, "step  7/20")
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1].count("error: stopped by SIGTERM\n") == 1
    assert process.returncode == 143
    assert [path.name for path in saved.rglob("*") if path.is_file()] == ["state.pt"]
    assert not (bucket / "receipt.json").exists()

    done = run("train", root, tmp_path / "c", **on)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    assert outputs(tmp_path / "c") == outputs(bucket) == wanted
    assert [path for path in saved.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("words", "more", "code", "message"),
    [
        (
            ["train", "--learning_rate=0.1"],
            {},
            2,
            "usage: python -m recipec_runtime train|evaluate\n"
            "  hint: the recipe's settings are in the image; arguments do not change them\n",
        ),
        (
            ["train"],
            {"RECIPEC_ENGINE": "kubernets"},
            3,
            "error: RECIPEC_ENGINE is kubernets, which is no platform that recipec knows\n"
            "  hint: did you mean kubernetes?\n",
        ),
        (
            ["train"],
            {"RECIPEC_ENGINE": "vm", "RECIPEC_NODES": "2", "RECIPEC_NODE_RANK": "1"},
            3,
            "error: there are 2 processes on 2 machines, of which this is number 1, and the recipe"
            " was compiled for 1\n"
            "  hint: the number of processes changes the bytes; start as many as run.json says\n",
        ),
        (
            ["train"],
            {"RECIPEC_ENGINE": "azureml"},
            3,
            "error: nothing would be kept: none of AZURE_ML_OUTPUT_trained, RECIPEC_COLLECT and"
            " RECIPEC_OUTPUT is set\n"
            "  hint: on Vertex AI give the job a baseOutputDirectory, on Azure ML an output"
            " `trained`; or name a mounted folder in RECIPEC_COLLECT\n",
        ),
    ],
    ids=["arguments", "platform", "machines", "folders"],
)
def test_what_a_job_cannot_have(
    words: list[str], more: dict[str, str], code: int, message: str, tmp_path: Path
) -> None:
    """Before anything is trained, or torch imported; nothing but the message is printed."""
    root = place_cell(tmp_path / "root", "causal-lm", "lora", "llama")
    variables = environment(root, tmp_path / "out", **more)
    if more.get("RECIPEC_ENGINE") == "azureml":
        del variables["RECIPEC_OUTPUT"]
    done = subprocess.run(
        [sys.executable, "-m", "recipec_runtime", *words],
        env=variables,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines(keepends=True)
    said = "".join(line for line in lines if not line.startswith("Plain machine"))
    assert (done.returncode, said) == (code, message)


EXEC = """
import os, signal, sys
from recipec_runtime import stop
from recipec_runtime.errors import Stopped
if sys.argv[1:] == ["again"]:
    try:
        stop.install()
    except Stopped as stopped:
        sys.exit(stopped.number)
    sys.exit("the signal is lost")
with stop.held():
    os.kill(os.getpid(), signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, "-c", sys.stdin.read(), "again"])
"""


def test_a_signal_between_two_programs_is_not_lost(tmp_path: Path) -> None:
    """A container's first process ignores what it has no handler for: SIGTERM would do nothing."""
    done = subprocess.run(
        [sys.executable, "-c", EXEC],
        input=EXEC,
        env=environment(tmp_path, tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (signal.SIGTERM, "")
