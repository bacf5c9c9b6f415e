"""Many builds of one lock under all that a machine may have otherwise: one digest.

    python -m scripts.check_builds [--builds N] [--recipe FILE] [--python PATH] [--zlib PATH]

What varies, each value about equally often and independently of the others: the Python (those of
`--python`, besides this one), the zlib that is loaded into it (those of `--zlib`, besides its own),
umask, time zone, locale, hash seed, user, disk or memory file system, the order in which inputs
were written and in which the lock lists them, one to four workers, a store that is empty but for
downloads or one that has built before, a lock that knows the layers' digests, so that they need not
be inflated, or one that does not. Without `--recipe` a small project of real form is built,
with it a project's own, whose downloads must be in the user's store.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recipec.cli.bundle import gather
from recipec.cli.project import Project as Located
from recipec.cli.project import find_project
from recipec.pins.bundle import Manifest
from recipec.progress import Silent
from recipec.store import Store
from tests.support.smallbuild import environment, make_small, upstream

ROOT = Path(__file__).parents[1]
UMASKS = (0o022, 0o077, 0o000, 0o027)
ZONES = ("UTC", "Asia/Tokyo", "America/Lima", "Australia/Lord_Howe")
LOCALES = ("C", "C.UTF-8", "POSIX", "en_US.UTF-8", "tr_TR.UTF-8")
SEEDS = ("random", "0", "1", "4294967295")
NOBODY = 54_321
"""A user that no machine knows by a name."""
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How one build's surroundings differ; its fields are the columns of the table."""

    python: str
    zlib: str
    umask: int
    zone: str
    locale: str
    hash_seed: str
    uid: int
    place: str
    order: int
    jobs: int
    store: str
    lock: str


def main() -> int:
    """Build and print the table; exit code 1 if there is more than one digest."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project, store = _project(options.recipe, folder)
        manifest, sources = gather(project, store, Silent())
        promised = json.loads(project.lock.read_bytes())["image"]["manifest"]
        digests = Counter([promised])
        variations = list(vary(options))
        _head(options)
        for number, variation in enumerate(variations):
            digest = build(variation, manifest, sources, number)
            digests[digest] += 1
            print(_row(number, variation, digest), flush=True)
    builds = digests.total() - 1
    print(f"{builds} builds, {len(digests)} digest{'s' if len(digests) > 1 else ''}")
    wrong = builds + 1 - digests[promised]
    print(f"{builds - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", type=int, default=100)
    parser.add_argument("--recipe", type=Path, help="default: a small project of the tests'")
    parser.add_argument(
        "--python", action="append", default=[], help="a further interpreter, with dependencies"
    )
    parser.add_argument(
        "--zlib", action="append", default=[], help="a further libz.so.1, by LD_PRELOAD"
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _project(recipe: Path | None, folder: Path) -> tuple[Located, Store]:
    """A recipe that is locked, and the store with its inputs."""
    if recipe is not None:
        return find_project(recipe), Store()
    with upstream() as site:
        small = make_small(folder, site)
        small.run("build", "recipes/tiny.yaml")
    return find_project(small.recipe), Store(small.cache)


def vary(options: argparse.Namespace) -> Iterator[Variation]:
    """As many variations as are asked for, the same for the same seed."""
    chance = random.Random(options.seed)
    values: dict[str, Sequence[Any]] = {
        "python": [sys.executable, *options.python],
        "zlib": ["", *options.zlib],
        "umask": UMASKS,
        "zone": ZONES,
        "locale": LOCALES,
        "hash_seed": SEEDS,
        "uid": [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()],
        "place": ["disk", "memory"] if MEMORY.is_dir() else ["disk"],
        "order": range(1000),
        "jobs": (1, 2, 3, 4),
        "store": ("cold", "warm"),
        "lock": ("layers", "no layers"),
    }
    columns = {name: list(_cycle(each, options.builds, chance)) for name, each in values.items()}
    for number in range(options.builds):
        yield Variation(**{name: column[number] for name, column in columns.items()})


def _cycle(values: Sequence[Any], count: int, chance: random.Random) -> list[Any]:
    """`count` values, each about as often as the others, in no order."""
    found = [values[number % len(values)] for number in range(count)]
    chance.shuffle(found)
    return found


def build(variation: Variation, manifest: Manifest, sources: dict[str, Path], number: int) -> str:
    """The digest of one build in a fresh folder with a fresh store."""
    parent = MEMORY if variation.place == "memory" else None
    with tempfile.TemporaryDirectory(prefix=f"build-{number}-", dir=parent) as name:
        folder = Path(name)
        lay_out(folder, variation, manifest, sources)
        if variation.uid != os.geteuid() and _may_run(variation.python, variation.uid):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, variation.uid, variation.uid)
        digest = _run(variation, folder, manifest.recipe)
        if variation.store == "warm":
            shutil.rmtree(folder / "project/build")
            digest = _run(variation, folder, manifest.recipe)
    return digest


def lay_out(
    folder: Path, variation: Variation, manifest: Manifest, sources: dict[str, Path]
) -> None:
    """The project and a store that has its inputs only, written and listed in another order."""
    chance = random.Random(variation.order)
    store = Store(folder / "cache")
    entries = list(manifest.entries)
    chance.shuffle(entries)
    for entry in entries:
        kind, _, rest = entry.member.partition("/")
        target = folder / kind / rest if kind == "project" else store.path(entry.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources[entry.member], target)
    (folder / "project/dvc.yaml").write_text("")
    for lock in folder.rglob("*.lock.json"):
        plain = json.loads(lock.read_bytes())
        for listed in ("wheels", "debs"):
            chance.shuffle(plain[listed])
        if variation.lock == "no layers":
            del plain["image"]["layers"]
        lock.write_text(json.dumps(plain, indent=2))


def _as_user(uid: int) -> list[str]:
    """A command's beginning that makes another user of it."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


def _may_run(python: str, uid: int) -> bool:
    """Whether that user can reach the interpreter: one below /root is root's own."""
    command = [*_as_user(uid), python, "-c", "import msgspec"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(variation: Variation, folder: Path, recipe: str) -> str:
    """`recipec build --locked` as the variation has it; the digest, or what went wrong."""
    command = [variation.python, "-m", "recipec.cli.main", "build", recipe, "--locked", "--json"]
    command += ["--jobs", str(variation.jobs)]
    if variation.uid != os.geteuid():
        # Where it cannot be reached, the user has another number in a namespace of its own.
        inside = ["unshare", "--user", f"--map-user={variation.uid}", "--"]
        another = _may_run(variation.python, variation.uid)
        command = [*(_as_user(variation.uid) if another else inside), *command]
    packages = [str(ROOT / name) for name in ("compiler", "runtime", "templates")]
    done = subprocess.run(
        command,
        cwd=folder / "project",
        umask=variation.umask,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RECIPEC_CACHE": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join(packages),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": variation.hash_seed,
            "TZ": variation.zone,
            "LC_ALL": variation.locale,
            "LD_PRELOAD": variation.zlib,
            **environment(None, folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"exit code {done.returncode}: {done.stderr[-300:]}"
    return str(json.loads(done.stdout)["image"])


def _head(options: argparse.Namespace) -> None:
    """What the letters and numbers of the table stand for, and the table's head."""
    about = "import sys, zlib; print(sys.version.split()[0], 'zlib', zlib.ZLIB_RUNTIME_VERSION)"
    for python in (sys.executable, *options.python):
        for library in ("", *options.zlib):
            environ = {**os.environ, "LD_PRELOAD": library}
            done = subprocess.run(
                [python, "-c", about], env=environ, capture_output=True, text=True, check=True
            )
            print(f"{done.stdout.strip():24} {python} {library}")
    names = [field.name for field in fields(Variation)]
    print("  ".join(["  #", *names, "digest"]))


def _row(number: int, variation: Variation, digest: str) -> str:
    cells = []
    for field in fields(Variation):
        value = getattr(variation, field.name)
        if field.name in ("python", "zlib"):
            value = Path(value).parent.parent.name if field.name == "python" else value[-24:] or "-"
        cells.append(f"{value:03o}" if field.name == "umask" else str(value))
    shown = digest[:19] if digest.startswith("sha256:") else digest
    return "  ".join([f"{number + 1:3}", *cells, shown])


if __name__ == "__main__":
    sys.exit(main())
