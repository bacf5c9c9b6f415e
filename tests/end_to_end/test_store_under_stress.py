"""The store while others use it, on a full disk, after damage: the next build simply uses it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recipec.cli.main import main
from recipec.store import Store
from tests.support.projects import Project
from tests.support.smallbuild import copy_of, everything, make_small, upstream

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project that was built while its upstream was there."""
    with upstream(noise=4_000_000) as site:
        project = make_small(tmp_path_factory.mktemp("built"), site)
        project.run("build", "recipes/tiny.yaml")
    return project


def build(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """The digest of a build in this process."""
    monkeypatch.setenv("RECIPEC_CACHE", str(project.cache))
    monkeypatch.chdir(project.root)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    assert main(["build", "recipes/tiny.yaml", "--locked", "--jobs", "1", "--json"]) == 0
    return str(json.loads(capsys.readouterr().out)["image"])


def digest_of(project: Project) -> str:
    assert project.lock.image is not None
    return project.lock.image.manifest


def blobs(project: Project) -> dict[str, int]:
    found = everything(project.cache)
    return {name: size for name, size in found.items() if not name.startswith("records/")}


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_cold_builds_at_once_share_a_store(built: Project, tmp_path: Path, count: int) -> None:
    copies = [copy_of(built, tmp_path / str(number), inputs=True) for number in range(count)]
    cache = copies[0].cache
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "recipec.cli.main", "build", str(copy.recipe), "--json"],
            cwd=copy.root,
            env={**os.environ, **copy.environment, "RECIPEC_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for copy in copies
    ]
    found = [json.loads(process.communicate()[0])["image"] for process in running]
    assert found == [digest_of(built)] * count
    store = Store(cache)
    assert all(store.verified(digest) for digest in store.digests())
    assert all(plain is not None for _, plain in store.records())
    # The store of the first lock has the mirror's index, too; neither has anything else.
    assert blobs(copies[0]).items() <= blobs(built).items()
    assert not (cache / "tmp").exists() or not any((cache / "tmp").iterdir())


Damage = Callable[[Store, Project], None]


def flip_layer(store: Store, project: Project) -> None:
    """A byte of the largest layer, which the build folder links to."""
    rows = json.loads((project.build / "build.json").read_bytes())["image"]["layers"]
    largest = max(rows, key=lambda row: row["blob"]["size"])
    flip(store.path(largest["blob"]["digest"]))


def flip_wheel(store: Store, project: Project) -> None:
    wheel = max(project.lock.wheels, key=lambda wheel: wheel.size)
    flip(store.path(wheel.sha256))


def flip_record(store: Store, project: Project) -> None:
    for path, _ in store.records("layers"):
        flip(path)
    (project.build / "build.json").unlink()


def drop_layers(store: Store, project: Project) -> None:
    """Records that name blobs which are not there."""
    rows = json.loads((project.build / "build.json").read_bytes())["image"]["layers"]
    for row in rows:
        store.path(row["blob"]["digest"]).unlink()


def flip(path: Path) -> None:
    """Change a byte where the file lies, as a bad disk does: links show it too."""
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        old = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([old[0] ^ 1]))


@pytest.mark.parametrize("damage", [flip_layer, flip_wheel, flip_record, drop_layers])
def test_what_is_damaged_is_dropped_and_made_again(
    damage: Damage,
    built: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = copy_of(built, tmp_path, inputs=True)
    assert build(copy, monkeypatch, capsys) == digest_of(built)
    whole = blobs(copy)
    store = Store(copy.cache)
    damage(store, copy)
    assert main(["cache", "verify", "--repair"]) == (0 if damage is drop_layers else 4)
    if damage is flip_wheel:
        wheel = max(built.lock.wheels, key=lambda wheel: wheel.size)
        os.link(Store(built.cache).path(wheel.sha256), store.path(wheel.sha256))
    assert build(copy, monkeypatch, capsys) == digest_of(built)
    assert blobs(copy) == whole
    assert main(["cache", "verify"]) == 0
    for blob in (copy.build / "image/blobs/sha256").iterdir():
        assert blob.read_bytes() == store.path(f"sha256:{blob.name}").read_bytes()


FULL = """
set -e
mount -t tmpfs -o size=$1 none "$2"
cp -r --preserve=mode "$3"/. "$2"
set +e
RECIPEC_CACHE="$2" "$4" -m recipec.cli.main build recipes/tiny.yaml --locked --jobs "$5"
echo "exit code $?"
find "$2/tmp" -type f
"$4" -m recipec.cli.main cache verify
mount -o remount,size=100m "$2"
RECIPEC_CACHE="$2" "$4" -m recipec.cli.main build recipes/tiny.yaml --locked --json
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_is_said_and_the_next_build_uses_what_is_there(
    jobs: int, built: Project, tmp_path: Path
) -> None:
    """A store on a file system of 6 MB, of which the inputs take 4."""
    copy = copy_of(built, tmp_path, inputs=True)
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["6m", str(disk), str(copy.cache), sys.executable, str(jobs)]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", FULL, "bash", *words],
        cwd=copy.root,
        env={**os.environ, **copy.environment, "RECIPEC_CACHE": str(disk)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert f"error: the disk is full: {disk}: " in done.stderr
    said = re.search(
        r"(\d) layers that are still to be made take about (.*) MB, (.*) MB", done.stderr
    )
    assert said is not None, done.stderr
    assert float(said[2]) > float(said[3])
    assert "  hint: free some space, run `recipec cache gc`" in done.stderr
    ended, _, document = done.stdout.partition("{")
    assert ended == "exit code 3\n"  # and no temporary file
    assert "records read, 0 wrong" in done.stderr
    assert json.loads("{" + document)["image"] == digest_of(built)


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments(rounds: int) -> None:
    command = [sys.executable, "-m", "scripts.check_kills", "--rounds", str(rounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{rounds} passed, 0 failed" in done.stdout


@pytest.mark.parametrize("builds", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_many_builds_give_one_digest(builds: int) -> None:
    command = [sys.executable, "-m", "scripts.check_builds", "--builds", str(builds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{builds} builds, 1 digest\n" in done.stdout
