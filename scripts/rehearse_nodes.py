"""A rehearsal of machines that fail: kills at random moments of a training on several of them.

    python -m scripts.rehearse_nodes RECIPE [--rounds N] [--kills N] [--seed S] [--shared]

The recipe must have `hardware.nodes`; docker stands for the machines, a container each, on a
network of their own without a way out. The recipe is trained once without disturbance. Then, in
each round, something of it ends at a random moment: a machine (SIGKILL of its container), one
process of a machine (SIGKILL), or the service asks one machine to stop (SIGTERM). The others must
end by themselves. What the machines have written is thrown away, but for the checkpoints: a volume
of each machine's own, or one that all share. All are started again; after the last kill they may
finish, and every file must be the undisturbed run's, byte for byte; exit code 4 if one is not.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from recipec.cli.compile import as_locked
from recipec.cli.project import find_project
from recipec.cli.state import Built
from recipec.errors import MISMATCH, OK, EnvironmentLacks, RecipecError
from recipec.image.archive import write_archive
from recipec.image.image import OUTPUT
from recipec.progress import Silent
from recipec.store import Store, sha256

CHECKPOINTS = "/checkpoints"
TRAINING = 0.75
"""Share of the kills that come after a line of progress."""
LIMIT = 600.0
"""Seconds after which machines that should end are taken to hang."""
PATIENCE = 20.0
"""Seconds after which a machine that has not ended waits for one that is gone to come back: the
service starts that one alone."""
KILLED, STOPPED, WAITS = 137, 143, -1

ONE_PROCESS = """
import os, signal, sys
found = []
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        with open(f"/proc/{name}/cmdline", "rb") as stream:
            if b"recipec_runtime" in stream.read():
                found.append(int(name))
if found:
    os.kill(sorted(found)[int(sys.argv[1]) % len(found)], signal.SIGKILL)
"""
"""Kills one of the processes that a machine's launcher has started."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What was done to machine `number`; the codes and seconds with which all have ended."""

    kind: str
    number: int
    codes: tuple[int, ...]
    seconds: float

    @property
    def came_too_late(self) -> bool:
        """Whether the run had ended before."""
        return set(self.codes) == {0}

    @property
    def fault(self) -> str:
        """What is wrong with the codes."""
        if set(self.codes) == {WAITS}:
            return "no machine has ended"
        bad = sorted(set(self.codes) - {0, KILLED, STOPPED, WAITS})
        return f"a machine ended with exit code {bad[0]}" if bad else ""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """An image, a network, and folders for what machines lose and for what they do not."""

    built: Built
    folder: Path
    network: str
    count: int
    shared: bool

    def names(self) -> list[str]:
        """The containers' names, which are the machines'."""
        return [f"{self.network}-{number}" for number in range(self.count)]

    def output(self, number: int) -> Path:
        """The disk of a machine."""
        return self.folder / f"out-{number}"

    def volume(self, number: int) -> Path:
        """What outlives a machine."""
        return self.folder / ("saved" if self.shared else f"saved-{number}")

    def start(self) -> None:
        """All machines, new ones; but for those that wait for one that was gone."""
        waiting = docker("ps", "--format", "{{.Names}}").split()
        for number, name in enumerate(self.names()):
            if name in waiting:
                continue
            docker("rm", "--force", name, check=False)
            shutil.rmtree(self.output(number), ignore_errors=True)
            for folder in (self.output(number), self.volume(number)):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o777)
            docker(
                *("run", "--detach", "--name", name, "--hostname", name, "--network", self.network),
                *("--read-only", "--tmpfs", "/tmp:mode=1777"),
                *("--volume", f"{self.output(number)}:{OUTPUT}"),
                *("--volume", f"{self.volume(number)}:{CHECKPOINTS}"),
                *("--env", f"RECIPEC_CHECKPOINTS={CHECKPOINTS}"),
                *("--env", f"RECIPEC_RUN_ID={self.built.run_id}"),
                *("--env", f"RECIPEC_NODES={self.count}", "--env", f"RECIPEC_NODE_RANK={number}"),
                *("--env", f"RECIPEC_MASTER_ADDR={self.names()[0]}"),
                *(_reference(self.built), "train"),
            )

    def wait(self, limit: float = LIMIT) -> tuple[tuple[int, ...], float]:
        """Wait for all; their exit codes, WAITS for none, and how many seconds that took."""
        started = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            docker("wait", *self.names(), timeout=limit)
        seconds = time.monotonic() - started
        form = "{{.State.Running}} {{.State.ExitCode}}"
        states = [docker("inspect", "--format", form, name).split() for name in self.names()]
        return tuple(WAITS if up == "true" else int(code) for up, code in states), seconds

    def until_line(self, count: int) -> None:
        """Wait until the first machine has printed so many lines, or has ended."""
        words = ["docker", "logs", "--follow", self.names()[0]]
        follow = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert follow.stdout is not None
        with follow:
            for number, _ in enumerate(follow.stdout, 1):
                if number >= count:
                    break
            follow.kill()

    def log(self, number: int = 0) -> str:
        """What a machine has printed."""
        return docker("logs", self.names()[number])

    def disturb(self, kind: str, number: int, which: int) -> None:
        """Do it; `which` chooses the process."""
        name = self.names()[number]
        if kind == "process":
            entrypoint = docker("inspect", "--format", "{{json .Config.Entrypoint}}", name)
            python = json.loads(entrypoint)[0]
            docker("exec", name, python, "-c", ONE_PROCESS, str(which), check=False)
        else:
            sent = "TERM" if kind == "stop" else "KILL"
            docker("kill", "--signal", sent, name, check=False)

    def files(self) -> Mapping[str, str]:
        """Digest of each file that must be reproducible, and of what lies where none should."""
        first = {
            path.relative_to(self.output(0)).as_posix(): sha256(path.read_bytes())
            for path in sorted(self.output(0).rglob("*"))
            if path.is_file() and path.name != "machine.json"
        }
        places = [self.output(n) for n in range(1, self.count)]
        places += {self.volume(n) for n in range(self.count)}
        left = [path for place in places for path in place.rglob("*") if path.is_file()]
        return first | {path.relative_to(self.folder).as_posix(): "left" for path in left}


def main() -> int:
    """Rehearse, and print each round; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=1, help="in each round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shared", action="store_true", help="one volume for all checkpoints")
    options = parser.parse_args()
    try:
        store = Store()
        built = as_locked(find_project(options.recipe), store=store, progress=Silent(), jobs=1)
        count = _nodes(built, options.recipe)
        load(built, store)
    except RecipecError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name, network() as net:
        folder = Path(name)
        folder.chmod(0o755)
        machines = Machines(
            built=built, folder=folder, network=net, count=count, shared=options.shared
        )
        try:
            return rehearse(machines, options)
        finally:
            docker("rm", "--force", *machines.names(), check=False)


def rehearse(machines: Machines, options: argparse.Namespace) -> int:
    """All rounds. OK if each ended with the undisturbed run's bytes."""
    started = time.monotonic()
    machines.start()
    codes, _ = machines.wait()
    whole = time.monotonic() - started
    if set(codes) != {0}:
        print(f"the undisturbed run ended with exit codes {codes}:\n{machines.log()}")
        return next(code for code in codes if code)
    wanted, lines = machines.files(), max(1, machines.log().count("\n"))
    print(f"undisturbed: {whole:.1f} s on {machines.count} machines, {len(wanted)} files")
    chance, kills, wrong = random.Random(options.seed), list[Kill](), 0
    for number in range(options.rounds):
        found, fault, resumed = one_round(machines, wanted, chance, whole / lines, lines, options)
        kills += found
        wrong += bool(fault)
        told = ", ".join(
            f"{k.kind} {k.number} ({', '.join('waits' if c == WAITS else str(c) for c in k.codes)}"
            f" within {k.seconds:.1f} s)"
            for k in found
        )
        print(f"{number + 1:>3}: {told}; resumed at {resumed}: {fault or 'same bytes'}", flush=True)
    by_kind = {kind: sum(k.kind == kind for k in kills) for kind in KINDS}
    counted = ", ".join(f"{count} x {kind}" for kind, count in by_kind.items())
    slowest = max((kill.seconds for kill in kills if WAITS not in kill.codes), default=0.0)
    waited = sum(WAITS in kill.codes for kill in kills)
    print(f"{options.rounds} rounds, {len(kills)} kills: {counted}; {waited} left a machine that")
    print(f"waited for the other, after the others all had ended within {slowest:.1f} s at most;")
    print(f"{options.rounds - wrong} passed, {wrong} failed")
    return MISMATCH if wrong else OK


KINDS = ("machine", "process", "stop")


def one_round(
    machines: Machines,
    wanted: Mapping[str, str],
    chance: random.Random,
    each: float,
    lines: int,
    options: argparse.Namespace,
) -> tuple[list[Kill], str, list[str]]:
    """Kill a run some times and let it finish: the kills, what was wrong, where it went on."""
    for number in range(machines.count):
        shutil.rmtree(machines.volume(number), ignore_errors=True)
    kills: list[Kill] = []
    resumed: list[str] = []
    while len(kills) < options.kills:
        machines.start()
        training = chance.random() < TRAINING
        if training:
            machines.until_line(chance.randint(1, lines))
        time.sleep(chance.uniform(0.0, each if training else each * lines / 2))
        kind, number = chance.choice(KINDS), chance.randrange(machines.count)
        machines.disturb(kind, number, chance.randrange(1 << 16))
        codes, seconds = machines.wait(PATIENCE)
        resumed += re.findall(r"resumed at step (\d+)", machines.log())
        kill = Kill(kind=kind, number=number, codes=codes, seconds=seconds)
        if kill.fault:
            logs = "\n".join(machines.log(n)[-500:] for n in range(machines.count))
            return [*kills, kill], f"{kill.fault}\n{logs}", resumed
        if kill.came_too_late:
            return kills, compared(machines, wanted), resumed
        kills.append(kill)
    machines.start()
    codes, _ = machines.wait()
    resumed += re.findall(r"resumed at step (\d+)", machines.log())
    if set(codes) != {0}:
        return kills, f"ended with exit codes {codes}: {machines.log()[-500:]}", resumed
    return kills, compared(machines, wanted), resumed


def compared(machines: Machines, wanted: Mapping[str, str]) -> str:
    """What differs from the undisturbed run; nothing if nothing does."""
    found = machines.files()
    names = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
    return f"other bytes: {', '.join(names)}" if names else ""


@contextmanager
def network() -> Iterator[str]:
    """A network of its own, without a way out; its name."""
    name = f"rehearsal-{random.SystemRandom().randrange(1 << 32):08x}"
    docker("network", "create", "--internal", name)
    try:
        yield name
    finally:
        docker("network", "rm", name, check=False)


def load(built: Built, store: Store) -> None:
    """Give the image to the daemon."""
    docker("version")
    program = subprocess.Popen(
        ["docker", "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert program.stdin is not None
    with program.stdin:
        stream = cast(BinaryIO, program.stdin)
        write_archive(built.image, store, stream, reference=_reference(built))
    if program.wait() != 0:
        raise EnvironmentLacks("docker could not load the image", hint="see above")


def docker(*words: str, check: bool = True, timeout: float | None = None) -> str:
    """One command of docker's client; what it says. Raises EnvironmentLacks if it fails."""
    try:
        done = subprocess.run(
            ["docker", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout,
        )
    except OSError as error:
        raise EnvironmentLacks("docker is not installed", hint="install docker") from error
    if check and done.returncode != 0:
        raise EnvironmentLacks(f"docker {words[0]} failed: {done.stdout.strip()}")
    return done.stdout


def _reference(built: Built) -> str:
    return f"recipec.local/{built.name}:latest"


def _nodes(built: Built, recipe: Path) -> int:
    contract = json.loads((built.folder / "run.json").read_bytes())
    nodes = int(contract.get("parallelism", {}).get("nodes", 1))
    if nodes == 1:
        raise EnvironmentLacks(
            f"{recipe} is for one machine", hint="set hardware.nodes, or take rehearse_spot"
        )
    return nodes


if __name__ == "__main__":
    sys.exit(main())
