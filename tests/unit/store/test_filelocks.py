"""Locks between processes: who waits, who does not, and what a killed process leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks
from recipec.filelocks import Taken, hold

HOLDER = """
import sys, time
from pathlib import Path
from recipec.filelocks import hold
with hold(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def other_process(file: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file), how], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("theirs", "shared", "free"),
    [
        ("shared", True, True),
        ("shared", False, False),
        ("alone", True, False),
        ("alone", False, False),
    ],
)
def test_who_may_hold_it_beside_whom(tmp_path: Path, theirs: str, shared: bool, free: bool) -> None:
    file = tmp_path / "locks" / "a.lock"
    with other_process(file, theirs):
        try:
            with hold(file, shared=shared, wait=False):
                assert free
        except Taken:
            assert not free


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    with other_process(file, "alone") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with hold(file, wait=False):
            pass


def test_who_waits_goes_on_when_the_other_is_done(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    order: list[str] = []
    began = threading.Event()

    def second() -> None:
        began.set()
        with hold(file):
            order.append("second")

    with hold(file):
        waiting = threading.Thread(target=second)
        waiting.start()
        began.wait()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_a_file_that_its_holder_removed_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    inside = threading.Event()

    def second() -> None:
        with hold(file):
            with pytest.raises(Taken), hold(file, wait=False):
                pass
            inside.set()

    with hold(file):
        waiting = threading.Thread(target=second)
        waiting.start()
        file.unlink()
    waiting.join()
    assert inside.is_set()
    assert file.exists()


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold(tmp_path / "a.lock"):
        raise KeyError
    with hold(tmp_path / "a.lock", wait=False):
        pass


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentLacks), hold(tmp_path / "file" / "a.lock"):
        pass
    with pytest.raises(EnvironmentLacks), hold(tmp_path):
        pass
