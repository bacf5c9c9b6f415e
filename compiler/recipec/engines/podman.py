"""The podman engine, by its command line; rootless and as root.

In: a `Job`. Out: its exit code. The command line, not the socket: it needs no service, and is the
same on every version. Isolation is as with docker. An ordinary user keeps their own uid inside
(`--userns keep-id`), so output is theirs from the start.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from typing import BinaryIO, cast

from recipec.engines import gpus
from recipec.engines.containers import (
    OWNER,
    SHARED_MEMORY,
    TMPFS,
    User,
    choose_user,
    container_name,
    owner_label,
    refuse_if_owned,
)
from recipec.engines.engine import full_environment, read_config
from recipec.engines.job import Job
from recipec.engines.ownership import lent
from recipec.engines.stopping import GRACE, Stopping
from recipec.errors import EnvironmentLacks
from recipec.store import Store

NESTED = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
"""For machines inside machines, where podman may not raise the limits it wants to."""

RUNTIMES = ("crun", "runc")


class PodmanEngine:
    """Runs images with podman."""

    name = "podman"

    def __init__(self, store: Store, *, grace: float = GRACE) -> None:
        self._store = store
        self._grace = grace

    def check(self) -> str | None:
        """None if podman can reach its storage and, for an ordinary user, map user ids."""
        if shutil.which("podman") is None:
            return "podman is not installed: `apt install podman uidmap`"
        about = _podman("info", "--format", "{{.Host.OCIRuntime.Path}}", quiet=10)
        if about.returncode != 0:
            return f"`podman info` fails: {_last_line(about.stderr)}"
        runtime = about.stdout.decode().strip()
        if not shutil.which(runtime) and not any(map(shutil.which, RUNTIMES)):
            return "podman finds no OCI runtime: `apt install crun`"
        if os.geteuid() != 0:
            mapped = _podman("unshare", "cat", "/proc/self/uid_map", quiet=10)
            if mapped.returncode != 0:
                return f"podman cannot make a user namespace: {_last_line(mapped.stderr)}"
            if len(mapped.stdout.splitlines()) < 2:
                return (
                    "you have no subordinate user ids: "
                    "`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`"
                )
        return None

    def check_gpus(self, count: int) -> str | None:
        """None if the machine has them and CDI specifications tell podman how to hand them on."""
        found = gpus.look()
        return found.lacks(count) or found.lacks_cdi(gpus.chosen(count))

    def run(self, job: Job) -> int:
        """Run the job; see `Engine.run`."""
        reason = self.check()
        if reason is not None:
            raise EnvironmentLacks(
                f"podman cannot run here: {reason}", hint="try --engine sandbox, or fix the above"
            )
        config = read_config(job.image, self._store)
        user = choose_user(config.uid, config.gid)
        name = container_name(job)
        self._load(job)
        _remove_left_over(name)
        with lent(job, user.borrower):
            options = self._options(job, user, full_environment(config, job, self.name))
            try:
                return self._start(name, options, job)
            finally:
                _podman("rm", "--force", "--time", "0", "--ignore", name)

    def _load(self, job: Job) -> None:
        """Give podman the image from the store's blobs, unless it has it."""
        from recipec.image.archive import write_archive

        digest = job.image.config.digest.removeprefix("sha256:")
        if _podman("image", "exists", digest).returncode == 0:
            return
        process = subprocess.Popen(
            ["podman", "load", "--quiet"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            with suppress(BrokenPipeError), process.stdin as stream:
                write_archive(
                    job.image, self._store, cast(BinaryIO, stream), reference=job.reference
                )
            said = process.stderr.read()
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        if process.returncode != 0 or _podman("image", "exists", digest).returncode != 0:
            raise EnvironmentLacks(
                f"podman could not load the image: {_last_line(said)}",
                hint="`podman system df` shows what podman keeps",
            )

    def _options(self, job: Job, user: User, environment: dict[str, str]) -> list[str]:
        options = [
            *("--label", f"{OWNER}={owner_label()}", "--pull", "never"),
            *("--network", "none", "--read-only", "--read-only-tmpfs=false"),
            *("--tmpfs", f"/tmp:{TMPFS}", "--shm-size", str(SHARED_MEMORY)),
            *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--user", user.text, "--log-driver", "none", "--http-proxy=false"),
        ]
        if not user.lent:
            options += ["--userns", "keep-id"]
        for name in gpus.chosen(job.gpus):
            options += ["--device", f"{gpus.KIND}={name}"]
        for key, value in environment.items():
            options += ["--env", f"{key}={value}"]
        for mount in job.mounts:
            access = "ro" if mount.read_only else "rw"
            place = _escaped(os.path.realpath(mount.host))
            options += ["--mount", f"type=bind,src={place},dst={mount.container},{access}"]
        return options

    def _start(self, name: str, options: list[str], job: Job) -> int:
        """Run, again with humbler wishes where this machine refuses podman's defaults."""
        digest = job.image.config.digest.removeprefix("sha256:")
        said = b""
        for extra in _attempts():
            made = _podman("create", "--name", name, *extra, *options, digest, *job.command)
            if made.returncode != 0:
                said = made.stderr
            else:
                started = _podman("init", name)
                if started.returncode == 0:
                    return self._attend(name)
                said = started.stderr
                _podman("rm", "--force", "--time", "0", "--ignore", name)
        raise EnvironmentLacks(
            f"podman could not start the container: {_last_line(said)}",
            hint="`podman info` tells how podman is; `recipec doctor` lists other engines",
        )

    def _attend(self, name: str) -> int:
        """Start an initialised container, show what it prints, pass signals on; the exit code."""
        process = subprocess.Popen(
            ["podman", "start", "--attach", "--sig-proxy=false", name],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            start_new_session=True,
        )

        def send(number: int) -> None:
            _podman("kill", "--signal", signal.Signals(number).name, name)

        with Stopping(send=send, kill=lambda: send(signal.SIGKILL), grace=self._grace):
            process.wait()
            return _exit_code(name, process.returncode)


def _attempts() -> list[list[str]]:
    runtimes = [["--runtime", found] for name in RUNTIMES if (found := shutil.which(name))]
    humble = [[*runtime, *NESTED] for runtime in reversed(runtimes)]
    return [[], list(NESTED), *humble]


def _exit_code(name: str, fallback: int) -> int:
    about = _podman("inspect", "--format", "{{.State.ExitCode}}", name)
    text = about.stdout.decode().strip()
    return int(text) if about.returncode == 0 and text.isdigit() else fallback


def _remove_left_over(name: str) -> None:
    about = _podman("container", "inspect", name)
    if about.returncode == 0:
        labels = json.loads(about.stdout)[0]["Config"].get("Labels") or {}
        refuse_if_owned(name, labels.get(OWNER, ""))
        _podman("rm", "--force", "--time", "0", "--ignore", name)


def _podman(*arguments: str, quiet: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run podman and keep what it says; never in the terminal's process group."""
    command = ["podman", *arguments]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            timeout=quiet,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, b"", b"no answer in time")


def _escaped(path: str) -> str:
    """A path for --mount, whose fields are separated as in CSV."""
    if '"' in path or "," in path:
        raise EnvironmentLacks(
            f"podman cannot mount a folder with a comma or a quote in its name: {path}",
            hint="rename the folder, or use --engine sandbox",
        )
    return path


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it says nothing"
