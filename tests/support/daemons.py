"""Real servers for tests: dockerd and docker-registry, on this machine only, stopped by pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
"""Before a server's command: it ends when the test process is killed."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[bytes], *, grace: float = 20) -> None:
    """End a process that this test started, by its pid."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def docker_daemon() -> Iterator[str]:
    """A dockerd with its own data and socket, without any network; its DOCKER_HOST.

    It needs root. The folder is short because a socket's path holds 107 bytes.
    """
    program = shutil.which("dockerd", path="/usr/sbin:/usr/bin")
    assert program is not None, "install docker.io to run the engine tests"
    folder = Path(tempfile.mkdtemp(prefix="dockerd-", dir="/tmp"))
    (folder / "daemon.json").write_text("{}")
    address = f"unix://{folder}/docker.sock"
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            *DIES_WITH_US,
            program,
            *("--config-file", str(folder / "daemon.json"), "--host", address),
            *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
            *("--pidfile", str(folder / "pid"), "--iptables=false", "--bridge=none"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        _until_answers(address, process, folder / "log")
        yield address
    finally:
        stop(process)
        log.close()
        _unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def containerd_daemon() -> Iterator[tuple[str, ...]]:
    """A containerd with its own data and socket; the command of its client. It needs root."""
    program = shutil.which("containerd", path="/usr/bin:/usr/sbin")
    assert program is not None, "install docker.io to run the engine tests"
    folder = Path(tempfile.mkdtemp(prefix="containerd-", dir="/tmp"))
    address = folder / "socket"
    (folder / "config.toml").write_text(
        'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            *DIES_WITH_US,
            program,
            *("--config", str(folder / "config.toml"), "--address", str(address)),
            *("--root", str(folder / "data"), "--state", str(folder / "state")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        for _ in range(300):
            assert process.poll() is None, (folder / "log").read_text()
            if address.exists():
                break
            time.sleep(0.1)
        yield "ctr", "--address", str(address)
    finally:
        stop(process)
        log.close()
        _unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _until_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import docker
    import requests

    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            client = docker.DockerClient(base_url=address, timeout=5)
            client.ping()
            client.close()
            return
        except (docker.errors.DockerException, requests.RequestException):
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def _unmount_below(folder: Path) -> None:
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [row.split()[4] for row in rows]
    for place in sorted((p for p in places if p.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


@contextmanager
def podman_storage() -> Iterator[str]:
    """A storage.conf (for CONTAINERS_STORAGE_CONF) with images and containers of its own."""
    folder = Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))
    places = f'graphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    (folder / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{places}')
    conf = str(folder / "storage.conf")
    try:
        yield conf
    finally:
        for words in (["rm", "--all", "--force", "--time", "0"], ["rmi", "--all", "--force"]):
            subprocess.run(
                ["podman", *words],
                env={**os.environ, "CONTAINERS_STORAGE_CONF": conf},
                check=False,
                capture_output=True,
            )
        _unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A running registry: `host` is 127.0.0.1:PORT."""

    host: str
    folder: Path

    def blobs(self) -> list[str]:
        """Digests of the blobs that it keeps."""
        kept = self.folder / "docker/registry/v2/blobs/sha256"
        return sorted(f"sha256:{path.parent.name}" for path in kept.glob("*/*/data"))


@contextmanager
def registry(
    folder: Path,
    *,
    htpasswd: str = "",
    read_only: bool = False,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Registry]:
    """The real docker-registry on loopback; `htpasswd` lines ask for basic authentication.

    With `tls`, a certificate and its key, it speaks HTTPS.
    """
    program = shutil.which("docker-registry")
    assert program is not None, "install docker-registry to run the push tests"
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    secure = f", tls: {{certificate: '{tls[0]}', key: '{tls[1]}'}}" if tls else ""
    lines = [
        "version: 0.1",
        "log: {level: error}",
        f"storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}},",
        f"  maintenance: {{readonly: {{enabled: {str(read_only).lower()}}}}}}}",
        f"http: {{addr: '{host}'{secure}}}",
    ]
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}")
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*DIES_WITH_US, program, "serve", str(folder / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        try:
            _until_serves(host, process, folder / "log")
            yield Registry(host=host, folder=folder)
        finally:
            stop(process)


def _until_serves(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers, and wants a password
        except OSError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())
