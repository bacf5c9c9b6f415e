"""Tar headers as Python's own tarfile reads them."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.image import tarball
from recipec.image.format import MTIME

part = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60
)
paths = st.lists(part, min_size=1, max_size=8).map("/".join)


def read(data: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(data + tarball.END), mode="r:") as archive:
        info = archive.next()
        assert info is not None
        return info


@given(paths, st.integers(0, 1 << 40), st.sampled_from([0o644, 0o755]))
def test_files_come_back_as_they_were_meant(path: str, size: int, mode: int) -> None:
    info = read(tarball.header(path, kind=tarball.REGULAR, mode=mode, size=size))
    assert (info.name, info.size, info.mode, info.mtime) == (path, size, mode, MTIME)
    assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")
    assert info.isreg()


@given(paths, paths)
def test_links_come_back_as_they_were_meant(path: str, target: str) -> None:
    info = read(tarball.header(path, kind=tarball.SYMLINK, mode=0o777, target=target))
    assert (info.name, info.linkname) == (path, target)
    assert info.issym()


@pytest.mark.parametrize("length", [99, 100, 101, 155, 156, 255, 256, 257, 300])
def test_names_at_the_limits_of_the_fields(length: int) -> None:
    for path in ("n" * length, "/".join(["n" * 49] * 6)[:length].rstrip("/")):
        header = tarball.header(path, kind=tarball.REGULAR, mode=0o644)
        assert read(header).name == path
        assert len(header) % tarball.BLOCK == 0


def test_a_name_that_fits_takes_one_block() -> None:
    assert len(tarball.header("a/b", kind=tarball.REGULAR, mode=0o644)) == 512
    split = "usr/local/lib/python3.11/dist-packages/" + "folder/" * 12 + "module.py"
    assert len(tarball.header(split, kind=tarball.REGULAR, mode=0o644)) == 512


@given(st.integers(0, 5000))
def test_padding_fills_the_block(size: int) -> None:
    assert (size + len(tarball.padding(size))) % 512 == 0
    assert len(tarball.padding(size)) < 512
