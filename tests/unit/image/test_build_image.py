"""The whole pass: from a lock to an image, cold, warm, and with bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from recipec.emit.bundle import Bundle
from recipec.errors import EnvironmentLacks, HashMismatch, RecipecError, UnsafeInput
from recipec.image.build import build_image
from recipec.image.image import Image
from recipec.image.spec import layer_specs
from recipec.pins.lockfile import Lock, to_json
from recipec.progress import Silent
from recipec.store import Store, sha256
from tests.support.pinned import RECIPE, RUNTIME, Project, project
from tests.support.wheels import make_wheel, patched


def test_the_layers_and_what_they_hold(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = project(tmp_path / "in").build(store)
    kinds = [layer.kind for layer in image.layers]
    assert kinds[:2] == ["base", "wheel"]
    assert kinds[-4:] == ["model", "data", "runtime", "recipe"]
    assert set(kinds[2:-4]) == {"wheels"}
    assert image.layers[1].name == "large 1.0"
    assert image.layers[-1].blob.size < 1000
    assert not any(layer.cached for layer in image.layers)
    names = {}
    for layer in image.layers:
        blob = store.path(layer.blob.digest)
        assert blob.stat().st_size == layer.blob.size
        tar = zlib_members(blob.read_bytes())
        assert sha256(tar) == layer.diff_id
        listing = subprocess.run(["tar", "-t"], input=tar, capture_output=True, check=True)
        names[layer.kind, layer.name] = listing.stdout.decode().split()
    assert names["model", "path:models/tiny"][-1] == "opt/recipec/model/weights.safetensors"
    assert names["data", "train"][-1] == "opt/recipec/data/train.jsonl"
    assert names["recipe", "scripts and run.json"][-2:] == [
        "opt/recipec/recipe/run.json",
        "opt/recipec/recipe/train.py",
    ]
    assert "opt/recipec/runtime/recipec_runtime/__main__.py" in names["runtime", "recipec_runtime"]


def zlib_members(data: bytes) -> bytes:
    """The contents of every gzip member."""
    out = bytearray()
    while data:
        inflate = zlib.decompressobj(31)
        out += inflate.decompress(data) + inflate.flush()
        assert inflate.eof
        data = inflate.unused_data
    return bytes(out)


def test_config_and_manifests(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = project(tmp_path / "in").build(store)
    config = json.loads(store.read(image.config.digest))
    assert config["created"] == "1980-01-02T00:00:00Z"
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["WorkingDir"] == "/out"
    assert config["config"]["Entrypoint"] == ["/usr/bin/python3.11", "-m", "recipec_runtime"]
    assert config["config"]["Cmd"] == ["train"]
    assert config["config"]["Env"][-1] == "ATEN_CPU_CAPABILITY=avx2"
    assert "PYTHONPATH=/opt/recipec/runtime" in config["config"]["Env"]
    assert config["config"]["Labels"]["org.opencontainers.image.title"] == "legal-t5"
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in image.layers]
    assert len(config["history"]) == len(image.layers)
    oci, docker = (json.loads(store.read(m.digest)) for m in (image.manifest, image.schema2))
    assert oci["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert docker["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    for manifest in (oci, docker):
        assert manifest["config"]["digest"] == image.config.digest
        assert [(x["digest"], x["size"]) for x in manifest["layers"]] == [
            (layer.blob.digest, layer.blob.size) for layer in image.layers
        ]


def test_the_same_bytes_with_any_jobs_and_any_order(tmp_path: Path) -> None:
    made = project(tmp_path / "in")
    first = made.build(Store(tmp_path / "one"), jobs=1)
    shuffled = replace(
        made.lock,
        wheels=tuple(reversed(made.lock.wheels)),
        debs=tuple(reversed(made.lock.debs)),
    )
    second = replace(made, lock=shuffled).build(Store(tmp_path / "four"), jobs=4)
    assert first == second


def test_a_warm_build_makes_nothing_and_an_edit_makes_one_layer(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = project(tmp_path / "in")
    cold = made.build(store)
    before = set(store.digests())
    warm = made.build(store)
    assert all(layer.cached for layer in warm.layers)
    assert warm.manifest == cold.manifest
    assert set(store.digests()) == before
    edited = made.build(store, recipe=Bundle.of({**dict(RECIPE.files), "run.json": b"{}\n"}))
    assert [layer.kind for layer in edited.layers if not layer.cached] == ["recipe"]
    assert len(set(store.digests()) - before) == 4  # layer, config, two manifests


def test_a_lost_or_cut_blob_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = project(tmp_path / "in")
    cold = made.build(store)
    store.path(cold.layers[1].blob.digest).unlink()
    cut = store.path(cold.layers[0].blob.digest)
    cut.chmod(0o644)
    cut.write_bytes(cut.read_bytes()[:-1])
    again = made.build(store)
    assert [layer.cached for layer in again.layers[:3]] == [False, False, True]
    assert again.manifest == cold.manifest
    assert store.verified(again.layers[0].blob.digest)


def build_empty(made: Project, store: Store) -> Image:
    """A build whose emitted files are none."""
    return build_image(
        made.lock,
        recipe=Bundle.of({}),
        runtime=Bundle.of({}),
        environment=(),
        sources=made.sources,
        store=store,
        jobs=1,
        progress=Silent(),
    )


WARM = """
import sys
from pathlib import Path
from recipec.emit.bundle import Bundle
from recipec.pins.lockfile import from_json
from recipec.progress import Silent
from recipec.store import Store
before = set(sys.modules)
from recipec.image.build import build_image
here = Path(sys.argv[1])
lock = from_json((here / "lock.json").read_bytes())
every = [x.sha256 for x in (*lock.wheels, *lock.debs, *lock.model.files, *lock.data)]
image = build_image(
    lock, recipe=Bundle.of({}), runtime=Bundle.of({}), environment=(),
    sources={digest: Path("gone") for digest in every},
    store=Store(here / "store"), jobs=4, progress=Silent(),
)
assert all(layer.cached for layer in image.layers)
heavy = {"zipfile", "tarfile", "gzip", "isal", "concurrent.futures", "multiprocessing", "socket"}
print(sorted(heavy & set(sys.modules) - before))
"""


def test_warm_builds_read_no_input_and_import_nothing_heavy(tmp_path: Path) -> None:
    made = project(tmp_path / "in")
    build_empty(made, Store(tmp_path / "store"))
    for path in made.sources.values():
        path.unlink()
    (tmp_path / "lock.json").write_bytes(to_json(made.lock))
    done = subprocess.run(
        [sys.executable, "-c", WARM, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "[]\n"


def failing(tmp_path: Path, made: Project, jobs: int) -> RecipecError:
    store = Store(tmp_path / f"store{jobs}")
    with pytest.raises(RecipecError) as caught:
        made.build(store, jobs=jobs)
    assert list((store.root / "tmp").iterdir()) == []
    return caught.value


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_lying_wheel_stops_the_build_with_its_name(tmp_path: Path, jobs: int) -> None:
    made = project(tmp_path / "in")
    path = tmp_path / "in" / "large-1.0-py3-none-any.whl"
    raw = path.read_bytes()
    patched(path, 14, b"\0\0\0\0")
    patched(path, raw.index(b"PK\x01\x02") + 16, b"\0\0\0\0")
    with pytest.raises(HashMismatch):
        made.build(Store(tmp_path / "other"))
    wheels = sorted((tmp_path / "in").glob("*.whl"))
    error = failing(tmp_path, project(tmp_path / "in", wheels), jobs)
    assert isinstance(error, UnsafeInput)
    assert error.message.startswith(
        "large-1.0-py3-none-any.whl: "
        "usr/local/lib/python3.11/dist-packages/large/weights.bin: its CRC is "
    )


@pytest.mark.parametrize("jobs", [1, 4])
def test_files_that_changed_since_they_were_pinned(tmp_path: Path, jobs: int) -> None:
    made = project(tmp_path / "in")
    path = tmp_path / "in" / "weights.safetensors"
    path.write_bytes(b"x" * path.stat().st_size)
    error = failing(tmp_path, made, jobs)
    assert isinstance(error, HashMismatch)
    assert error.message == (
        "opt/recipec/model/weights.safetensors: "
        f"expected {made.lock.model.files[0].sha256}, found {sha256(path.read_bytes())}"
    )


def test_a_file_of_another_size(tmp_path: Path) -> None:
    made = project(tmp_path / "in")
    (tmp_path / "in" / "train.jsonl").write_bytes(b"short")
    assert isinstance(failing(tmp_path, made, 1), HashMismatch)
    (tmp_path / "in" / "train.jsonl").write_bytes(b"long" * 1000)
    assert isinstance(failing(tmp_path, made, 1), HashMismatch)


def test_a_source_that_is_missing(tmp_path: Path) -> None:
    made = project(tmp_path / "in")
    del made.sources[made.lock.data[0].sha256]
    with pytest.raises(EnvironmentLacks, match=r"its bytes .* are not here"):
        made.build(Store(tmp_path / "store"))


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize(
    ("one", "two", "path"),
    [
        ({"shared.py": b"1"}, {"shared.py": b"2"}, "shared.py"),
        ({"shared": b"1"}, {"shared/a.py": b"2"}, "shared"),
        ({"shared/a.py": b"1"}, {"shared": b"2"}, "shared"),
    ],
)
def test_wheels_that_collide_are_refused(
    tmp_path: Path, one: dict[str, bytes], two: dict[str, bytes], path: str, jobs: int
) -> None:
    wheels = [make_wheel(tmp_path, "one", one), make_wheel(tmp_path, "two", two)]
    error = failing(tmp_path, project(tmp_path / "in", wheels), jobs)
    assert isinstance(error, UnsafeInput)
    assert error.message == (
        "one-1.0-py3-none-any.whl and two-1.0-py3-none-any.whl both install "
        f"/usr/local/lib/python3.11/dist-packages/{path}, and not the same"
    )


def test_scripts_collide_too(tmp_path: Path) -> None:
    text = "[console_scripts]\nrun = {}:main\n"
    wheels = [
        make_wheel(tmp_path, name, {f"{name}.py": b""}, entry_points=text.format(name))
        for name in ("one", "two")
    ]
    with pytest.raises(UnsafeInput, match="both install /usr/local/bin/run, and not the same"):
        project(tmp_path / "in", wheels).build(Store(tmp_path / "store"))


def test_equal_files_of_two_wheels_are_fine(tmp_path: Path) -> None:
    shared = {"nvidia/__init__.py": b"# a namespace\n"}
    wheels = [
        make_wheel(tmp_path, "one", {**shared, "nvidia/one.py": b"1"}),
        make_wheel(tmp_path, "two", {**shared, "nvidia/two.py": b"2"}),
    ]
    store = Store(tmp_path / "store")
    image = project(tmp_path / "in", wheels).build(store)
    for layer in image.layers:
        names = subprocess.run(
            ["tar", "-tzf", str(store.path(layer.blob.digest))], capture_output=True, check=True
        ).stdout.split()
        assert len(names) == len(set(names))


class Counted(Silent):
    """A progress that adds up."""

    def __init__(self) -> None:
        self.total = self.done = self.ended = 0

    def begin(self, what: str, total: int) -> int:
        assert what == "image layers"
        self.total = total
        return 0

    def advance(self, task: int, amount: int) -> None:
        assert task == 0
        self.done += amount

    def end(self, task: int) -> None:
        assert task == 0
        self.ended += 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_progress_ends_near_what_it_promised(tmp_path: Path, jobs: int) -> None:
    made, counted = project(tmp_path / "in"), Counted()
    build_image(
        made.lock,
        recipe=RECIPE,
        runtime=RUNTIME,
        environment=(),
        sources=made.sources,
        store=Store(tmp_path / "store"),
        jobs=jobs,
        progress=counted,
    )
    assert 0.9 * counted.total < counted.done <= counted.total
    assert counted.ended == 1


def test_layers_are_few_and_stable(tmp_path: Path) -> None:
    made = project(tmp_path / "in")
    wheel = made.lock.wheels[0]
    many = [replace(wheel, name=f"w{n}", sha256=sha256(b"%d" % n)) for n in range(200)]
    sources = {**made.sources, **{w.sha256: tmp_path for w in many}}

    def keys(wheels: Sequence[object]) -> dict[str, str]:
        lock = replace(made.lock, wheels=tuple(wheels))  # type: ignore[arg-type]
        specs = layer_specs(lock, recipe=RECIPE, runtime=RUNTIME, sources=sources)
        return {spec.key: spec.kind for spec in specs}

    assert len(keys(many)) == 1 + 48 + 8 + 4
    small = [replace(w, size=1000) for w in many]
    before, after = keys(small[1:]), keys(small)
    assert len(after.keys() - before.keys()) == 1


BUILD = """
import resource, signal, sys
from pathlib import Path
from recipec.emit.bundle import Bundle
from recipec.errors import RecipecError
from recipec.image.build import build_image
from recipec.pins.lockfile import from_json
from recipec.progress import Silent
from recipec.store import Store

class Loud(Silent):
    def advance(self, task, amount):
        if amount:
            print("going", flush=True)

def main():
    here, limit = Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    lock = from_json((here / "lock.json").read_bytes())
    pins = [*lock.wheels, *lock.debs]
    sources = {pin.sha256: here / "in" / pin.file for pin in pins}
    sources |= {f.sha256: here / "in" / f.path for f in lock.model.files}
    sources |= {f.sha256: here / "in" / Path(f.path).name for f in lock.data}
    try:
        build_image(
            lock, recipe=Bundle.of({}), runtime=Bundle.of({}), environment=(), sources=sources,
            store=Store(here / "store"), jobs=int(sys.argv[3]), progress=Loud(),
        )
    except RecipecError as error:
        sys.exit(error.render())

if __name__ == "__main__":
    main()
"""


def start(tmp_path: Path, lock: Lock, *, limit: int = 0, jobs: int = 2) -> subprocess.Popen[str]:
    """A build in a process group of its own; it says `going` when layers are being made."""
    (tmp_path / "lock.json").write_bytes(to_json(lock))
    (tmp_path / "build.py").write_text(BUILD)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "build.py"), str(tmp_path), str(limit), str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_build_takes_its_workers_along(tmp_path: Path, wanted: signal.Signals) -> None:
    made = project(tmp_path / "in")
    big = tmp_path / "in" / "weights.safetensors"
    with big.open("wb") as stream:
        stream.truncate(3 << 30)
    files = (replace(made.lock.model.files[0], size=3 << 30),)
    lock = replace(made.lock, model=replace(made.lock.model, files=files))
    process = start(tmp_path, lock)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    if wanted == signal.SIGINT:
        os.killpg(process.pid, wanted)  # as a terminal does: to everyone in the group
    else:
        process.kill()
    process.communicate(timeout=60)
    assert process.returncode != 0
    _until_gone(process.pid)
    left = [path.name for path in (tmp_path / "store" / "tmp").iterdir()]
    if wanted == signal.SIGINT:
        assert left == []
    assert all(Store(tmp_path / "store").verified(d) for d in Store(tmp_path / "store").digests())


def _until_gone(group: int) -> None:
    """Wait until no process of a process group is left."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("workers outlived their parent")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("limit", [1, 5000, 1 << 20])
def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, limit: int, jobs: int) -> None:
    made = project(tmp_path / "in")
    process = start(tmp_path, made.lock, limit=limit, jobs=jobs)
    _, errors = process.communicate(timeout=60)
    assert errors.startswith(f"error: cannot write to {tmp_path / 'store'}"), errors
    assert "File too large" in errors
    assert "Traceback" not in errors
    store = Store(tmp_path / "store")
    assert list((store.root / "tmp").iterdir()) == []
    assert all(store.verified(digest) for digest in store.digests())


def test_an_input_that_vanished_is_said(tmp_path: Path) -> None:
    made = project(tmp_path / "in")
    gone = tmp_path / "in" / "alpha-1.0-py3-none-any.whl"
    gone.unlink()
    with pytest.raises(EnvironmentLacks) as caught:
        made.build(Store(tmp_path / "store"))
    assert caught.value.message == f"cannot read {gone}: No such file or directory"
