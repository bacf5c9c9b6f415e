"""The image of a recipe for a GPU at full size: 3 GB of wheels, locked, built and built again.

    python -m bench.cuda --cache FOLDER

FOLDER holds the downloads, 3 GB, and twice as much meanwhile; what it has is not fetched again.
Rows: the lock (fetching what is not there), a cold build with one job and with two by a lock that
knows no layer yet, a cold build by one that does, the same build again, and what bounds them, the
wheels' bytes inflated and hashed by as many processes as there are cores. Each with processor
seconds of all processes, and their peak memory together (proportional set size, sampled every
20 ms). It fails unless every build gives the same manifest.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from bench.limit import inflate_and_hash
from bench.peak import Memory, peak
from recipec.cli.compile import read_lock
from recipec.cli.project import find_project
from recipec.pins.lockfile import Lock, to_json
from recipec.store import Store

ROOT = Path(__file__).parent.parent
NAME = "assistant-cuda"


def main() -> None:
    """Lock, build, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="a RECIPEC_CACHE of your own")
    cache = parser.parse_args().cache.absolute()
    os.environ["RECIPEC_CACHE"] = str(cache)
    with tempfile.TemporaryDirectory(dir=cache.parent) as name:
        project = Path(name)
        for part in ("recipes", "data", "models"):
            shutil.copytree(ROOT / part, project / part)
        (project / "dvc.yaml").write_text("")
        recipe = project / f"recipes/{NAME}.yaml"
        recipe.with_suffix(".lock.json").unlink()
        _row("lock", "lock", recipe)
        lock = _lock(recipe)
        total = sum(wheel.size for wheel in lock.wheels)
        print(f"    {len(lock.wheels)} wheels, {total / 1e6:.0f} MB", flush=True)
        _builds(recipe, lock, Store(cache))
        _limit(lock, Store(cache), project)


def _builds(recipe: Path, lock: Lock, store: Store) -> None:
    plain, manifests, kept = to_json(lock), set(), _blobs(store)
    for jobs in (1, 2):
        _forget(recipe, store, kept)
        recipe.with_suffix(".lock.json").write_bytes(plain)
        _row(f"build, cold, first lock, {jobs} jobs", "build", recipe, "--jobs", jobs)
        manifests.add(_manifest(recipe))
    _forget(recipe, store, kept)
    _row("build, cold, 2 jobs", "build", recipe, "--jobs", 2)
    manifests.add(_manifest(recipe))
    _row("build, nothing to do", "build", recipe)
    state = json.loads((recipe.parent.parent / f"build/{NAME}/build.json").read_bytes())
    layers = state["image"]["layers"]
    size = sum(layer["blob"]["size"] for layer in layers)
    print(f"    {len(layers)} layers, {size / 1e6:.0f} MB, manifests: {', '.join(manifests)}")
    _forget(recipe, store, kept)
    if len(manifests) > 1:
        sys.exit("builds of one lock differ")


def _limit(lock: Lock, store: Store, folder: Path) -> None:
    wheels = []
    for wheel in lock.wheels:
        wheels.append(folder / wheel.file)
        os.link(store.path(wheel.sha256), wheels[-1])
    started, before = time.perf_counter(), _spent()
    inflate_and_hash(wheels)
    _show("inflate and sha256 alone", time.perf_counter() - started, _spent() - before, None)


def _row(name: str, *words: object) -> None:
    started, before = time.perf_counter(), _spent()
    memory = peak([sys.executable, "-m", "recipec.cli.main", *map(str, words)])
    _show(name, time.perf_counter() - started, _spent() - before, memory)


def _show(name: str, seconds: float, spent: float, memory: Memory | None) -> None:
    about = f", {memory.together / 1e6:.0f} MB of memory" if memory else ""
    print(f"{name:32} {seconds:7.1f} s, {spent:6.1f} s of processor{about}", flush=True)


def _spent() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _lock(recipe: Path) -> Lock:
    lock = read_lock(find_project(recipe))
    assert lock is not None
    return replace(lock, image=None)


def _manifest(recipe: Path) -> str:
    state = json.loads((recipe.parent.parent / f"build/{NAME}/build.json").read_bytes())
    return str(state["image"]["manifest"]["digest"])


def _forget(recipe: Path, store: Store, kept: Collection[Path]) -> None:
    """The downloads stay in the store, and no layer."""
    shutil.rmtree(recipe.parent.parent / "build", ignore_errors=True)
    for records in ("builds", "layers"):
        shutil.rmtree(store.root / "records" / records, ignore_errors=True)
    for blob in _blobs(store) - {*kept}:
        blob.unlink()


def _blobs(store: Store) -> set[Path]:
    return {path for path in (store.root / "blobs").rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
