"""A rehearsal of spot machines: SIGTERM, then SIGKILL, at random moments of a recipe's training.

    python -m scripts.rehearse_spot RECIPE [--rounds N] [--stops N] [--seed S] [--grace SECONDS]
                                           [--engine auto|docker|podman|sandbox]

The recipe is built and trained once without disturbance. Then, in each round, its container gets
SIGTERM at a random moment: three times out of four some time after a random line of what it prints,
so that it is training, however busy this machine is; else before its first step. SIGKILL comes
after the grace, at every second stop within a second, so that some are killed while they save. What
it has written is thrown away, as the machine would be, but for the volume with the checkpoint;
another container goes on with that. After the last stop it may finish, and every file must be the
undisturbed run's, byte for byte; exit code 4 if one is not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipec.cli.compile import as_locked
from recipec.cli.project import find_project
from recipec.cli.state import Built
from recipec.engines.docker import DockerEngine
from recipec.engines.engine import Engine
from recipec.engines.job import Job, Mount
from recipec.engines.podman import PodmanEngine
from recipec.engines.sandbox import SandboxEngine
from recipec.engines.select import pick
from recipec.errors import MISMATCH, OK, RecipecError
from recipec.image.image import OUTPUT
from recipec.progress import Silent
from recipec.store import Store, sha256

CHECKPOINTS = "/checkpoints"
TRAINING = 0.75
"""Share of the stops that come after a line of progress."""
WITH_GRACE: Mapping[str, Callable[..., Engine]] = {
    "docker": DockerEngine,
    "podman": PodmanEngine,
    "sandbox": SandboxEngine,
}


STILL_THERE = os.WEXITED | os.WNOHANG | os.WNOWAIT


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One interruption; times in seconds."""

    after: float
    grace: float
    code: int
    """0: it had ended before. 143: it saved a checkpoint. Else it was killed."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """The stops that hit a run, and what was wrong with its end; empty if nothing was."""

    stops: tuple[Stop, ...]
    fault: str


@dataclass(frozen=True, kw_only=True)
class Span:
    """Seconds that the undisturbed run took to its first step and to its end; lines it printed."""

    first: float
    whole: float
    lines: int


@dataclass(frozen=True, kw_only=True)
class Machines:
    """An image, an engine, and folders for what a machine loses and for what it does not."""

    built: Built
    store: Store
    engine: str
    folder: Path

    @property
    def output(self) -> Path:
        """The disk of the machine."""
        return self.folder / "out"

    @property
    def volume(self) -> Path:
        """What outlives it."""
        return self.folder / "checkpoints"

    def start(self, grace: float) -> int:
        """A container on a new machine, in a process of its own; its process id."""
        shutil.rmtree(self.output, ignore_errors=True)
        for folder in (self.output, self.volume):
            folder.mkdir(exist_ok=True)
        child = os.fork()
        if child == 0:
            try:
                log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                engine = WITH_GRACE[self.engine](self.store, grace=grace)
                os._exit(engine.run(self._job()))
            finally:
                os._exit(70)
        return child

    def _job(self) -> Job:
        places = ((self.output, OUTPUT), (self.volume, CHECKPOINTS))
        return Job(
            image=self.built.image,
            reference=f"recipec.local/{self.built.name}:latest",
            command=("train",),
            environment=(
                ("RECIPEC_CHECKPOINTS", CHECKPOINTS),
                ("RECIPEC_RUN_ID", self.built.run_id),
            ),
            mounts=tuple(Mount(host=p, container=at, read_only=False) for p, at in places),
        )

    def files(self) -> Mapping[str, str]:
        """Digest of each file that must be reproducible."""
        return {
            path.relative_to(self.output).as_posix(): sha256(path.read_bytes())
            for path in sorted(self.output.rglob("*"))
            if path.is_file() and path.name != "machine.json"
        }

    def span(self) -> Span:
        """How long the run took that has just ended."""
        machine = json.loads((self.output / "machine.json").read_bytes())
        first, whole = machine["seconds_to_first_step"], machine["seconds"]
        return Span(first=first, whole=whole, lines=max(1, self.lines()))

    def log(self) -> str:
        """What the containers have printed in this round."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def lines(self) -> int:
        """How many lines that is."""
        return self.log().count("\n")


def main() -> int:
    """Rehearse, and print each round; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--stops", type=int, default=2, help="in each round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grace", type=float, default=30.0, help="seconds until SIGKILL")
    parser.add_argument("--engine", choices=("auto", *WITH_GRACE), default="auto")
    options = parser.parse_args()
    try:
        store = Store()
        built = as_locked(find_project(options.recipe), store=store, progress=Silent(), jobs=1)
        engine = pick(options.engine, store).name
    except RecipecError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        machines = Machines(built=built, store=store, engine=engine, folder=Path(name))
        return rehearse(machines, options)


def rehearse(machines: Machines, options: argparse.Namespace) -> int:
    """All rounds. OK if each ended with the undisturbed run's bytes."""
    code = wait(machines.start(options.grace))
    if code != 0:
        print(f"the undisturbed run ended with exit code {code}:\n{machines.log()}")
        return code
    wanted = machines.files()
    span = machines.span()
    print(f"undisturbed: {span.whole:.1f} s on {machines.engine}, {len(wanted)} files", flush=True)
    chance = random.Random(options.seed)
    rounds = [
        one_round(n + 1, machines, wanted, chance, span, options) for n in range(options.rounds)
    ]
    stops = [stop for one in rounds for stop in one.stops]
    saved = sum(stop.code == 128 + signal.SIGTERM for stop in stops)
    wrong = sum(bool(one.fault) for one in rounds)
    print(f"{len(rounds)} rounds, {len(stops)} stops: {saved} ended by themselves after SIGTERM,")
    print(f"{len(stops) - saved} were killed; {len(rounds) - wrong} passed, {wrong} failed")
    return MISMATCH if wrong else OK


def one_round(
    number: int,
    machines: Machines,
    wanted: Mapping[str, str],
    chance: random.Random,
    span: Span,
    options: argparse.Namespace,
) -> Round:
    """Stop a run some times and let it finish; again from its start if no stop came in time."""
    stops: list[Stop] = []
    ended = True
    while not stops:
        shutil.rmtree(machines.volume, ignore_errors=True)
        (machines.folder / "log").unlink(missing_ok=True)
        found = list(disturb(machines, chance, span, options, turn=number))
        stops = [stop for stop in found if stop.code != 0]
        ended = len(stops) < len(found)
    fault = finish(machines, wanted, ended=ended)
    told = ", ".join(f"{stop.after:.1f} s (exit code {stop.code})" for stop in stops)
    resumed = re.findall(r"resumed at step (\d+)", machines.log())
    print(
        f"{number:>3}: stopped after {told}; resumed at {resumed}: {fault or 'same bytes'}",
        flush=True,
    )
    return Round(stops=tuple(stops), fault=fault)


def disturb(
    machines: Machines,
    chance: random.Random,
    span: Span,
    options: argparse.Namespace,
    *,
    turn: int,
) -> Iterator[Stop]:
    """Stop a run again and again; until it ends by itself, because the moment came too late."""
    for number in range(turn, turn + options.stops):
        training, line = chance.random() < TRAINING, chance.randint(1, span.lines)
        more = chance.uniform(0, span.whole / span.lines if training else span.first)
        grace = options.grace if number % 2 else chance.uniform(0.0, min(1.0, options.grace))
        line = machines.lines() + line if training else 0
        started = time.monotonic()
        child = machines.start(grace)
        while machines.lines() < line and os.waitid(os.P_PID, child, STILL_THERE) is None:
            time.sleep(0.02)
        time.sleep(more)
        after = time.monotonic() - started
        os.kill(child, signal.SIGTERM)  # it is there until it is waited for
        yield Stop(after=after, grace=grace, code=(code := wait(child)))
        if code == 0:
            return


def finish(machines: Machines, wanted: Mapping[str, str], *, ended: bool) -> str:
    """Let the run come to its end; what is wrong with it, nothing if it is the undisturbed one."""
    if not ended and (code := wait(machines.start(60.0))) != 0:
        return f"ended with exit code {code}: {machines.log()[-500:]}"
    found = machines.files()
    names = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
    if names:
        return f"other bytes: {', '.join(names)}"
    left = [path.name for path in machines.volume.rglob("*") if path.is_file()]
    return f"left on the volume: {', '.join(left)}" if left else ""


def wait(child: int) -> int:
    """A process's exit code, 128 + n after signal n."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
