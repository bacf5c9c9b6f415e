"""What a user's run does: trains, is killed, resumes, evaluates; always to the same bytes.

Every run is a process of its own, started as the host engine starts it. Models are tiny and random,
their tokenizers are trained on the spot; nothing is downloaded.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipec.plan.plan import Settings
from recipec_runtime import contract, pin
from tests.support.settings import CAUSAL, CLASSES, SUMMARY, outputs, place_recipe, vary
from tests.support.training import environment, place, read, run, start, trained, wait_for

LLAMA_LAYERS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
FAMILIES = {
    "t5": SUMMARY,
    "gpt2": CAUSAL,
    "llama": vary(CAUSAL, model__type="llama", method__target_modules=LLAMA_LAYERS),
    "bert": CLASSES,
    "roberta": vary(CLASSES, model__type="roberta"),
}
FAST = (("t5", "lora"), ("bert", "full"))
CELLS = [
    pytest.param(family, method, marks=[] if (family, method) in FAST else [pytest.mark.slow])
    for family in FAMILIES
    for method in ("lora", "full")
]

Roots = Callable[[str, Settings], Path]


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """Places a recipe beside a copy of its family's model and data."""
    return lambda _, settings: place(tmp_path / "root", settings)


def settings_of(family: str, method: str, **more: Any) -> Settings:
    return vary(FAMILIES[family], method__type=method, **more)


@pytest.mark.parametrize(("family", "method"), CELLS)
def test_every_cell_gives_the_same_bytes_twice(
    family: str, method: str, roots: Roots, tmp_path: Path
) -> None:
    root = roots(family, settings_of(family, method))
    first = trained(root, tmp_path / "a")
    other = tmp_path / "elsewhere"
    other.mkdir()
    second = trained(
        root,
        tmp_path / "b",
        cwd=other,
        umask=0o077,
        PYTHONHASHSEED="123",
        TZ="Asia/Kathmandu",
        LANG="tr_TR.UTF-8",
        OMP_NUM_THREADS="4",
        MKL_NUM_THREADS="4",
    )
    assert first == second
    weights = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert f"model/{weights}" in first

    metrics = read(tmp_path / "a" / "metrics.json")
    before, after = metrics["validation"]["before"], metrics["validation"]["after"]
    assert set(before) == {"loss", *settings_of(family, method).evaluation.metrics}
    assert after["loss"] < before["loss"]

    receipt = read(tmp_path / "a" / "receipt.json")
    skip = {"receipt.json"}
    assert receipt["outputs"] == {name: d for name, d in first.items() if name not in skip}
    assert receipt["reproducible"] is False, "the host engine's bytes are its own"

    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    measured = read(tmp_path / "e" / "metrics.json")["test"]
    assert measured["tuned"]["loss"] < measured["untuned"]["loss"]
    assert len((tmp_path / "e" / "predictions.jsonl").read_text().splitlines()) == 8
    assert read(tmp_path / "e" / "receipt.json")["trained"] == {
        name: digest for name, digest in first.items() if name.startswith("model/")
    }


@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_at_three_random_steps(method: str, roots: Roots, tmp_path: Path) -> None:
    root = roots("t5", settings_of("t5", method, training__log_every=1))
    wanted = trained(root, tmp_path / "a")
    for step in random.Random(method).sample(range(4, 20), 3):
        process = start(root, tmp_path / "b")
        wait_for(process, f"step {step:>2}/20")
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "b" / "receipt.json").exists()
        done = run("train", root, tmp_path / "b")
        assert "resumed at step" in done.stderr
        assert outputs(tmp_path / "b") == wanted


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_stops_at_the_next_step(
    number: signal.Signals, code: int, roots: Roots, tmp_path: Path
) -> None:
    settings = settings_of(
        "t5", "lora", training__log_every=1, training__accumulation=2, training__micro_batch_size=4
    )
    settings = vary(settings, training__checkpoint_every=1000)
    root = roots("t5", settings)
    wanted = trained(root, tmp_path / "a")
    process = start(root, tmp_path / "b")
    wait_for(process, "step  6/20")
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code
    assert f"error: stopped by {number.name}\n  hint: run the same command again" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "b" / "checkpoint" / "state.pt").is_file()
    assert trained(root, tmp_path / "b") == wanted


KILLER = """
import os, signal, sys
from recipec_runtime import data, files, launch

kind, number = sys.argv[1].split(":")
seen = 0

def strike(*_):
    global seen
    seen += 1
    if seen == int(number):
        os.kill(os.getpid(), signal.SIGKILL)

if kind == "fsync":           # the bytes are written, the name is not there yet
    real = os.fsync
    os.fsync = lambda handle: (strike(), real(handle))
elif kind == "write":         # half of a checkpoint is written
    real_with = files.write_with
    def halved(path, fill):
        def half(stream):
            fill(stream)
            stream.truncate(stream.tell() // 2)
            stream.flush()
            strike()
            stream.seek(0)
            fill(stream)
        real_with(path, half)
    files.write_with = halved
else:                         # in the middle of an evaluation
    real_batches = data.batches
    def batches(rows, size):
        for some in real_batches(rows, size):
            strike()
            yield some
    data.batches = batches
raise SystemExit(launch.main(["train"]))
"""

# With 20 steps and a checkpoint every 3 there are 11 checkpoints; each syncs its file and folder.
# Then come the model's files, and at the end history.csv, metrics, machine and receipt.
MOMENTS = ("fsync:2", "write:5", "batches:3", "fsync:27")
MORE_MOMENTS = (
    *("fsync:1", "fsync:3", "fsync:12", "fsync:23", "fsync:25", "fsync:31", "fsync:35"),
    *("write:1", "write:11", "write:12", "write:14", "batches:1", "batches:6"),
)


@pytest.mark.parametrize(
    "moments", [MOMENTS, pytest.param(MORE_MOMENTS, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_killed_while_writing_measuring_and_saving(
    moments: tuple[str, ...], roots: Roots, tmp_path: Path
) -> None:
    settings = settings_of("gpt2", "full", evaluation__batch_size=8)
    root = roots("gpt2", settings)
    wanted = trained(root, tmp_path / "a")
    spec = contract.parse((root / "recipe" / "run.json").read_bytes())
    for moment in moments:
        process = start(root, tmp_path / "b", "-c", KILLER, moment, **pin.required(spec))
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, f"{moment}: {errors}"
        done = run("train", root, tmp_path / "b")
        assert done.returncode == 0, done.stderr
        assert outputs(tmp_path / "b") == wanted, moment
        shutil.rmtree(tmp_path / "b")


def test_a_changed_recipe_ignores_the_checkpoint(roots: Roots, tmp_path: Path) -> None:
    root = roots("gpt2", settings_of("gpt2", "full", training__log_every=1))
    process = start(root, tmp_path / "b")
    wait_for(process, "step  8/20")
    process.kill()
    process.wait()
    changed = settings_of("gpt2", "full", training__log_every=1, training__learning_rate=5e-3)
    place_recipe(root, changed)
    done = run("train", root, tmp_path / "b")
    assert done.returncode == 0
    assert (
        "note: the checkpoint belongs to another recipe, image or version; training starts at"
        " step 0" in done.stderr
    )
    assert outputs(tmp_path / "b") == trained(root, tmp_path / "a")


@pytest.mark.parametrize("name", ["data/train.jsonl", "model/model.safetensors", "recipe/train.py"])
def test_one_wrong_byte(name: str, roots: Roots, tmp_path: Path) -> None:
    root = roots("gpt2", settings_of("gpt2", "lora"))
    inputs = {
        entry["path"]: entry["sha256"] for entry in read(root / "recipe" / "run.json")["inputs"]
    }
    data = bytearray((root / name).read_bytes())
    data[len(data) // 2] ^= 1
    (root / name).write_bytes(data)
    done = run("train", root, tmp_path / "out")
    found = outputs(root)[name]
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {name} is not the file that the recipe was compiled for\n"
        f"  expected {inputs[name]}\n"
        f"  found    {found}\n"
        "  hint: nothing was written; put the file back, or build the recipe again to accept it\n"
    )
    assert not (tmp_path / "out").exists()


def test_gates(roots: Roots, tmp_path: Path) -> None:
    settings = settings_of(
        "bert",
        "full",
        evaluation__at_least=(("accuracy", 1.0),),
        evaluation__at_most=(("loss", 0.01),),
    )
    root = roots("bert", settings)
    trained(root, tmp_path / "a")
    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    numbers = read(tmp_path / "e" / "metrics.json")["test"]["tuned"]
    assert done.returncode == 5
    assert done.stderr == (
        f"error: a gate does not hold: test accuracy is {numbers['accuracy']}, and the recipe asks"
        f" for at least 1.0; test loss is {numbers['loss']}, and the recipe asks for at most 0.01\n"
        "  hint: metrics.json and predictions.jsonl are written; train longer or lower the gate\n"
    )
    assert (tmp_path / "e" / "predictions.jsonl").is_file()


def test_evaluate_refuses_a_changed_model(roots: Roots, tmp_path: Path) -> None:
    root = roots("gpt2", settings_of("gpt2", "lora"))
    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 4
    assert "there is no trained model with a receipt" in done.stderr
    trained(root, tmp_path / "a")
    with (tmp_path / "a" / "model" / "adapter_model.safetensors").open("ab") as stream:
        stream.write(b"x")
    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 4
    assert "error: model/adapter_model.safetensors is not the file" in done.stderr
    assert not (tmp_path / "e").exists()


def test_a_loss_that_is_not_finite(roots: Roots, tmp_path: Path) -> None:
    root = roots(
        "gpt2", settings_of("gpt2", "full", training__learning_rate=1e30, training__warmup_steps=0)
    )
    done = run("train", root, tmp_path / "out")
    assert done.returncode == 5
    assert "error: the loss is nan at step 2\n  hint: lower training.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk(roots: Roots, tmp_path: Path) -> None:
    root = roots("gpt2", settings_of("gpt2", "full"))

    def little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-m", "recipec_runtime", "train"],
        env=environment(root, tmp_path / "out"),
        preexec_fn=little_space,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert f"error: the disk is full: cannot write {tmp_path / 'out'}/checkpoint" in done.stderr
    assert not (tmp_path / "out" / "receipt.json").exists()


def test_what_the_environment_lacks(roots: Roots, tmp_path: Path) -> None:
    root = roots("gpt2", settings_of("gpt2", "lora"))
    done = run("train", root, tmp_path / "out", WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    assert done.returncode == 3
    assert done.stderr.startswith(
        "error: there are 2 processes, and the recipe was compiled for 1\n"
    )
    (tmp_path / "file").write_text("")
    done = run("train", root, tmp_path / "file")
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: cannot use the output folder {tmp_path / 'file'}")
    done = run("train", tmp_path / "nowhere", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("error: cannot read ")
    done = run("sing", root, tmp_path / "out")
    assert (done.returncode, done.stderr) == (
        2,
        "usage: python -m recipec_runtime train|evaluate\n"
        "  hint: the recipe's settings are in the image; arguments do not change them\n",
    )


def test_two_runs_do_not_share_a_folder(roots: Roots, tmp_path: Path) -> None:
    root = roots("gpt2", settings_of("gpt2", "lora", training__log_every=1))
    process = start(root, tmp_path / "out")
    wait_for(process, "step  1/20")
    process.send_signal(signal.SIGSTOP)  # twenty small steps are soon over
    try:
        done = run("train", root, tmp_path / "out")
    finally:
        process.send_signal(signal.SIGCONT)
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: another run is writing to {tmp_path / 'out'}\n")
    process.communicate()
    assert process.returncode == 0


def test_a_row_without_its_field(roots: Roots, tmp_path: Path) -> None:
    columns = (("text", '"); import os #'),)
    root = roots("gpt2", settings_of("gpt2", "lora", task__columns=columns))
    done = run("train", root, tmp_path / "out")
    assert done.returncode == 5
    # bitsandbytes, where it is installed beside peft, has a word of its own before
    assert done.stderr.endswith(
        "error: train.jsonl:1: the row has no field '\"); import os #'\n"
        "  hint: name the column under task.fields\n"
    )
