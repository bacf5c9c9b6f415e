"""SkyPilot: its own program and its own API server, which has no cloud to launch anything on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recipec.clients.send.call import Refused, Work
from recipec.clients.send.make import sender_of
from recipec.clients.send.skypilot import LOGIN
from recipec.errors import EnvironmentLacks
from tests.support.jobs import cases, job, only_document
from tests.support.submitting import submit, work


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server that `sky` starts when it needs one, with a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("SKYPILOT_API_SERVER_ENDPOINT", raising=False)
        yield
        subprocess.run([Path(sys.executable).with_name("sky"), "api", "stop"], check=False)


def task(folder: Path) -> Work:
    path = folder / "skypilot.yaml"
    path.write_bytes(only_document(job("skypilot", cases("skypilot")["cpu"])))
    return replace(work("skypilot", cases("skypilot")["cpu"]), path=str(path))


def test_a_server_without_a_cloud_says_so(tmp_path: Path) -> None:
    one = task(tmp_path)
    with pytest.raises(Refused) as raised:
        submit(one)
    assert raised.value.message.startswith("SkyPilot refuses the job: ")
    assert "no cloud storage is available" in raised.value.message
    assert raised.value.hint == LOGIN
    (call,) = sender_of("skypilot").calls(one)
    assert call.parameters is one.document


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYPILOT_API_SERVER_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(EnvironmentLacks, match=r"cannot be reached at http://127\.0\.0\.1:1"):
        submit(task(tmp_path))


def test_a_task_that_it_does_not_take(tmp_path: Path) -> None:
    one = task(tmp_path)
    text = Path(one.path).read_text()
    Path(one.path).write_text(text.replace("num_nodes:", "num_node:"))
    with pytest.raises(Refused, match="num_node"):
        submit(one)
