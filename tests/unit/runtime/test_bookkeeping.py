"""Order, history, outputs and progress: the runtime's parts that need no model."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from recipec_runtime import contract, files, inputs, outputs, pin, ranks
from recipec_runtime.data import batches, epoch_order
from recipec_runtime.errors import (
    EnvironmentLacks,
    GateFailed,
    HashMismatch,
)
from recipec_runtime.history import History
from recipec_runtime.progress import Progress, clock


def plain(**more: object) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "legal-t5",
        "reproducibility": "portable",
        "hardware_class": "cpu-x86-64-v3-portable",
        "threads": 1,
        "world_size": 1,
        "environment": {"MKL_CBWR": "COMPATIBLE"},
        "scripts": {"train": "recipe/train.py"},
        "inputs": [{"path": "data/train.jsonl", "sha256": "sha256:" + "0" * 64, "size": 1}],
        "gates": {"at_least": {"rougeL": 0.4}, "at_most": {"loss": 3.0}},
        **more,
    }


def spec(**more: object) -> contract.RunFile:
    return contract.parse(json.dumps(plain(**more)).encode())


def test_the_order_never_changes() -> None:
    """Committed orders: another one would change the bytes of every recipe."""
    assert epoch_order(7, 0, 10) == (3, 7, 2, 6, 4, 5, 8, 0, 9, 1)
    assert epoch_order(7, 1, 10) == (5, 8, 7, 0, 1, 2, 6, 9, 4, 3)
    assert sorted(epoch_order(0, 3, 1000)) == list(range(1000))
    assert epoch_order(1, 0, 0) == ()


def test_batches() -> None:
    assert [list(some) for some in batches(range(5), 2)] == [[0, 1], [2, 3], [4]]


def test_a_history_goes_on_from_its_checkpoint_s_copy(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.start()
    history.add({"step": 0, "validation": {"loss": 2.0}})
    history.add({"step": 5, "loss": 1.5, "learning_rate": 0.1, "grad_norm": 1.0})
    text = history.text
    before = (tmp_path / "history.jsonl").read_bytes()
    history.add({"step": 10, "loss": 1.0, "learning_rate": 0.1, "grad_norm": 1.0})

    (tmp_path / "history.jsonl").unlink()  # as DVC does before it runs a stage again
    again = History(tmp_path)
    again.start(text)
    assert (tmp_path / "history.jsonl").read_bytes() == before
    assert [row["step"] for row in again.rows] == [0, 5]
    assert again.to_csv() == (
        b"step,loss,learning_rate,grad_norm,validation_loss\n0,,,,2.0\n5,1.5,0.1,1.0,\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "run.json cannot be read: JSONDecodeError: "),
        (b"[]", "run.json cannot be read: TypeError: "),
        (b"{}", "run.json cannot be read: KeyError: 'version'"),
        (b'{"version": 2}', "run.json has version 2; this runtime reads version 1"),
    ],
)
def test_a_contract_that_cannot_be_read(text: bytes, message: str) -> None:
    with pytest.raises(EnvironmentLacks) as found:
        contract.parse(text)
    assert found.value.message.startswith(message)
    assert found.value.exit_code == 3


def test_the_environment_is_pinned_and_strangers_go() -> None:
    given = {"PATH": "/bin", "MKL_NUM_THREADS": "8", "OMP_NUM_THREADS": "8", "PYTHONHASHSEED": "5"}
    assert pin.pinned(given, spec()) == {
        "PATH": "/bin",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HF_HUB_OFFLINE": "1",
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def test_a_cpu_without_avx2(tmp_path: Path) -> None:
    old = tmp_path / "cpuinfo"
    old.write_text("model name : old\nflags : fpu avx bmi1 bmi2 f16c movbe\n")
    with pytest.raises(EnvironmentLacks) as found:
        pin.check_cpu(spec(), old)
    assert found.value.message == "this CPU lacks avx2, fma: a portable run needs x86-64-v3"
    pin.check_cpu(spec(reproducibility="bitwise"), old)


def test_ranks() -> None:
    assert ranks.read({}, world_size=1) == ranks.Ranks()
    found = ranks.read({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, world_size=2)
    assert found == ranks.Ranks(world_size=2, rank=1, local_rank=1)
    with pytest.raises(EnvironmentLacks, match="compiled for 2"):
        ranks.read({}, world_size=2)
    with pytest.raises(
        EnvironmentLacks, match="WORLD_SIZE is 'two', and must be a whole number from 1 on"
    ):
        ranks.read({"WORLD_SIZE": "two"}, world_size=2)


def test_inputs(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(HashMismatch, match="found    no such file"):
        inputs.verify(tmp_path, spec().inputs)
    (tmp_path / "data" / "train.jsonl").write_bytes(b"x")
    digest = "sha256:" + hashlib.sha256(b"x").hexdigest()
    with pytest.raises(HashMismatch, match=f"found    {digest}"):
        inputs.verify(tmp_path, spec().inputs)
    good = contract.Input(path="data/train.jsonl", sha256=digest, size=1)
    inputs.verify(tmp_path, [good])


def test_gates() -> None:
    outputs.check_gates(spec(), "test", {"rougeL": 0.4, "loss": 3.0})
    with pytest.raises(GateFailed) as found:
        outputs.check_gates(spec(), "test", {"loss": 3.000001})
    assert found.value.message == (
        "a gate does not hold: test rougeL is None, and the recipe asks for at least 0.4;"
        " test loss is 3.000001, and the recipe asks for at most 3.0"
    )
    assert found.value.exit_code == 5


def test_safetensors_metadata_is_sorted_in_place(tmp_path: Path) -> None:
    header = b'{"__metadata__":{"format":"pt","a":"b"},"w":{"dtype":"F32"}}   '
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"tensors")
    outputs.sort_metadata(path)
    wanted = b'{"__metadata__":{"a":"b","format":"pt"},"w":{"dtype":"F32"}}   '
    assert path.read_bytes() == len(header).to_bytes(8, "little") + wanted + b"tensors"


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def halfway() -> None:
        with files.new_folder(tmp_path / "model") as part:
            (part / "a").write_text("x")
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        halfway()
    assert not (tmp_path / "model").exists()
    with files.new_folder(tmp_path / "model") as part:
        (part / "b").write_text("x")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match=r"cannot write .*No such file or directory"):
        files.write(tmp_path / "no" / "x", b"")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_in_place_on_a_terminal_and_in_lines_elsewhere() -> None:
    lines = io.StringIO()
    progress = Progress(20, 0, lines)
    progress.step(1, 2.5, 8, line=False)
    assert lines.getvalue() == ""
    progress.step(5, 2.25, 8, line=True)
    assert lines.getvalue().startswith("step  5/20 · loss 2.2500 · ")
    assert lines.getvalue().endswith(" left\n")

    screen = Terminal()
    progress = Progress(2, 0, screen)
    progress.step(1, 2.5, 8, line=False)
    progress.step(2, 2.5, 8, line=False)
    assert screen.getvalue().count("\r\x1b[2K") == 2
    assert screen.getvalue().count("\n") == 1


def test_clock() -> None:
    assert [clock(s) for s in (0.4, 67, 3723)] == ["0:00", "1:07", "1:02:03"]
