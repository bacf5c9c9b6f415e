"""The image builder beside BuildKit, buildah and uv + tar + gzip, on the same wheels, in one run.

    python -m bench.image [--times N]

Everybody starts from wheels that lie on disk and from a base that is there: the engines' base image
is recipec's own base layer. pip compiles no bytecode in the like-for-like rows, since recipec ships
none; the rows with bytecode are what a Dockerfile usually does. recipec's cold time includes its
base, model and data layers, which the others do not make; a second row has these there already.
Both are measured twice: with a lock that knows the layers' digests, as a committed one does, so
that nothing is inflated, and with one that knows no layer yet, as a recipe's first build has it.

What bounds it is a row too: the wheels' bytes inflated and hashed by the same libraries in as many
processes, without a name parsed or a byte written. Memory is the peak over all processes of a build
(proportional set size, sampled), and the largest peak of one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.limit import inflate_and_hash
from bench.peak import peak
from bench.timing import Measured, command, measure, show
from recipec.cli.compile import read_lock
from recipec.cli.project import find_project
from recipec.pins.lockfile import Lock, to_json
from recipec.store import Store

ROOT = Path(__file__).parent.parent
RECIPEC = [sys.executable, "-m", "recipec.cli.main"]


def main() -> None:
    """Run every builder and print the table."""
    from tests.support.daemons import docker_daemon

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1, help="cold runs of each builder")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        project = _project(work)
        recipe = project / "recipes/legal-t5.yaml"
        command([*RECIPEC, "build", str(recipe)])
        lock = read_lock(find_project(recipe))
        assert lock is not None
        wheels = _wheels(lock, work / "wheels")
        total = sum(wheel.stat().st_size for wheel in wheels)
        print(f"{len(wheels)} wheels, {total / 1e6:.0f} MB\n")
        rows = _recipec(recipe, lock, work, times)
        base = _base_tar(recipe, work)
        rows += _uv(wheels, work, times)
        with docker_daemon() as host:
            rows += _buildkit(base, wheels, work, host, times)
        rows += _buildah(base, wheels, work, times)
        print()
        show(rows, against=rows[0])


def _project(work: Path) -> Path:
    """A copy of the example project, so that its build folder and lock are our own."""
    project = work / "project"
    for part in ("recipes", "data", "models"):
        shutil.copytree(ROOT / part, project / part)
    (project / "dvc.yaml").write_text("")
    return project


def _wheels(lock: Lock, folder: Path) -> list[Path]:
    folder.mkdir()
    store = Store()
    for wheel in lock.wheels:
        os.link(store.path(wheel.sha256), folder / wheel.file)
    return sorted(folder.iterdir())


class _Ours:
    """Builds of one recipe by a cache of their own, and what is forgotten before each."""

    def __init__(self, recipe: Path, lock: Lock, work: Path) -> None:
        self.cache = work / "cache"
        self._recipe = recipe
        self._lock = lock
        self._build = recipe.parent.parent / "build"
        self._text = recipe.read_text()
        self._rates = iter(range(1, 100))

    def run(self) -> None:
        command([*RECIPEC, "build", str(self._recipe)], environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        return {"RECIPEC_CACHE": str(self.cache)}

    def empty(self) -> None:
        """A cache with the downloads in it and nothing else."""
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.rmtree(self._build, ignore_errors=True)
        store, target = Store(), Store(self.cache)
        wheels, debs = self._lock.wheels, self._lock.debs
        for digest in [*(wheel.sha256 for wheel in wheels), *(deb.sha256 for deb in debs)]:
            target.path(digest).parent.mkdir(parents=True, exist_ok=True)
            os.link(store.path(digest), target.path(digest))

    def forget_wheels(self) -> None:
        """The cache with base, model and data layers in it, and no record but theirs."""
        state = json.loads((self._build / "legal-t5/build.json").read_bytes())
        for layer in state["image"]["layers"]:
            if layer["kind"] in ("wheel", "wheels"):
                Store(self.cache).path(layer["blob"]["digest"]).unlink(missing_ok=True)
        for records in (self.cache / "records").iterdir():
            if records.name != "layers":
                shutil.rmtree(records)
        shutil.rmtree(self._build)

    def lock_knows(self, layers: tuple[str, ...]) -> None:
        """Put a lock in place that knows these layers."""
        assert self._lock.image is not None
        lock = replace(self._lock, image=replace(self._lock.image, layers=layers))
        self._recipe.with_suffix(".lock.json").write_bytes(to_json(lock))

    def edit(self) -> None:
        rate = f"learning_rate: {next(self._rates)}.0e-4"
        self._recipe.write_text(re.sub(r"learning_rate: [0-9.e-]+", rate, self._text))


def _recipec(recipe: Path, lock: Lock, work: Path, times: int) -> list[Measured]:
    ours = _Ours(recipe, lock, work)
    assert lock.image is not None
    rows = []
    for name, layers in (("", lock.image.layers), (", first lock", ())):
        for what, before in (
            ("recipec, cold", ours.empty),
            ("recipec, wheel layers cold", ours.forget_wheels),
        ):

            def prepare(
                before: Callable[[], None] = before, layers: tuple[str, ...] = layers
            ) -> None:
                before()
                ours.lock_knows(layers)

            rows.append(measure(what + name, ours.run, times=times, before=prepare))
    wheels = [cache_path(ours.cache, wheel.sha256) for wheel in lock.wheels]
    rows.append(measure("inflate and sha256 alone", lambda: inflate_and_hash(wheels), times=times))
    ours.empty()
    ours.lock_knows(lock.image.layers)
    memory = peak([*RECIPEC, "build", str(recipe)], environment=ours.environment)
    print(f"recipec, cold: {memory}")
    return [
        *rows,
        measure("recipec, nothing to do", ours.run, times=15),
        measure("recipec, learning rate edited", ours.run, times=15, before=ours.edit),
        measure("python -c pass", lambda: command([sys.executable, "-c", "pass"]), times=15),
    ]


def cache_path(cache: Path, digest: str) -> Path:
    """Where a blob of this cache lies."""
    return Store(cache).path(digest)


def _base_tar(recipe: Path, work: Path) -> Path:
    """recipec's base layer as a plain tar: the others' base image."""
    state = json.loads((recipe.parent.parent / "build/legal-t5/build.json").read_bytes())
    layer = next(row for row in state["image"]["layers"] if row["kind"] == "base")
    target = work / "base.tar"
    cache = Store(work / "cache")
    with target.open("wb") as stream:
        blob = str(cache.path(layer["blob"]["digest"]))
        subprocess.run(["gzip", "-dc", blob], stdout=stream, check=True)
    return target


def _uv(wheels: list[Path], work: Path, times: int) -> list[Measured]:
    from uv import find_uv_bin

    target = work / "uv"

    def clean() -> None:
        shutil.rmtree(target, ignore_errors=True)
        (work / "uv.tar.gz").unlink(missing_ok=True)

    def run(compress: str) -> Callable[[], None]:
        def build() -> None:
            install = [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--no-index"]
            command(
                [*install, "--no-cache", "--link-mode=copy", "--target", str(target)]
                + [str(wheel) for wheel in wheels]
            )
            tar = f"tar -C {target} -cf - . | {compress} > {work}/uv.tar.gz"
            command(["bash", "-o", "pipefail", "-c", tar])

        return build

    return [
        measure("uv --target + tar + gzip", run("gzip"), times=times, before=clean),
        measure("uv --target + tar + gzip -1", run("gzip -1"), times=times, before=clean),
        measure(
            "uv --target + tar + igzip",
            run(f"{sys.executable} -m isal.igzip -2"),
            times=times,
            before=clean,
        ),
    ]


def _dockerfile(folder: Path, wheels: list[Path], *, bytecode: bool) -> Path:
    """A context with the wheels, and pip run from its own wheel: the base has no shell."""
    context = folder / ("with-bytecode" if bytecode else "plain")
    (context / "wheels").mkdir(parents=True)
    for wheel in wheels:
        os.link(wheel, context / "wheels" / wheel.name)
    command([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(context), "pip"])
    pip = next(context.glob("pip-*.whl"))
    pip.rename(context / "pip.whl")
    run = ["/usr/bin/python3.11", "/c/pip.whl/pip", "install", "--no-index", "--no-deps"]
    run += ["--quiet", "--root-user-action=ignore", "--break-system-packages"]
    run += [] if bytecode else ["--no-compile"]
    run += [f"/c/wheels/{wheel.name}" for wheel in wheels]
    (context / "Dockerfile").write_text(
        f"FROM recipec-bench-base\nRUN --mount=type=bind,target=/c {json.dumps(run)}\n"
    )
    return context


def _buildkit(base: Path, wheels: list[Path], work: Path, host: str, times: int) -> list[Measured]:
    environment = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "1"}
    docker = "/usr/bin/docker"
    command([docker, "import", str(base), "recipec-bench-base"], environment=environment)
    rows = []
    for bytecode in (False, True):
        context = str(_dockerfile(work / "buildkit", wheels, bytecode=bytecode))
        build = [docker, "build", "--quiet", "--network", "none", "--tag", "bench", context]
        label = "BuildKit, bytecode" if bytecode else "BuildKit"

        def prune() -> None:
            command([docker, "builder", "prune", "--all", "--force"], environment=environment)

        def run(arguments: list[str] = build) -> None:
            command(arguments, environment=environment)

        rows.append(measure(f"{label}, cold", run, times=times, before=prune))
        if not bytecode:
            rows.append(measure("BuildKit, nothing to do", run, times=5))
    return rows


def _buildah(base: Path, wheels: list[Path], work: Path, times: int) -> list[Measured]:
    root = ["--root", str(work / "containers"), "--storage-driver", "vfs"]
    if subprocess.run(["test", "-e", "/dev/fuse"], check=False).returncode == 0:
        root = ["--root", str(work / "containers"), "--storage-driver", "overlay"]
    buildah = ["buildah", *root]
    scratch = [*buildah, "from", "--name", "bench-base", "scratch"]
    command(scratch)
    command([*buildah, "add", "bench-base", str(base), "/"])
    command([*buildah, "commit", "--quiet", "bench-base", "recipec-bench-base"])
    context = str(_dockerfile(work / "buildah", wheels, bytecode=False))
    build = [*buildah, "bud", "--layers", "--isolation", "chroot", "--quiet", "--tag", "bench"]
    build += [context]

    def forget() -> None:
        """Remove what an earlier cold run kept as layers."""
        subprocess.run([*buildah, "rmi", "bench"], check=False, capture_output=True)

    cold = measure("buildah, cold", lambda: command(build), times=times, before=forget)
    noop = measure("buildah, nothing to do", lambda: command(build), times=3)
    subprocess.run(
        ["umount", "--recursive", "--lazy", str(work / "containers")],
        check=False,
        capture_output=True,
    )
    return [cold, noop]


if __name__ == "__main__":
    main()
