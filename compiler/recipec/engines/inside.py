"""The first process inside namespaces that `unshare` made: it builds the root and runs the job.

In: one JSON line on stdin (the plan), then single bytes, each a signal to pass on; the end of
stdin means that the parent is gone and everything here must end. Out: on the file descriptor of
argv[1] `STARTED`, or what failed; then the job's exit code. It imports nothing but the standard
library, and nothing of this package, since it runs isolated (`python -I -S`).
"""

# ruff: noqa: PTH102, PTH103, PTH110, PTH112, PTH123, PTH211
# os, not pathlib: importing pathlib would cost a third of this program's start.

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import sys
from typing import Any

STARTED = "started"

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, NOATIME, NODIRATIME = 1, 2, 4, 8, 32, 1024, 2048
BIND, REC, PRIVATE, RELATIME, DETACH = 4096, 16384, 1 << 18, 1 << 21, 2
KEPT = {
    "nosuid": NOSUID,
    "nodev": NODEV,
    "noexec": NOEXEC,
    "noatime": NOATIME,
    "nodiratime": NODIRATIME,
    "relatime": RELATIME,
}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
CAPABILITY_VERSION_3 = 0x20080522
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

libc = ctypes.CDLL(None, use_errno=True)


def must(result: int, what: str) -> None:
    """Raise OSError with errno and `what` if a C call failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    must(libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mount on {target}")


def pivot(new: str, old: str) -> None:
    """pivot_root(2), which libc does not wrap."""
    number = PIVOT_ROOT[os.uname().machine]
    must(libc.syscall(number, os.fsencode(new), os.fsencode(old)), f"pivot_root to {new}")


def build_root(plan: dict[str, Any]) -> None:
    """Make this process's root the plan's root, read-only but for the writable mounts."""
    mount("none", "/", flags=REC | PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "mode=755")
    os.makedirs("/tmp/new")
    os.makedirs("/tmp/old")
    pivot("/tmp", "/tmp/old")
    os.chdir("/")
    mount("tmpfs", "/new", "tmpfs", NOSUID | NODEV, "mode=755")
    for step in plan["steps"]:
        place = f"/new{step['path']}"
        if step["kind"] == "folder":
            os.makedirs(place, exist_ok=True)
        elif step["kind"] == "symlink":
            os.symlink(step["source"], place)
        else:
            bind(f"/old{step['source']}", place)
    mount("proc", "/new/proc", "proc", NOSUID | NODEV | NOEXEC)
    make_devices(plan["devices"])
    mount("tmpfs", "/new/tmp", "tmpfs", NOSUID | NODEV, "mode=1777")
    writable = ["/new/tmp", "/new/dev/shm"]
    for source, target, read_only in plan["mounts"]:
        bind(f"/old{source}", f"/new{target}")
        if not read_only:
            writable.append(f"/new{target}")
    seal(writable)
    must(libc.umount2(b"/old", DETACH), "detaching the host's root")
    os.chdir("/new")
    pivot(".", ".")
    must(libc.umount2(b".", DETACH), "detaching the outer root")
    os.chdir("/")


def bind(source: str, place: str) -> None:
    """Show a folder or a file of the host at `place`."""
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    elif not os.path.lexists(place):
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    mount(source, place, flags=BIND | REC)


def make_devices(more: list[str]) -> None:
    """A /dev with the few harmless devices, and more by their paths."""
    mount("tmpfs", "/new/dev", "tmpfs", NOSUID, "mode=755")
    for path in more:
        bind(f"/old{path}", f"/new{path}")
    for name in DEVICES:
        if os.path.exists(f"/old/dev/{name}"):
            bind(f"/old/dev/{name}", f"/new/dev/{name}")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/new/dev/{name}")
    os.symlink("/proc/self/fd", "/new/dev/fd")
    os.mkdir("/new/dev/shm")
    mount("tmpfs", "/new/dev/shm", "tmpfs", NOSUID | NODEV, "mode=1777")


def seal(writable: list[str]) -> None:
    """Remount everything below /new read-only, but for the writable places.

    A user namespace may not take away a flag that a mount came with, so each keeps its own.
    """
    with open("/new/proc/self/mountinfo", "rb") as table:
        rows = [line.split(b" ", 6)[4:6] for line in table]
    for raw, options in rows:
        place = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), raw))
        if place != "/new" and not place.startswith("/new/"):
            continue
        flags = NOSUID
        for option in options.decode().split(","):
            flags |= KEPT.get(option, 0)
        if not place.startswith("/new/dev/"):
            flags |= NODEV
        if not any(place == open_ or place.startswith(f"{open_}/") for open_ in writable):
            flags |= RDONLY
        mount("none", place, flags=BIND | REMOUNT | flags)


def drop_everything() -> None:
    """Give up every capability for good; also for programs run later."""
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    must(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient capabilities")
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    must(libc.capset(header, nothing), "capset")


def run(plan: dict[str, Any], status: int, orders: bytes) -> int:
    """Run the plan's command as a child; its exit code, 128 + n after signal n.

    `orders` are signals that came in while the root was built.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    child = os.fork()
    if child == 0:
        execute(plan, status)
    os.close(status)
    for number in orders:
        os.kill(child, number)
    while True:
        ready, _, _ = select.select([0, reader], [], [])
        if 0 in ready:
            orders = os.read(0, 64)
            for number in orders or [signal.SIGKILL]:
                os.kill(child, number)
            if not orders:
                return 128 + signal.SIGKILL
        if reader in ready:
            os.read(reader, 64)
            code = reap(child)
            if code is not None:
                return code


def reap(child: int) -> int | None:
    """Collect every process that ended; the exit code if `child` is one of them."""
    while True:
        try:
            pid, state = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(state)
            return 128 - code if code < 0 else code


def execute(plan: dict[str, Any], status: int) -> None:
    """Become the job's process; never returns. `status` closes by itself when that works."""
    try:
        os.set_inheritable(status, False)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.chdir(plan["folder"])
        os.write(status, STARTED.encode())
        os.execvpe(plan["command"][0], plan["command"], plan["environment"])
    except OSError as error:
        os.write(status, f": {plan['command'][0]}: {error.strerror}".encode())
    finally:
        os._exit(127)


def main() -> None:
    """Read the plan, build, drop, run."""
    status = int(sys.argv[1])
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    text = bytearray()
    while b"\n" not in text:
        piece = os.read(0, 1 << 16)
        if not piece:
            os._exit(128 + signal.SIGKILL)
        text += piece
    line, _, early = bytes(text).partition(b"\n")
    try:
        plan = json.loads(line)
        libc.sethostname(b"recipec", 7)
        build_root(plan)
        drop_everything()
        os.setsid()
    except (OSError, KeyError) as error:
        os.write(status, str(error).encode())
        os._exit(125)
    os._exit(run(plan, status, early))


if __name__ == "__main__":
    main()
