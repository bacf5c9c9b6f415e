"""kill -9 at random moments of a cold build, then a build: the same digest, nothing left behind.

    python -m scripts.check_kills [--rounds N] [--seed S]

A small project of real form is built cold, downloads from a loopback server included, in a process
group that is killed after a random time between nothing and what a whole build takes. Whatever the
store holds then must be whole. The build after it must give the digest of the uninterrupted one and
leave the same files, in the store and in the project. Every fifth round has two workers. Builds are
forked from a process that has the compiler loaded, so that the time goes into building.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from recipec.cli.main import main as recipec
from recipec.store import Store
from tests.support.projects import Project
from tests.support.smallbuild import environment, make_small, upstream
from tests.support.upstreams import Site

RECIPE = "recipes/tiny.yaml"


@dataclass(frozen=True, kw_only=True)
class Round:
    """One kill and what came of it."""

    jobs: int
    after: float
    """Seconds from the start to the kill."""
    killed: bool
    """Whether the build was still running."""
    found: int
    """Blobs that the killed build left in the store."""
    wrong: str
    """What was not as it should be; empty if all was."""


def main() -> int:
    """Run the rounds; exit code 1 if anything was wrong, or if no build was killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, served() as site:
        rounds = list(run(Path(name), site, options.rounds, options.seed))
    killed = sum(one.killed for one in rounds)
    wrong = [one for one in rounds if one.wrong]
    for one in wrong:
        print(f"killed after {one.after:.3f} s with {one.jobs} jobs: {one.wrong}")
    cut = sum(one.found > 0 for one in rounds if one.killed)
    print(f"{len(rounds)} rounds, {killed} killed, {cut} of them with blobs in the store already")
    print(f"{len(rounds) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong or not killed else 0


@contextmanager
def served() -> Iterator[Site]:
    """The upstream in a process of its own: this one forks, so it must not have threads."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        with silent(), upstream() as site:  # it would tell of every connection that is cut
            os.write(theirs, site.base.encode())
            os.close(theirs)
            signal.pause()
        os._exit(0)
    os.close(theirs)
    try:
        with os.fdopen(ours) as stream:
            yield Site(base=stream.read())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def run(folder: Path, site: Site, rounds: int, seed: int) -> Iterator[Round]:
    """Build once for the lock and the listing, then kill and build again, round by round."""
    project = make_small(folder, site)
    os.environ.update({**environment(site, folder), "RECIPEC_CACHE": str(project.cache)})
    os.chdir(project.root)
    with silent():
        assert recipec(["build", RECIPE]) == 0
    chance = random.Random(seed)
    clean: dict[int, tuple[str, list[str]]] = {}
    took: dict[int, float] = {}
    for number in range(rounds):
        jobs = 2 if number % 5 == 4 else 1
        if jobs not in clean:
            took[jobs] = cold(project, jobs)
            clean[jobs] = (digest(project), listing(project))
        yield one_round(project, jobs, chance.uniform(0, took[jobs]), clean[jobs])


def cold(project: Project, jobs: int) -> float:
    """An uninterrupted cold build, forked as the others are; the seconds it took."""
    empty(project)
    started = time.monotonic()
    assert os.waitpid(start(jobs), 0)[1] == 0
    return time.monotonic() - started


def one_round(project: Project, jobs: int, after: float, wanted: tuple[str, list[str]]) -> Round:
    """Kill a cold build after so many seconds, look at what it left, and build."""
    empty(project)
    child = start(jobs)
    time.sleep(after)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    store = Store(project.cache)
    found = list(store.digests())
    faults = [f"{blob} is not whole" for blob in found if not store.verified(blob)]
    faults += [f"{path} is not whole" for path, plain in store.records() if plain is None]
    if os.waitpid(start(jobs), 0)[1] != 0:
        faults.append("the next build failed")
    elif digest(project) != wanted[0]:
        faults.append(f"the next build gave {digest(project)}")
    elif (left := listing(project)) != wanted[1]:
        faults.append(f"other files: {sorted(set(left) ^ set(wanted[1]))}")
    return Round(jobs=jobs, after=after, killed=killed, found=len(found), wrong="; ".join(faults))


def start(jobs: int) -> int:
    """A build in a process group of its own, forked; its process id."""
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            with silent():
                os._exit(recipec(["build", RECIPE, "--locked", "--jobs", str(jobs)]))
        finally:
            os._exit(70)
    with suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)  # whoever is first: the group is there before it is killed
    return child


@contextmanager
def silent() -> Iterator[None]:
    """Nothing is printed inside, by this process or by those that it starts."""
    kept = os.dup(1), os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for handle in (*kept, sink):
            os.close(handle)


def empty(project: Project) -> None:
    """As on a machine that has never built it: a lock, and neither a store nor a build folder."""
    shutil.rmtree(project.cache, ignore_errors=True)
    shutil.rmtree(project.root / "build", ignore_errors=True)
    (project.root / "dvc.yaml").write_text("")


def digest(project: Project) -> str:
    """The image that lies in the build folder."""
    index = json.loads((project.build / "image/index.json").read_bytes())
    return str(index["manifests"][0]["digest"])


def listing(project: Project) -> list[str]:
    """Every file of the project and of the store, but records, which differ by what was asked."""
    found = [path for path in project.root.rglob("*") if path.is_file()]
    for path in project.cache.rglob("*"):
        inside = path.relative_to(project.cache).parts[0]
        if path.is_file() and not (inside == "records" and path.suffix == ".record"):
            found.append(path)
    return sorted(str(path) for path in found)


if __name__ == "__main__":
    sys.exit(main())
