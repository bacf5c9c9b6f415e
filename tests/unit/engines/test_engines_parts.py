"""Stop signals, container names, ownership, the choice of an engine, the host engine."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recipec.engines import containers, host, isolation, select
from recipec.engines.docker import DockerEngine
from recipec.engines.engine import full_environment, read_config
from recipec.engines.job import Job, Mount
from recipec.engines.ownership import lent
from recipec.engines.sandbox import SandboxEngine
from recipec.engines.stopping import Stopping
from recipec.engines.union import Step
from recipec.errors import EnvironmentLacks, UsageError
from recipec.store import Store
from tests.support.images import make_image, make_layer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def job(store: Store, tmp_path: Path) -> Job:
    return Job(
        image=make_image(store, [make_layer(store, "one", {"a": b""})]),
        reference="registry.example/tests/one:latest",
        command=("train",),
        environment=(("FROM_IMAGE", "changed"), ("RECIPEC_RUN_ID", "r")),
        mounts=(Mount(host=tmp_path / "out", container="/out", read_only=False),),
    )


class Recorder:
    """Keeps what was sent and tells a waiting test."""

    def __init__(self) -> None:
        self.events: queue.Queue[int] = queue.Queue()

    def send(self, number: int) -> None:
        self.events.put(number)

    def kill(self) -> None:
        self.events.put(signal.SIGKILL)

    def next(self) -> int:
        return self.events.get(timeout=10)


def test_the_first_signal_is_sent_and_the_second_ctrl_c_kills() -> None:
    seen = Recorder()
    before = signal.getsignal(signal.SIGINT)
    with Stopping(send=seen.send, kill=seen.kill) as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen.next() == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        assert seen.events.empty()
        os.kill(os.getpid(), signal.SIGINT)
        assert seen.next() == signal.SIGKILL
    assert stopping.stopped_by == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is before


def test_the_grace_ends_with_a_kill() -> None:
    seen = Recorder()
    with Stopping(send=seen.send, kill=seen.kill, grace=0.1):
        os.kill(os.getpid(), signal.SIGINT)
        assert (seen.next(), seen.next()) == (signal.SIGINT, signal.SIGKILL)
        time.sleep(0.3)
        assert seen.events.empty()


def test_another_thread_can_wait_too() -> None:
    failures: list[BaseException] = []

    def one() -> None:
        try:
            with Stopping(send=lambda _: None, kill=lambda: None):
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=one)
    thread.start()
    thread.join()
    assert failures == []


def test_config_and_environment(store: Store, job: Job) -> None:
    config = read_config(job.image, store)
    assert (config.uid, config.gid, config.folder) == (65532, 65532, "/out")
    assert config.entrypoint == ("/usr/bin/bash", "-c")
    assert full_environment(config, job, "sandbox") == {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "FROM_IMAGE": "changed",
        "RECIPEC_RUN_ID": "r",
        "RECIPEC_ENGINE": "sandbox",
    }


def test_a_container_name_follows_from_what_runs_and_where(job: Job, tmp_path: Path) -> None:
    name = containers.container_name(job)
    assert name == containers.container_name(job)
    assert len(name) == len("recipec-") + 24
    elsewhere = (Mount(host=tmp_path / "other", container="/out", read_only=False),)
    for changed in ({"command": ("evaluate",)}, {"mounts": elsewhere}):
        other = Job(**{**vars(job), **changed})
        assert containers.container_name(other) != name


def test_an_owner_is_told_from_a_later_process_with_its_number() -> None:
    label = containers.owner_label()
    with pytest.raises(EnvironmentLacks) as error:
        containers.refuse_if_owned("recipec-x", label)
    assert error.value.message == (
        f"this run is already under way: container recipec-x, started by process {os.getpid()}"
    )
    boot, pid, started = label.split()
    for gone in ("", f"{boot} {pid} {int(started) + 1}", f"other {pid} {started}", "a b c"):
        containers.refuse_if_owned("recipec-x", gone)


def test_lending_makes_the_output_folder_and_takes_set_id_bits(job: Job, tmp_path: Path) -> None:
    with lent(job, None):
        made = tmp_path / "out/tool"
        made.touch()
        made.chmod(0o6755)
    assert made.stat().st_mode & 0o7777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_lends_and_takes_back(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "model").mkdir(parents=True)
    (folder / "outside").symlink_to("/etc/passwd")
    with lent(job, (65532, 65532)):
        assert (folder / "model").stat().st_uid == 65532
        assert (folder / "outside").lstat().st_uid == 65532
        assert Path("/etc/passwd").stat().st_uid == 0
        (folder / "model/weights").touch()
        os.chown(folder / "model/weights", 65532, 65532)
    assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {os.geteuid()}


def test_an_output_folder_that_cannot_be(job: Job, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(EnvironmentLacks, match="cannot write to"), lent(job, None):
        pass


def test_unknown_engines_are_refused_by_name(store: Store) -> None:
    with pytest.raises(UsageError) as error:
        select.pick("dokcer", store)
    assert error.value.message == "no engine is called 'dokcer'"
    assert error.value.hint == "the engines are auto, docker, podman, sandbox, host"


def test_no_engine_names_each_and_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EnvironmentLacks) as error:
        select.pick("auto", store)
    first, docker, podman, sandbox = error.value.message.splitlines()
    assert first == "no engine can run the image here"
    assert docker.startswith("  docker: no docker daemon answers (")
    assert docker.endswith("): install docker and start it")
    assert podman == "  podman: podman is not installed: `apt install podman uidmap`"
    assert sandbox.startswith("  sandbox: bwrap is not installed; unshare is not installed: ")
    assert "install bubblewrap" in sandbox
    with pytest.raises(EnvironmentLacks, match="the engine podman cannot run here: podman is not"):
        select.pick("podman", store)


def test_auto_falls_to_the_sandbox_and_never_to_the_host(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "host" not in select.AUTOMATIC
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "unshare").symlink_to("/usr/bin/unshare")
    monkeypatch.setenv("PATH", str(tools))
    engine = select.pick("auto", store)
    assert engine.name == "sandbox"
    assert isinstance(engine, SandboxEngine)


def test_docker_without_a_daemon_is_quick(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    DockerEngine(store).check()  # the first call imports the SDK
    began = time.monotonic()
    assert DockerEngine(store).check() is not None
    assert time.monotonic() - began < 0.5


def test_a_broken_runner_is_not_taken_for_a_working_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in (("bwrap", "echo no namespaces >&2; exit 1"), ("unshare", "exit 1")):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{text}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert isolation.probe("bwrap") == "bwrap cannot isolate a process here: no namespaces"
    assert isolation.probe("unshare") == (
        "unshare cannot isolate a process here: unshare could not start the process: no namespaces"
    )


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    plan = isolation.Plan(
        steps=tuple(Step(kind="folder", path=place) for place in isolation.PLACES),
        mounts=(),
        command=("/no/such/program",),
        environment=(),
        folder="/",
        uid=65532,
        gid=65532,
    )
    for method in ("bwrap", "unshare"):
        with (tmp_path / "output").open("wb") as output, pytest.raises(EnvironmentLacks) as error:
            isolation.start(plan, method, output=output.fileno()).wait()
        text = error.value.message + (tmp_path / "output").read_text()
        assert "/no/such/program" in text
        assert "No such file or directory" in text


def test_the_host_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "NEEDED", ("json", "no_such_package"))
    assert host.HostEngine().check() == (
        f"this Python ({sys.executable}) has no no_such_package: `pip install no_such_package`"
    )


def test_the_host_runs_the_runtime_with_its_folders(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "path/recipec_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    names = ("RECIPEC_ROOT", "RECIPEC_OUTPUT", "RECIPEC_ENGINE", "RECIPEC_RUN_ID")
    (package / "__main__.py").write_text(
        f"import os, sys\nprint(sys.argv[1:], *[os.environ[n] for n in {names!r}])\nsys.exit(5)\n"
    )
    monkeypatch.setattr(host, "NEEDED", ("json",))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    engine = host.HostEngine()
    with pytest.raises(UsageError):
        engine.run(job)
    assert engine.run(Job(**{**vars(job), "host_root": tmp_path / "root"})) == 5
    printed = capfd.readouterr().err.split()
    assert printed == ["['train']", f"{tmp_path}/root", f"{tmp_path}/out", "host", "r"]


def test_checking_the_host_imports_no_torch() -> None:
    script = "import sys; from recipec.engines.host import HostEngine; HostEngine().check();"
    script += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n"
