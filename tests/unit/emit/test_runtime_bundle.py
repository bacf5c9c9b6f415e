"""The runtime's files are read, never imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recipec.emit.runtime import FOR_GPUS, FOR_MANY, runtime_bundle

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("device", "world_size", "left_out"),
    [
        ("cpu", 1, (*FOR_GPUS, *FOR_MANY)),
        ("cuda", 1, FOR_MANY),
        ("cpu", 2, FOR_GPUS),
        ("cuda", 16, ()),
    ],
)
def test_every_module_that_the_run_needs_is_there(
    device: str, world_size: int, left_out: tuple[str, ...]
) -> None:
    folder = PROJECT / "runtime" / "recipec_runtime"
    every = {f"recipec_runtime/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
    wanted = {name: every[name] for name in every if Path(name).name not in left_out}
    assert dict(runtime_bundle(device, world_size)) == wanted
    assert "recipec_runtime/__main__.py" in wanted
    assert len(wanted) == len(every) - len(left_out)


@pytest.mark.parametrize("world_size", [1, 2])
def test_without_the_modules_of_others_the_rest_can_be_imported(
    world_size: int, tmp_path: Path
) -> None:
    for name, data in runtime_bundle("cpu", world_size):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    names = sorted(path.stem for path in (tmp_path / "recipec_runtime").glob("[!_]*.py"))
    program = "".join(f"import recipec_runtime.{name}\n" for name in names)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_imported_for_it() -> None:
    program = (
        "import sys; from recipec.emit.runtime import runtime_bundle; runtime_bundle();"
        "import recipec.emit.script;"
        "print([m for m in ('recipec_runtime', 'torch', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
