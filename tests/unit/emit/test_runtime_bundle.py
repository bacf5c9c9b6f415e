"""The runtime's files are read, never imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from recipec.emit.runtime import runtime_bundle

PROJECT = Path(__file__).parents[3]


def test_every_module_is_there() -> None:
    folder = PROJECT / "runtime" / "recipec_runtime"
    wanted = {f"recipec_runtime/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
    assert dict(runtime_bundle()) == wanted
    assert "recipec_runtime/__main__.py" in wanted


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
