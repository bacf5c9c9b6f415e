"""The files of an image of others: layers over one another, whiteouts, links."""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from recipec.errors import HashMismatch, UnusableBase
from recipec.pins.basefiles import HEAD, Entry, Root, read_layer
from recipec.pins.lockfile import BaseLayer
from recipec.store import Store
from tests.support.foreign import Files, layers_of, libc, pinned


class Here:
    """Layers in a store, and which of them were asked for."""

    def __init__(self, folder: Path, *layers: Files | bytes) -> None:
        self.store = Store(folder)
        self.layers = pinned(layers_of(self.store, *layers))
        self.asked: list[int] = []
        self.root = Root(layers=self.layers, obtain=self._obtain)

    def _obtain(self, layer: BaseLayer) -> Path:
        self.asked.append(self.layers.index(layer))
        return self.store.path(layer.digest)

    def fact(self, path: str) -> bytes | None:
        found = self.root.resolve(path)
        return found[1].fact if found else None


def test_upper_layers_win_and_lower_ones_are_not_had_until_they_must(tmp_path: Path) -> None:
    here = Here(tmp_path, {"a/python3": b"old", "b/python3": b"below"}, {"a/python3": b"new"})
    assert here.fact("a/python3") == b"new"
    assert here.asked == [1]
    assert here.fact("b/python3") == b"below"
    assert here.fact("c/python3") is None
    assert here.asked == [1, 0]  # each once


@pytest.mark.parametrize(
    "upper",
    [
        {"usr/bin/.wh.python3": b""},
        {"usr/.wh.bin": b""},
        {".wh.usr": b""},
        {"usr/bin/.wh..wh..opq": b""},
        {".wh..wh..opq": b""},
        {"usr": "elsewhere"},
        {"usr/bin": b"a file in the folder's place"},
    ],
)
def test_what_an_upper_layer_hides(tmp_path: Path, upper: Files) -> None:
    here = Here(tmp_path, {"usr/bin/python3": b"low"}, upper)
    assert here.root.entry("usr/bin/python3") is None
    assert here.fact("usr/bin/python3") is None
    assert list(here.root.paths(re.compile(".*python3"))) == []


def test_a_whiteout_hides_what_is_below_its_layer_and_not_what_is_in_it(tmp_path: Path) -> None:
    upper = {"usr/bin/.wh..wh..opq": b"", "usr/bin/python3": b"new", "usr/bin/.wh.python": b""}
    here = Here(tmp_path, {"usr/bin/python": b"low", "usr/bin/python3": b"low"}, upper)
    assert here.fact("usr/bin/python3") == b"new"
    assert here.fact("usr/bin/python") is None


def test_a_file_comes_back_above_its_whiteout(tmp_path: Path) -> None:
    one, back = {"python3": b"one"}, {"python3": b"two"}
    assert Here(tmp_path, one, {".wh.python3": b""}, back).fact("python3") == b"two"


def test_links_are_followed_across_layers(tmp_path: Path) -> None:
    here = Here(
        tmp_path,
        {"lib": "usr/lib", "usr/lib/python3": b"x", "usr/bin/up": "../lib/python3"},
        {"etc/alternatives/py": "/usr/bin/up", "usr/bin/py": "/etc/alternatives/py"},
    )
    entry = here.root.resolve("usr/bin/py")
    assert entry is not None
    assert entry[0] == "usr/lib/python3"
    assert here.root.resolve("lib/python3") == entry
    assert here.root.resolve("./lib//../lib/python3") == entry
    assert here.root.resolve("lib/python3/below") is None
    # A folder that a tar does not list is one all the same, and no link of a lower layer is lost.
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        info = tarfile.TarInfo("lib/python4")
        archive.addfile(info)
    below: Files = {"lib": "usr/lib", "usr/lib/python3": b"x"}
    assert Here(tmp_path / "2", below, raw.getvalue()).fact("lib/python3") == b"x"


def test_links_without_end_are_refused(tmp_path: Path) -> None:
    here = Here(tmp_path, {"a": "b", "b": "a"})
    with pytest.raises(UnusableBase, match="/a leads from link to link without end"):
        here.root.resolve("a")


def test_only_what_tells_of_a_python_is_kept(tmp_path: Path) -> None:
    files = {
        "usr/bin/python3.11": b"\x7fELF" + bytes(HEAD),
        "usr/lib/libc.so.6": libc("2.31"),
        "opt/venv/pyvenv.cfg": b"home = /usr/bin\n",
        "big": b"x" * 5000,
    }
    found = Here(tmp_path, files)
    entries = read_layer(found.store.path(found.layers[0].digest), found.layers[0]).entries
    assert len(entries["usr/bin/python3.11"].fact) == HEAD
    assert entries["usr/lib/libc.so.6"].fact == b"2.31"
    assert entries["opt/venv/pyvenv.cfg"].fact == files["opt/venv/pyvenv.cfg"]
    assert entries["big"] == Entry(kind="file", mode=0o755)
    assert entries["usr/bin"] == Entry(kind="folder", mode=0o755)


def test_a_hard_link_is_the_file_that_it_names(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        info = tarfile.TarInfo("./bin/python3.11")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"\x7fELF"))
        for name, kind in (("./bin/python3", tarfile.LNKTYPE), ("null", tarfile.CHRTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "./bin/python3.11"
            archive.addfile(link)
    here = Here(tmp_path, raw.getvalue())
    assert here.fact("bin/python3") == b"\x7fELF"
    entry = here.root.entry("null")
    assert entry is not None
    assert entry.kind == "other"


def test_a_layer_must_be_the_tar_that_the_config_names(tmp_path: Path) -> None:
    here = Here(tmp_path, {"a": b"1"}, {"a": b"2"})
    one, other = here.layers
    wrong = replace(one, diff_id=other.diff_id)
    with pytest.raises(HashMismatch, match="the tar of the base's layer"):
        read_layer(here.store.path(one.digest), wrong)


@pytest.mark.parametrize("data", [b"", b"no gzip", b"\x1f\x8b\x08\0broken", b"\x28\xb5\x2f\xfd"])
def test_what_is_no_layer_is_refused(tmp_path: Path, data: bytes) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    layer = BaseLayer(digest="sha256:" + "a" * 64, size=1, media_type="", diff_id="")
    with pytest.raises(UnusableBase, match="is no gzip'ed tar"):
        read_layer(blob, layer)
