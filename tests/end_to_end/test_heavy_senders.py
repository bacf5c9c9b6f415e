"""Jobs for Google's and Microsoft's services are sent by clients in environments of their own.

Each environment is made as `recipec[EXTRA]` would be; the tests in tests/senders run there.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.test_heavy_clients import environment_with, extra
from tests.support.projects import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.mark.parametrize(("name", "least"), [("google", 25), ("azure", 28), ("skypilot", 3)])
def test_jobs_are_sent(name: str, least: int, tmp_path: Path) -> None:
    packages = extra({"google": "gcp"}.get(name, name))
    python = environment_with(packages, tmp_path / "venv")
    path = os.pathsep.join(str(ROOT / part) for part in (".", "compiler", "runtime", "templates"))
    done = subprocess.run(
        [python, "-m", "pytest", "-o", "addopts=", "-p", "no:xdist", "-q", f"{name}_cases.py"],
        cwd=ROOT / "tests/senders",
        env={**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= least
