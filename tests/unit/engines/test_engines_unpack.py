"""Unpacking layers: what is written, what is refused, and what a failure leaves."""

from __future__ import annotations

import dataclasses
import gzip
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from recipec.engines.unpack import remove_tree, unpack_layers
from recipec.errors import EnvironmentLacks, HashMismatch, UnsafeInput
from recipec.image.image import OCI_LAYER, Descriptor, Layer
from recipec.store import Store, sha256
from tests.support.images import layer_of, make_layer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def tar_of(*members: tuple[str, bytes | None, dict[str, object]]) -> bytes:
    """A tar of (name, data, TarInfo fields) in the given order."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data, fields in members:
            info = tarfile.TarInfo(name)
            for key, value in fields.items():
                setattr(info, key, value)
            info.size = len(data) if data else 0
            archive.addfile(info, io.BytesIO(data or b""))
    return raw.getvalue()


FILE: dict[str, object] = {"mode": 0o644}
FOLDER: dict[str, object] = {"type": tarfile.DIRTYPE, "mode": 0o755}


def link(target: str, *, hard: bool = False) -> dict[str, object]:
    return {"type": tarfile.LNKTYPE if hard else tarfile.SYMTYPE, "linkname": target}


def unpack(store: Store, *members: tuple[str, bytes | None, dict[str, object]]) -> Path:
    return unpack_layers([layer_of(store, "tested", tar_of(*members))], store)[0].folder


def test_devices_of_dev_are_passed_over(store: Store) -> None:
    device: dict[str, object] = {"type": tarfile.CHRTYPE, "mode": 0o666}
    folder = unpack(store, ("dev/", None, FOLDER), ("dev/null", None, device), ("a", b"1", FILE))
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "dev"]


def test_files_folders_links_modes_and_times(store: Store) -> None:
    long = "d/" + "n" * 150 + "/é"
    folder = unpack(
        store,
        ("./d/", None, FOLDER),
        ("d/tool", b"#!", {"mode": 0o4755, "mtime": 1234567890}),
        ("d/closed", b"x", {"mode": 0o000}),
        ("d/soft", None, link("/etc/passwd")),
        ("d/hard", None, link("d/tool", hard=True)),
        (long, b"long", FILE),
        ("implied/parent", b"y" * 5000, FILE),
    )
    tool = (folder / "d/tool").stat()
    assert (tool.st_mode & 0o7777, tool.st_mtime, tool.st_nlink) == (0o755, 1234567890, 2)
    assert (folder / "d/closed").stat().st_mode & 0o7777 == 0o400
    assert (folder / "d/soft").readlink() == Path("/etc/passwd")
    assert (folder / long).read_bytes() == b"long"
    assert (folder / "implied/parent").read_bytes() == b"y" * 5000


def test_modes_do_not_depend_on_the_umask(store: Store) -> None:
    old = os.umask(0o077)
    try:
        folder = unpack(store, ("d", None, FOLDER), ("d/f", b"", FILE), ("i/f", b"", FILE))
    finally:
        os.umask(old)
    modes = [(folder / name).stat().st_mode & 0o777 for name in ("d", "d/f", "i", "i/f")]
    assert modes == [0o755, 0o644, 0o755, 0o644]


def test_a_later_member_replaces_an_earlier_one(store: Store) -> None:
    folder = unpack(
        store,
        ("a", b"first", FILE),
        ("a", b"second", FILE),
        ("s", None, link("/etc/passwd")),
        ("s", b"a file now", FILE),
    )
    assert (folder / "a").read_bytes() == b"second"
    assert (folder / "s").read_bytes() == b"a file now"


def test_whiteouts_are_kept_as_facts(store: Store) -> None:
    layer = layer_of(store, "w", tar_of(("d/.wh.gone", b"", FILE), ("e/.wh..wh..opq", b"", FILE)))
    [tree] = unpack_layers([layer], store)
    assert (tree.removed, tree.opaque) == (frozenset({"d/gone"}), frozenset({"e"}))
    assert sorted(path.name for path in tree.folder.rglob("*")) == ["d", "e"]
    assert unpack_layers([layer], store) == (tree,)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../x", b"", FILE)], "the member '../x' leaves its folder"),
        ([("a/../../x", b"", FILE)], "the member 'a/../../x' leaves its folder"),
        (
            [("out", None, link("/tmp")), ("out/x", b"", FILE)],
            "the member 'out' is used as a folder but is a link or a file",
        ),
        (
            [("out", None, link("/etc")), ("h", None, link("out/passwd", hard=True))],
            "the member 'h' links to a file outside its layer",
        ),
        ([("n", None, {"type": tarfile.CHRTYPE})], "the member 'n' is a device or a pipe"),
        ([("d", None, FOLDER), ("d", b"", FILE)], "the member 'd' is both a folder and a file"),
    ],
)
def test_what_reaches_out_is_refused(
    store: Store, members: list[tuple[str, bytes | None, dict[str, object]]], message: str
) -> None:
    with pytest.raises(UnsafeInput) as error:
        unpack(store, *members)
    assert error.value.message == f"base layer tested: {message}"
    assert not list((store.root / "rootfs").glob("[!.]*"))


def test_absolute_names_stay_inside(store: Store) -> None:
    assert (unpack(store, ("/etc/x", b"in", FILE)) / "etc/x").read_bytes() == b"in"


def damaged(layer: Layer, store: Store, change: Callable[[bytes], bytes]) -> Layer:
    data = change(store.read(layer.blob.digest))
    blob = Descriptor(media_type=OCI_LAYER, digest=store.add_bytes(data), size=len(data))
    return dataclasses.replace(layer, blob=blob)


def other_tar(_: bytes) -> bytes:
    return gzip.compress(tar_of(("other", b"", FILE)), mtime=0)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(other_tar, id="other tar"),
        pytest.param(lambda data: data[:-9], id="cut off"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(lambda _: b"no gzip at all", id="no gzip"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data + gzip.compress(b"more", mtime=0), id="more behind"),
        pytest.param(lambda _: gzip.compress(b"x" * 2000, mtime=0), id="no tar"),
    ],
)
def test_a_layer_with_wrong_bytes_is_named(store: Store, change: Callable[[bytes], bytes]) -> None:
    good = make_layer(store, "weights", {"opt/w": os.urandom(4000)}, kind="model")
    with pytest.raises(HashMismatch) as error:
        unpack_layers([damaged(good, store, change)], store)
    assert error.value.what == "model layer weights"
    assert error.value.expected == good.diff_id
    assert "recipec cache verify" in error.value.hint
    assert not list((store.root / "rootfs").glob("[!.]*"))
    unpack_layers([good], store)


def test_a_missing_blob_is_named(store: Store) -> None:
    layer = make_layer(store, "weights", {"w": b""})
    store.path(layer.blob.digest).unlink()
    with pytest.raises(EnvironmentLacks) as error:
        unpack_layers([layer], store)
    assert error.value.message == (f"base layer weights ({layer.blob.digest}) is not in the store")


def test_a_layer_of_many_gzip_members(store: Store) -> None:
    tar = tar_of(*((f"f{n}", bytes([n]) * n * 37, FILE) for n in range(200)))
    pieces = [gzip.compress(tar[n : n + 700], mtime=0) for n in range(0, len(tar), 700)]
    blob = b"".join(pieces)
    layer = Layer(
        kind="wheel",
        name="spliced",
        blob=Descriptor(media_type=OCI_LAYER, digest=store.add_bytes(blob), size=len(blob)),
        diff_id=sha256(tar),
        cached=False,
    )
    [tree] = unpack_layers([layer], store)
    assert (tree.folder / "f199").read_bytes() == bytes([199]) * 199 * 37


def test_many_at_once_unpack_one_layer(store: Store) -> None:
    layer = make_layer(store, "shared", {f"f{n}": b"x" * 100 for n in range(300)})
    failures: list[BaseException] = []

    def one() -> None:
        try:
            unpack_layers([layer], store)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list((unpack_layers([layer], store)[0].folder).iterdir())) == 300


KILLED = """
import os, signal, sys
from pathlib import Path
from recipec.engines import unpack
from recipec.store import Store
sys.path.insert(0, sys.argv[2])
from tests.support.images import make_layer
store = Store(Path(sys.argv[1]))
layer = make_layer(store, "big", {f"d/f{n}": b"x" for n in range(500)})
original, count = unpack._TreeWriter.add, 0
def add(self, archive, member):
    global count
    count += 1
    if count == 300:
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, archive, member)
unpack._TreeWriter.add = add
unpack.unpack_layers([layer], store)
"""


def test_kill_9_leaves_nothing_that_counts(store: Store) -> None:
    repository = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.root), repository])
    assert done.returncode == -9
    assert list((store.root / "rootfs").glob(".new-*"))
    layer = make_layer(store, "big", {f"d/f{n}": b"x" for n in range(500)})
    [tree] = unpack_layers([layer], store)
    assert len(list((tree.folder / "d").iterdir())) == 500
    assert not list((store.root / "rootfs").glob(".new-*"))


FULL = """
import sys
from pathlib import Path
from recipec.engines.unpack import unpack_layers
from recipec.errors import EnvironmentLacks
from recipec.store import Store
sys.path.insert(0, sys.argv[2])
from tests.support.images import make_layer
store = Store(Path(sys.argv[1]))
layer = make_layer(store, "zeros", {"big": bytes(64 << 20)})
try:
    unpack_layers([layer], store)
except EnvironmentLacks as error:
    print(error.render())
"""


@pytest.mark.engine
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A real full disk: a tmpfs of 8 MiB in a mount namespace of its own."""
    place = tmp_path / "small"
    place.mkdir()
    repository = str(Path(__file__).parents[3])
    script = f'mount -t tmpfs -o size=8m none {place} && "$@" && ls -A {place}/cache/rootfs'
    python = [sys.executable, "-c", FULL, str(place / "cache"), repository]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *python],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, hint, *left = done.stdout.splitlines()
    assert first == f"error: the disk is full: {place}/cache/rootfs"
    assert "recipec cache gc" in hint
    assert [name for name in left if not name.startswith(".lock-")] == []


def test_folders_without_rights_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b").chmod(0o500)
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()
