"""Starts the processes of one machine, passes signals on, and tells what ended them.

In: the stage and the machine's place among the machines. Out: one exit code. Each process is this
runtime again, told its place by torchrun's variables; where they meet is said beforehand (torchrun
calls it static rendezvous). Neither torch nor any input is loaded here. Only images of recipes with
several processes have this module.
"""

from __future__ import annotations

import collections
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, MutableMapping
from types import FrameType
from typing import BinaryIO

from recipec_runtime import ranks, stop
from recipec_runtime.errors import PeerLost
from recipec_runtime.ranks import Ranks

GRACE = 10.0
"""Seconds that a machine's other processes have after one has failed, to say what they know."""

KEPT = 100
"""Lines of a process that are shown if it fails; only a machine's first one speaks all the time."""

NO_REASON = (PeerLost.exit_code, 128 + signal.SIGTERM, 128 + signal.SIGINT)
"""Exit codes of processes that were asked to stop, or lost another one: it knows why."""

GPUS = "CUDA_VISIBLE_DEVICES"
CARD = "GLOO_SOCKET_IFNAME"
ELSEWHERE = "192.0.2.1"
"""Nobody's address (RFC 5737): the way there is the way to any other machine."""

SIOCGIFADDR = 0x8915
"""Of ioctl(2), by its number in <linux/sockios.h>."""


class Process:
    """One of them, and the last lines of what it said if it is not the machine's first."""

    def __init__(self, stage: str, first: Ranks, local_rank: int, more: Mapping[str, str]) -> None:
        """Start it, told its place and `more`."""
        self.rank = first.rank + local_rank
        told = {**os.environ, **ranks.of_process(first, local_rank), **more}
        quiet = local_rank > 0
        self._child = subprocess.Popen(
            [sys.executable, "-m", "recipec_runtime", stage],
            env=told,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C comes once, from this process
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
        )
        self._lines: collections.deque[bytes] = collections.deque(maxlen=KEPT)
        self._reader: threading.Thread | None = None
        if self._child.stdout is not None:
            self._reader = threading.Thread(target=self._read, args=(self._child.stdout,))
            self._reader.start()
        self.code: int | None = None
        self.given_up = False
        self.killed_by = 0

    @property
    def number(self) -> int:
        """Its process number."""
        return self._child.pid

    def _read(self, stream: BinaryIO) -> None:
        with stream:
            self._lines.extend(stream)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.code is None:
            os.kill(self._child.pid, number)  # Popen's own way would take its end from os.wait

    def give_up(self) -> None:
        """Kill it: another has failed, and this one has had its time to notice."""
        self.given_up = True
        self.signal(signal.SIGKILL)

    def ended(self, status: int) -> None:
        """It has ended with this status, as os.wait gives it; 128 plus a signal that killed it."""
        code = os.waitstatus_to_exitcode(status)
        self.killed_by = max(0, -code)
        self.code = self._child.returncode = code if code >= 0 else 128 - code

    def last_words(self) -> str:
        """What it has said in the end, if that was not shown."""
        if self._reader is not None:
            self._reader.join()
        return b"".join(self._lines).decode("utf-8", "replace").rstrip()


def run(stage: str, first: Ranks) -> int:
    """Run a stage in all processes of this machine, whose first one has the ranks `first`.

    The exit code is that of the process that failed, and of several the one that knows why: that
    another is gone is no reason. 128 plus the signal's number for one that was killed.
    """
    count = first.world_size // first.nodes
    if first.nodes == 1:
        first = _with_free_port(first)
    else:
        here = (
            f"machine {first.node_rank + 1} of {first.nodes}, the first is {first.master_address}"
        )
        print(here, file=sys.stderr, flush=True)
    card = network_card(first)
    with tempfile.TemporaryDirectory(prefix="recipec-") as scratch:  # a killed process leaves some
        more = {"TMPDIR": scratch, **({CARD: card} if card and CARD not in os.environ else {})}
        with stop.held():
            all_of_them = [Process(stage, first, local, more) for local in range(count)]
            _pass_on(all_of_them)
        failed = _wait(all_of_them)
    if not failed:
        return 0
    known = [one for one in failed if not one.given_up and one.code not in NO_REASON]
    # of those who all say the same, the machine's first has said it already
    reason = known[0] if known else min(failed, key=lambda one: (one.given_up, one.rank))
    _show(reason)
    assert reason.code is not None, "it has ended"
    return reason.code


def see_one_gpu(environ: MutableMapping[str, str], found: Ranks) -> None:
    """Leave this process the one GPU of its number, of those that the machine's first would see.

    It is the only one then, and `cuda` means it. Must come before CUDA is initialised.
    """
    given = [name.strip() for name in environ.get(GPUS, "").split(",") if name.strip()]
    local = found.local_rank
    environ[GPUS] = given[local] if local < len(given) else str(local)


def network_card(first: Ranks) -> str:
    """The network card that the other processes can be met on; nothing where that is not known.

    gloo would take the one that this machine's own name leads to: on many machines that is the
    loopback's, where nobody else gets to.
    """
    if first.nodes == 1:
        return "lo"  # a container without network has no other
    for far in (first.master_address, ELSEWHERE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, first.master_port))  # sends nothing
            except OSError:  # a name that is not known yet; no way out
                continue
            own = socket.inet_aton(probe.getsockname()[0])
            for _, name in socket.if_nameindex():
                if name != "lo" and _address(probe, name) == own:
                    return name
    return ""


def _address(probe: socket.socket, card: str) -> bytes:
    """The IPv4 address of a network card, see netdevice(7); nothing if it has none."""
    try:
        request = struct.pack("256s", card.encode()[:15])
        return fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)[20:24]
    except OSError:
        return b""


def _with_free_port(first: Ranks) -> Ranks:
    """One machine alone may use any port: two runs on it must not meet each other."""
    import dataclasses

    with socket.socket() as probe:
        probe.bind((first.master_address, 0))
        return dataclasses.replace(first, master_port=probe.getsockname()[1])


def _pass_on(processes: list[Process]) -> None:
    """Whoever stops this process means the others."""

    def forward(number: int, _: FrameType | None) -> None:
        for process in processes:
            process.signal(number)

    handler: Callable[[int, FrameType | None], None] = forward
    for number in stop.SIGNALS:
        signal.signal(number, handler)


def _wait(processes: list[Process]) -> list[Process]:
    """Wait for all; those that failed, in the order of their ends.

    The others notice by themselves that one is gone, unless they wait for it in a way that takes no
    notice: then they are killed after the grace.
    """
    running = {process.number: process for process in processes}
    failed: list[Process] = []
    timer: threading.Timer | None = None
    while running:
        number, status = os.wait()
        process = running.pop(number, None)
        if process is None:
            continue  # some orphan: in a container this is the process that inherits them
        process.ended(status)
        if process.code and not failed:
            timer = threading.Timer(GRACE, _kill, [list(running.values())])
            timer.daemon = True
            timer.start()
        if process.code:
            failed.append(process)
    if timer is not None:
        timer.cancel()
    return failed


def _kill(processes: list[Process]) -> None:
    for process in processes:
        process.give_up()


def _show(process: Process) -> None:
    """What a process said that was not shown, and what killed it."""
    words = process.last_words()
    if words:
        print(f"process {process.rank} said:\n{words}", file=sys.stderr)
    if process.killed_by in stop.SIGNALS:  # it waited for the others, and had nothing to say
        print(f"error: stopped by {signal.Signals(process.killed_by).name}", file=sys.stderr)
    if process.killed_by == signal.SIGKILL:
        print(
            f"error: process {process.rank} was killed\n"
            "  hint: usually for memory: lower training.micro_batch_size, or give it more",
            file=sys.stderr,
        )
