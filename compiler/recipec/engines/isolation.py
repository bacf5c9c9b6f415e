"""A process in namespaces of its own, by bubblewrap or by util-linux `unshare`.

In: a `Plan`: the steps that make the root, the mounts, the process. Out: a `Running`, which can be
signalled, killed and waited for. Both runners give the same surroundings: pid, network, ipc, uts
and user namespaces, a read-only root, /proc, a small /dev, /tmp in memory, no capability, a
non-root uid, and no variable of the host. When this process dies, so does that one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from recipec.engines import inside
from recipec.engines.job import Mount
from recipec.engines.union import Step
from recipec.errors import EnvironmentLacks

PLACES = ("/proc", "/dev", "/tmp", "/sys")
"""Folders of every root that the runner mounts over."""

HARDWARE = ("/sys/devices/system/cpu", "/sys/devices/system/node")
"""What libraries read to learn about the CPU; shown read-only, as Docker does with all of /sys."""

Method = Literal["bwrap", "unshare"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All there is to know about one isolated process. Paths are absolute."""

    steps: tuple[Step, ...]
    mounts: tuple[Mount, ...]
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    folder: str
    uid: int
    gid: int
    devices: tuple[str, ...] = ()
    """Device files of the host that are shown beside the harmless ones; with them, all of /sys."""


class Running(Protocol):
    """A process that was started."""

    def send(self, number: int) -> None:
        """Signal the process, once; nothing happens if it is gone."""
        ...

    def kill(self) -> None:
        """Kill it and everything that it started."""
        ...

    def wait(self) -> int:
        """Its exit code, 128 + n after signal n. Raises EnvironmentLacks if it never started."""
        ...


def places(mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Every path that must be a folder of the root so that something can be mounted there."""
    return (*PLACES, *_hardware(), *(mount.container for mount in mounts))


def start(plan: Plan, method: Method, *, output: int) -> Running:
    """Start the process of `plan`; what it prints goes to the file descriptor `output`."""
    return _Bwrap(plan, output) if method == "bwrap" else _Unshare(plan, output)


def probe(method: Method) -> str | None:
    """Run `true` on this machine's own /usr in isolation; None, or why that failed."""
    program = shutil.which(method)
    if program is None:
        return f"{method} is not installed"
    true = shutil.which("true") or "/bin/true"
    with tempfile.TemporaryFile() as output:
        running = start(_probe_plan(true), method, output=output.fileno())
        try:
            code = running.wait()
        except EnvironmentLacks as error:
            output.seek(0)
            text = output.read().decode(errors="replace").strip().replace("\n", "; ")
            return f"{method} cannot isolate a process here: {text or error.message}"
    return None if code == 0 else f"{method} ran a program, but it ended with {code}"


def _probe_plan(true: str) -> Plan:
    steps = []
    for name in ("bin", "lib", "lib32", "lib64", "libx32", "nix", "gnu", "sbin", "usr"):
        path = Path("/", name)
        if path.is_symlink():
            steps.append(Step(kind="symlink", path=str(path), source=str(path.readlink())))
        elif path.is_dir():
            steps.append(Step(kind="folder", path=str(path)))
            steps.append(Step(kind="bind", path=str(path), source=str(path)))
    steps += [Step(kind="folder", path=place) for place in PLACES]
    return Plan(
        steps=tuple(steps),
        mounts=(),
        command=(true,),
        environment=(),
        folder="/",
        uid=65532,
        gid=65532,
    )


def _hardware() -> tuple[str, ...]:
    return tuple(path for path in HARDWARE if Path(path).is_dir())


def _hardware_mounts(plan: Plan) -> tuple[Mount, ...]:
    if plan.devices:
        return (Mount(host=Path("/sys"), container="/sys", read_only=True),)
    made = {step.path for step in plan.steps}
    return tuple(
        Mount(host=Path(path), container=path, read_only=True)
        for path in _hardware()
        if path in made
    )


def bwrap_arguments(plan: Plan) -> list[str]:
    """The plan in bubblewrap's own words, without the program and the command."""
    words = [
        "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts",
        "--unshare-cgroup-try --die-with-parent --new-session --clearenv",
        f"--uid {plan.uid} --gid {plan.gid} --hostname recipec --cap-drop ALL",
    ]
    arguments = " ".join(words).split()
    for key, value in plan.environment:
        arguments += ["--setenv", key, value]
    for step in plan.steps:
        if step.kind == "folder":
            arguments += ["--perms", "0755", "--dir", step.path]
        elif step.kind == "symlink":
            arguments += ["--symlink", step.source, step.path]
        else:
            arguments += ["--ro-bind", step.source, step.path]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for device in plan.devices:
        arguments += ["--dev-bind", device, device]
    for place in ("/tmp", "/dev/shm"):
        arguments += ["--perms", "1777", "--tmpfs", place]
    for mount in (*_hardware_mounts(plan), *plan.mounts):
        arguments += ["--ro-bind" if mount.read_only else "--bind"]
        arguments += [os.fspath(mount.host), mount.container]
    for place in ("/proc", "/dev", "/"):  # root could else write to /proc/sys
        arguments += ["--remount-ro", place]
    return [*arguments, "--chdir", plan.folder]


class _Bwrap:
    """A process under bubblewrap."""

    def __init__(self, plan: Plan, output: int) -> None:
        with tempfile.TemporaryFile() as words:
            # Not argv: hundreds of layers' paths, and other users could read the environment.
            words.write(b"".join(os.fsencode(word) + b"\0" for word in bwrap_arguments(plan)))
            words.seek(0)
            reader, writer = os.pipe()
            numbers = ("--args", str(words.fileno()), "--json-status-fd", str(writer))
            try:
                self._process = subprocess.Popen(
                    ["bwrap", *numbers, "--", *plan.command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(words.fileno(), writer),
                    start_new_session=True,
                    umask=0o022,
                )
            finally:
                os.close(writer)
        self._status = os.fdopen(reader, encoding="utf-8")
        line = self._status.readline()
        self._init = int(json.loads(line)["child-pid"]) if line.strip() else 0

    def send(self, number: int) -> None:
        """Signal the only child of bubblewrap's init; before it exists, the init itself."""
        target = _child_of(self._init)
        with suppress(ProcessLookupError):
            if target is not None:
                os.kill(target, number)
            else:
                self._process.kill()

    def kill(self) -> None:
        """Kill the init, and with it the whole namespace."""
        with suppress(ProcessLookupError):
            os.kill(self._init or self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code that bubblewrap reports for the process, if it was ever started."""
        code = self._process.wait()
        with self._status:
            rest = self._status.read()
        for line in rest.splitlines():
            if "exit-code" in line:
                return int(json.loads(line)["exit-code"])
        if self._init and code in {137, -signal.SIGKILL}:
            return 137
        raise EnvironmentLacks(
            "bubblewrap could not start the process",
            hint="its message stands above; `recipec doctor` says what this machine can run",
        )


def _child_of(parent: int) -> int | None:
    """The pid of the process whose parent is `parent`, as this process sees it."""
    if not parent:
        return None
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only
        if name.isdigit():
            with suppress(OSError, IndexError):
                text = Path("/proc", name, "stat").read_text()
                if int(text.rpartition(")")[2].split()[1]) == parent:
                    return int(name)
    return None


class _Unshare:
    """A process under `unshare`, whose root `inside.py` puts together."""

    def __init__(self, plan: Plan, output: int) -> None:
        reader, writer = os.pipe()
        # In full: with an empty environment, the search would ignore the caller's PATH.
        program = shutil.which("unshare") or "unshare"
        namespaces = [
            *(program, "--user", f"--map-user={plan.uid}", f"--map-group={plan.gid}"),
            *("--keep-caps", "--mount", "--pid", "--fork", "--kill-child"),
            *("--net", "--ipc", "--uts", "--cgroup"),
        ]
        helper = [sys.executable, "-I", "-S", inside.__file__, str(writer)]
        try:
            self._process = subprocess.Popen(
                [*namespaces, "--", *helper],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(writer,),
                start_new_session=True,
                env={},
                cwd="/",
            )
        finally:
            os.close(writer)
        assert self._process.stdin is not None
        self._control = self._process.stdin
        self._status = reader
        with suppress(BrokenPipeError):
            self._control.write(_plain(plan) + b"\n")
            self._control.flush()

    def send(self, number: int) -> None:
        """Ask the init inside to signal the process."""
        with suppress(BrokenPipeError, ValueError):
            self._control.write(bytes([number]))
            self._control.flush()

    def kill(self) -> None:
        """As `send`; the init then ends and the kernel kills what is left."""
        self.send(signal.SIGKILL)

    def wait(self) -> int:
        """The exit code of the process."""
        with os.fdopen(self._status, encoding="utf-8", errors="replace") as status:
            said = status.read()
        code = self._process.wait()
        with suppress(BrokenPipeError):
            self._control.close()
        if said == inside.STARTED:
            return 128 - code if code < 0 else code
        raise EnvironmentLacks(
            f"unshare could not start the process: {said or 'no namespaces'}",
            hint="its message stands above; `recipec doctor` says what this machine can run",
        )


def _plain(plan: Plan) -> bytes:
    """The plan as the one JSON line that `inside.py` reads."""
    mounts = (*_hardware_mounts(plan), *plan.mounts)
    return json.dumps(
        {
            "steps": [asdict(step) for step in plan.steps],
            "mounts": [[os.fspath(m.host), m.container, m.read_only] for m in mounts],
            "command": plan.command,
            "environment": dict(plan.environment),
            "folder": plan.folder,
            "devices": plan.devices,
        }
    ).encode()
