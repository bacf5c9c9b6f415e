"""The engines on this machine: isolation, ownership, signals, and what a kill leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recipec.engines.engine import Engine
from recipec.engines.job import Mount
from recipec.errors import EnvironmentLacks
from recipec.store import Store
from tests.support import run_job
from tests.support.daemons import docker_daemon, podman_storage
from tests.support.run_job import make_engine, make_job

pytestmark = pytest.mark.engine

ROOT = os.geteuid() == 0
SANDBOXES = ("bwrap", "unshare")
# dockerd cannot be started by others than root.
ENGINES = (*SANDBOXES, "podman", "docker") if ROOT else (*SANDBOXES, "podman")
ORDINARY = 51234
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def daemon() -> Iterator[str]:
    with docker_daemon() as address:
        yield address


@pytest.fixture(scope="session")
def storage() -> Iterator[str]:
    with podman_storage() as conf:
        yield conf


def use(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point docker at our own daemon, and podman at storage of its own; the name."""
    if name == "docker":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("daemon"))
    elif name == "podman":
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", request.getfixturevalue("storage"))
    return name


@pytest.fixture(params=ENGINES)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    return use(request.param, request, monkeypatch)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def engine(name: str, store: Store) -> Engine:
    return make_engine(name, store)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(engine: Engine, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a script; its exit code and what it printed."""

    def one(script: str, *mounts: Mount) -> tuple[int, str]:
        capfd.readouterr()
        code = engine.run(make_job(store, tmp_path / "out", script, *mounts))
        captured = capfd.readouterr()
        assert captured.out == ""
        return code, captured.err

    return one


def test_check_says_that_it_works_and_is_quick(engine: Engine) -> None:
    began = time.monotonic()
    assert engine.check() is None
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("code", [0, 1, 5, 77, 143])
def test_the_exit_code_is_returned_as_it_is(run: Run, code: int) -> None:
    assert run(f"exit {code}")[0] == code


def test_output_streams_to_stderr(run: Run) -> None:
    # Two streams: docker does not promise in which order they arrive.
    assert sorted(run("echo one; echo two >&2")[1].split()) == ["one", "two"]


def test_the_process_is_not_root_and_has_no_rights(run: Run) -> None:
    _, text = run("id -u; id -g; cat /proc/self/status")
    uid, gid = text.split()[:2]
    expected = ("65532", "65532") if ROOT else (str(os.getuid()), str(os.getgid()))
    assert (uid, gid) in {expected, ("65532", "65532")}
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[capabilities], 16) == 0
    assert fields["NoNewPrivs"] == "1"


def test_only_the_output_and_tmp_can_be_written(run: Run) -> None:
    places = "/x /opt/x /opt/recipec/recipe/x /usr/bin/x /etc/x /dev/x /out/x /tmp/x /dev/shm/x"
    _, text = run(f"for p in {places}; do (> $p) 2>/dev/null && echo $p; done; true")
    assert text.split() == ["/out/x", "/tmp/x", "/dev/shm/x"]


def test_kernel_settings_cannot_be_changed(run: Run) -> None:
    # Each would be written with the value that it has, so a failure changes nothing.
    script = (
        "for p in vm/swappiness kernel/pid_max kernel/core_pattern; do p=/proc/sys/$p; "
        'v=$(cat $p); (echo "$v" > $p) 2>/dev/null && echo wrote $p; done; true'
    )
    assert run(script) == (0, "")


def test_the_network_is_out_of_reach(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, _ = run(f"exec 3<>/dev/tcp/127.0.0.1/{port}")
        assert code != 0
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    _, text = run("cat /proc/net/dev")
    names = {line.partition(":")[0].strip() for line in text.splitlines() if ":" in line}
    assert names <= {"lo", "tunl0", "sit0", "ip6tnl0"}


def test_the_environment_is_the_images_and_the_jobs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "leaked")
    monkeypatch.setenv("HTTP_PROXY", "http://registry.example")
    _, text = run("/usr/bin/env")
    names = {line.partition("=")[0] for line in text.splitlines()}
    ours = {"PATH", "HOME", "FROM_IMAGE", "FROM_JOB", "RECIPEC_ENGINE"}
    # bash, docker and podman set these by themselves; none comes from the host.
    theirs = {"PWD", "SHLVL", "_", "HOSTNAME", "TERM", "container"}
    assert ours <= names <= ours | theirs
    assert "leaked" not in text


def test_files_and_processes_of_the_host_are_invisible(run: Run, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("x")
    _, text = run(f"ls / ; ls {REPOSITORY} {tmp_path} 2>/dev/null; ls -d /proc/[0-9]*")
    words = text.split()
    assert "private" not in words
    assert "recipec" not in words
    top = {"bin", "dev", "etc", "lib", "lib64", "opt", "out", "proc", "sys", "tmp", "trained"}
    assert {word for word in words if "/" not in word} - {"run"} == top | {"usr"}
    assert len([word for word in words if word.startswith("/proc/")]) <= 4


def test_output_belongs_to_the_caller(run: Run, tmp_path: Path) -> None:
    assert run("mkdir -p /out/a/b; echo x > /out/a/b/c; ln -s c /out/a/b/d")[0] == 0
    for path in (tmp_path / "out").rglob("*"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (os.getuid(), os.getgid())
    # What an earlier run wrote can be written again.
    assert run("echo y > /out/a/b/c")[0] == 0
    assert (tmp_path / "out/a/b/c").read_text() == "y\n"


def test_a_read_only_input_is_readable_even_if_private(run: Run, tmp_path: Path) -> None:
    trained = tmp_path / "trained folder"
    (trained / "model").mkdir(parents=True, mode=0o700)
    secret = trained / "model/weights"
    secret.write_text("weights")
    secret.chmod(0o600)
    mount = Mount(host=trained, container="/trained", read_only=True)
    code, text = run("cat /trained/model/weights; (> /trained/y) 2>/dev/null || exit 3", mount)
    assert (code, text) == (3, "weights")
    with pytest.raises(EnvironmentLacks, match="does not exist; it is needed at /trained"):
        run("true", Mount(host=tmp_path / "none", container="/trained", read_only=True))


def test_two_runs_of_one_image_differ_only_in_their_command(run: Run) -> None:
    assert run("echo a; exit 3") == (3, "a\n")
    assert run("echo b; exit 4") == (4, "b\n")


@pytest.mark.parametrize("method", SANDBOXES)
def test_set_user_id_bits_do_not_stay(method: str, store: Store, tmp_path: Path) -> None:
    job = make_job(store, tmp_path / "out", "> /out/x; /usr/bin/env chmod 4755 /out/x; true")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").touch()
    (tmp_path / "out/x").chmod(0o4755)
    assert make_engine(method, store).run(job) == 0
    assert (tmp_path / "out/x").stat().st_mode & 0o6000 == 0


# --- signals: the driver runs as a process of its own ---

TRAP = "trap 'echo {0} >> /out/got; exit {1}' {0}; > /out/ready; while :; do sleep 0.05; done"


def drive(
    name: str, store: Store, output: Path, script: str, *, grace: float = 20
) -> subprocess.Popen[bytes]:
    """Start the driver and wait until the script has written `ready`."""
    words = [name, str(store.root), str(output), script, str(grace)]
    process = subprocess.Popen(
        [sys.executable, run_job.__file__, *words],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (output / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            assert process.stderr is not None
            raise AssertionError(process.stderr.read().decode())
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_arrives_once_and_the_clean_stop_is_awaited(
    name: str, store: Store, tmp_path: Path, number: signal.Signals
) -> None:
    word = number.name.removeprefix("SIG")
    process = drive(name, store, tmp_path, TRAP.format(word, 128 + number))
    os.killpg(process.pid, number)  # as a terminal does: to everyone in the group
    assert process.wait(20) == 128 + number
    assert (tmp_path / "got").read_text() == f"{word}\n"


def test_a_second_ctrl_c_kills_at_once(name: str, store: Store, tmp_path: Path) -> None:
    script = "trap 'echo INT >> /out/got' INT; > /out/ready; while :; do sleep 0.05; done"
    process = drive(name, store, tmp_path, script)
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 10
    while not (tmp_path / "got").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 137
    assert (tmp_path / "got").read_text() == "INT\n"


def test_grace_ends(name: str, store: Store, tmp_path: Path) -> None:
    script = "trap '' TERM; > /out/ready; while :; do sleep 0.05; done"
    process = drive(name, store, tmp_path, script, grace=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 137


BEAT = "> /out/ready; while :; do echo x >> /out/beat; sleep 0.05; done"


def beats(folder: Path) -> bool:
    """Whether the script of `BEAT` still runs."""
    before = (folder / "beat").stat().st_size
    time.sleep(0.6)
    return (folder / "beat").stat().st_size > before


def interrupt_twice(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C twice; the kernel would merge two signals that come too close together."""
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 137


def test_after_kill_9_nothing_runs_on_or_the_next_run_clears_it(
    name: str, store: Store, tmp_path: Path
) -> None:
    process = drive(name, store, tmp_path, BEAT)
    process.kill()
    process.wait()
    time.sleep(0.5)
    if name in SANDBOXES:
        assert not beats(tmp_path)
        return
    assert beats(tmp_path)
    (tmp_path / "ready").unlink()
    again = drive(name, store, tmp_path, BEAT)  # the same run removes what was left
    interrupt_twice(again)
    assert not beats(tmp_path)


@pytest.mark.parametrize("container", [n for n in ENGINES if n not in SANDBOXES])
def test_a_run_under_way_is_refused(
    container: str,
    store: Store,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(container, request, monkeypatch)
    process = drive(container, store, tmp_path, BEAT)
    try:
        with pytest.raises(EnvironmentLacks) as error:
            make_engine(container, store).run(make_job(store, tmp_path, BEAT))
        assert f"started by process {process.pid}" in error.value.message
        assert error.value.hint == f"wait for it, or stop it with `kill -INT {process.pid}`"
        assert beats(tmp_path)
    finally:
        interrupt_twice(process)


# --- an ordinary user ---


def ordinary(command: list[str]) -> list[str]:
    """`command` as an uid that owns nothing, without any of root's environment."""
    ids = ["--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups"]
    return ["setpriv", *ids, "env", "-i", *command]


def ordinary_python() -> list[str]:
    """An interpreter that an ordinary uid may run, with this one's packages."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for program in (sys.executable, f"/usr/bin/{version}"):
        path = ":".join([str(REPOSITORY / "compiler"), *(p for p in sys.path if "packages" in p)])
        words = ["PATH=/usr/bin:/bin", f"PYTHONPATH={path}", program]
        probe = subprocess.run(
            ordinary([*words, "-c", "import isal, recipec"]), capture_output=True
        )
        if probe.returncode == 0:
            return words
    raise AssertionError("no interpreter here can be run by an ordinary user")


@pytest.mark.skipif(not ROOT, reason="the other tests are this one then")
@pytest.mark.parametrize("method", SANDBOXES)
def test_the_sandbox_needs_no_root(method: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ordinary-", dir="/tmp"))
    try:
        os.chown(folder, ORDINARY, ORDINARY)
        script = "id -u; echo mine > /out/file; (> /opt/x) 2>/dev/null || exit 6"
        words = [method, str(folder / "cache"), str(folder / "out"), script]
        done = subprocess.run(
            ordinary([*ordinary_python(), run_job.__file__, *words]),
            capture_output=True,
            text=True,
            cwd="/",
        )
        assert (done.returncode, done.stderr) == (6, "65532\n")
        assert (folder / "out/file").read_text() == "mine\n"
        assert (folder / "out/file").stat().st_uid == ORDINARY
    finally:
        shutil.rmtree(folder)


def test_bubblewrap_and_unshare_show_the_same_root(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = "id; ls -R /usr /opt /etc /out /trained /sys; stat -c '%n %a %F' / /* /dev/null"
    seen = []
    for method in SANDBOXES:
        make_engine(method, store).run(make_job(store, tmp_path / method, script))
        seen.append(capfd.readouterr().err)
    assert seen[0] == seen[1]
    assert "opt/recipec/model" in seen[0]
