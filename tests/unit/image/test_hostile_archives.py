"""Archives made to do harm, taken all the way through the making of a layer.

Whatever they are, making the layer ends with a record or with an error that names the archive;
nothing is left half-written, and nothing is written outside the store.
"""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipec.errors import RecipecError, UnsafeInput
from recipec.image import debs
from recipec.image.format import MAX_RATIO, MAX_SLACK
from recipec.image.make import Record, make_layer
from recipec.image.spec import Input, Spec
from recipec.store import Store, sha256
from tests.support.debs import data_tar, deb_of, make_deb
from tests.support.wheels import add, make_wheel, patched, record_row

SITE = "usr/local/lib/python3.11/dist-packages"
WHEEL, DEB = "one-1.0-py3-none-any.whl", "one_1.0_all.deb"


def made(folder: Path, path: Path) -> Record:
    """The layer of one archive; the folder must hold no other file afterwards than before."""
    data = path.read_bytes()
    source = Input(name=path.name, path=path, digest=sha256(data), size=len(data))
    kind = "base" if path.suffix == ".deb" else "wheels"
    spec = Spec(kind=kind, name="x", python="3.11", inputs=(source,))
    before = {p for p in folder.rglob("*") if not p.is_relative_to(folder / "store")}
    store = Store(folder / "store")
    try:
        return make_layer(spec, store)
    finally:
        assert not list((store.root / "tmp").iterdir())
        assert before == {p for p in folder.rglob("*") if not p.is_relative_to(store.root)}


def contents(folder: Path, path: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of the files in the layer of one archive."""
    record = made(folder, path)
    raw = gzip.decompress(Store(folder / "store").read(str(record["digest"])))
    assert sha256(raw) == record["diff_id"]
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return {
            info.name: (info.mode, stream.read())
            for info in archive
            if (stream := archive.extractfile(info)) is not None
        }


def refusal(folder: Path, path: Path) -> str:
    with pytest.raises(UnsafeInput) as caught:
        made(folder, path)
    assert list(Store(folder / "store").digests()) == []
    return caught.value.message


# Wheels.


@pytest.mark.parametrize(
    "name", ["one-1.0.data/data/../../../etc/passwd", "one-1.0.data/scripts//etc/cron.d/x"]
)
def test_data_folders_do_not_lead_out(tmp_path: Path, name: str) -> None:
    path = make_wheel(tmp_path, "one", {name: b"x"})
    assert refusal(tmp_path, path).startswith(f"{WHEEL}: member {name!r} has a path")


def test_a_data_folder_of_another_project_is_plain_data(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "one", {"two-1.0.data/scripts/run": b"#!python\n"})
    assert contents(tmp_path, path)[f"{SITE}/two-1.0.data/scripts/run"] == (0o644, b"#!python\n")


def test_set_user_id_bits_never_reach_an_image(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "one", {"one.py": b""})
    with zipfile.ZipFile(path, "a") as archive:
        add(archive, "one/tool", b"\x7fELF", mode=stat.S_IFREG | 0o6777)
    assert contents(tmp_path, path)[f"{SITE}/one/tool"] == (0o755, b"\x7fELF")


def test_names_that_only_some_file_systems_tell_apart(tmp_path: Path) -> None:
    """Linux keeps case and composition apart, and so does a layer: four names, four files."""
    names = ["one/A.py", "one/a.py", "one/\u00e9.py", "one/e\u0301.py"]
    found = contents(tmp_path, make_wheel(tmp_path, "one", {n: n.encode() for n in names}))
    assert all(found[f"{SITE}/{name}"] == (0o644, name.encode()) for name in names)


def test_a_name_in_an_extra_field_is_not_believed(tmp_path: Path) -> None:
    """Some tools prefer the name in field 0x7075 (APPNOTE 4.6.9); then they would see another."""
    path = make_wheel(tmp_path, "one", {"one.py": b""})
    with zipfile.ZipFile(path, "a") as archive:
        about = zipfile.ZipInfo("good.py")
        about.external_attr = (stat.S_IFREG | 0o644) << 16
        about.extra = struct.pack("<HHBL", 0x7075, 12, 1, 0) + b"../evil"
        archive.writestr(about, b"x")
    found = contents(tmp_path, path)
    assert f"{SITE}/good.py" in found
    assert not [name for name in found if "evil" in name]


@pytest.mark.parametrize(
    "row",
    [
        ("../../../../../etc/passwd", "", ""),
        ("../../../../../etc/passwd",),
        ("one.py", "sha256=AAAA", "5"),
        ("one.py", "sha256=AAAA", "-1"),
        ("one.py", "sha256=AAAA", "999999999999999999999"),
        ("gone.py", "sha256=AAAA", "3"),
    ],
)
def test_a_record_that_lies_is_written_anew(tmp_path: Path, row: tuple[str, ...]) -> None:
    info = "one-1.0.dist-info"
    first = make_wheel(tmp_path, "one", {"one.py": b"one = 1\n"})
    honest = contents(tmp_path, first)[f"{SITE}/{info}/RECORD"][1].decode().splitlines()
    with zipfile.ZipFile(first) as archive:
        rows = archive.read(f"{info}/RECORD").decode().splitlines()
    lie = "\n".join(
        [",".join(row), *(r for r in rows if not r.startswith("one.py") or len(row) < 3)]
    )
    path = make_wheel(tmp_path, "one", {"one.py": b"one = 1\n"}, record=lie.encode())
    found = contents(tmp_path, path)[f"{SITE}/{info}/RECORD"][1].decode().splitlines()
    assert sorted(found) == sorted(honest)
    assert ",".join(record_row("one.py", b"one = 1\n")) in found


def test_a_compressed_member_longer_than_its_stream_is_refused(tmp_path: Path) -> None:
    """What follows a deflate stream inside of its member would follow it in the layer too."""
    path = tmp_path / WHEEL
    make_wheel(tmp_path, "one", {"one.py": b"print(1)\n" * 99})
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\x01\x02")
    packed = struct.unpack_from("<L", raw, 18)[0]
    end = 30 + len("one.py") + packed
    raw[end:end] = b"evil"
    shift = len("evil")
    for place in (18, central + shift + 20):
        struct.pack_into("<L", raw, place, packed + shift)
    at = central + shift
    while raw[at : at + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack_from("<3H", raw, at + 28)
        offset = struct.unpack_from("<L", raw, at + 42)[0]
        struct.pack_into("<L", raw, at + 42, offset + (shift if offset else 0))
        at += 46 + name + extra + comment
    struct.pack_into("<L", raw, at + 16, central + shift)
    path.write_bytes(raw)
    assert refusal(tmp_path, path) == (
        f"{WHEEL}: {SITE}/one.py: bytes follow the end of its deflate stream"
    )


def test_a_bomb_that_understates_itself_is_stopped_where_it_lies(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "one", {"one/zero": bytes(32 << 20)})
    raw = path.read_bytes()
    central = raw.index(b"PK\x01\x02")
    patched(path, central + 24, struct.pack("<L", 1000))
    patched(path, 22, struct.pack("<L", 1000))
    assert refusal(tmp_path, path) == (
        f"{WHEEL}: {SITE}/one/zero: it inflates to more than the 1000 bytes declared"
    )


# Debian packages.


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    """One header block."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("entries", "links", "message"),
    [
        ({"/etc/passwd": b""}, {}, "has an absolute or empty path"),
        ({"a/./b": b""}, {}, "has a path with empty or dot parts"),
        ({"a\\b": b""}, {}, "has a backslash"),
        ({"a": b""}, {"b": "../../etc/passwd"}, "has a path that leaves its folder"),
        ({"a": b""}, {"b": "/etc/passwd"}, "has an absolute or empty path"),
    ],
)
def test_names_and_hard_links_do_not_lead_out(
    tmp_path: Path, entries: dict[str, bytes], links: dict[str, str], message: str
) -> None:
    path = make_deb(tmp_path, "one", data_tar(entries, hardlinks=links))
    told = refusal(tmp_path, path)
    assert told.startswith(f"{DEB}: member ")
    assert told.endswith(message)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_device_nodes_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = make_deb(tmp_path, "one", member("./dev/x", kind) + bytes(1024))
    assert refusal(tmp_path, path).endswith("is a device or another special file")


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    tar = member("./a") + member("a") + bytes(1024)
    assert refusal(tmp_path, make_deb(tmp_path, "one", tar)) == (
        f"{DEB}: member 'a' is there twice"
    )


@pytest.mark.parametrize("size", [MAX_SLACK * 2, 1 << 62, -1])
def test_absurd_sizes_are_refused_before_anything_is_read(tmp_path: Path, size: int) -> None:
    tar = member("./a", size=size) + bytes(1024)
    assert refusal(tmp_path, make_deb(tmp_path, "one", tar)) == (
        f"{DEB}: it unpacks to more than a package can hold"
    )


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_bomb_in_a_name_is_stopped(
    tmp_path: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header of many megabytes would be read into memory as a whole."""
    slack = 1 << 20
    monkeypatch.setattr(debs, "MAX_SLACK", slack)
    size = slack * 3
    tar = member("././@LongLink", kind, size=size) + bytes(size + 1024)
    path = make_deb(tmp_path, "one", tar)
    assert path.stat().st_size * MAX_RATIO < slack
    assert refusal(tmp_path, path) == f"{DEB}: it unpacks to more than a package can hold"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "it is not a Debian package of version 2.0"),
        ([("debian-binary", b"2.0\n"), ("data.tar", b""), ("control.tar", b"")], "version 2.0"),
        ([("debian-binary", b"2.0\n"), ("control.tar.bz9", b""), ("data.tar", b"")], "compressed"),
        ([("debian-binary", b"2.0\n"), ("control.tar", b"x"), ("data.tar", b"")], "is damaged"),
        ([("debian-binary", b"2.0\n"), ("control.tar", bytes(1024)), ("data.tar", b"")], "control"),
    ],
)
def test_odd_members_are_refused(
    tmp_path: Path, parts: list[tuple[str, bytes]], message: str
) -> None:
    path = tmp_path / DEB
    path.write_bytes(deb_of(parts))
    told = refusal(tmp_path, path)
    assert told.startswith(f"{DEB}: ")
    assert message in told


# Whatever else there may be: real archives with bytes changed, cut, doubled or moved.

Change = tuple[str, int, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "cut", "move"]),
        st.integers(0, 1 << 16),
        st.integers(0, 64),
        st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\xff" * 8, bytes(8)]),
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[Change]) -> bytes:
    for how, place, length, new in changes:
        at = place % (len(data) + 1)
        if how == "set":
            data = data[:at] + new + data[at + len(new) :]
        elif how == "insert":
            data = data[:at] + new + data[at:]
        elif how == "cut":
            data = data[:at] + data[at + length :]
        else:
            data = data[:at] + data[at // 2 : at // 2 + length] + data[at:]
    return data


def made_or_refused(folder: Path, path: Path) -> Record | None:
    """The layer's record, or None after an error of ours; any other error is a defect."""
    try:
        return made(folder, path)
    except RecipecError as error:
        told = error.message
    assert told
    assert "\n" not in told
    return None


def _wheel(folder: Path) -> bytes:
    files = {
        "one/__init__.py": b"def main(): pass\n" * 30,
        "one/lib.so": bytes(range(256)) * 20,
        "one-1.0.data/scripts/run": b"#!python\nprint(1)\n",
        "one-1.0.data/data/share/x": b"x",
    }
    points = "[console_scripts]\none = one:main\n"
    return make_wheel(folder, "one", files, entry_points=points, stored=["one/lib.so"]).read_bytes()


def _deb(folder: Path, suffix: str) -> bytes:
    entries: dict[str, bytes | str] = {
        "usr/": "",
        "usr/bin/x": b"\x7fELF" * 99,
        "usr/lib/y": "x",
        f"usr/{'n' * 150}": b"z",
    }
    tar = data_tar(entries, hardlinks={"usr/bin/z": "usr/bin/x"})
    return make_deb(folder, "one", tar, suffix=suffix).read_bytes()


SEEDS: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "wheel": (WHEEL, _wheel),
    "plain package": (DEB, lambda folder: _deb(folder, "")),
    "packed package": (DEB, lambda folder: _deb(folder, ".gz")),
}


@pytest.mark.parametrize("kind", SEEDS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
def test_a_changed_archive_is_read_or_refused(
    tmp_path: Path, kind: str, changes: list[Change]
) -> None:
    name, seed = SEEDS[kind]
    path = tmp_path / name
    path.write_bytes(changed(seed(tmp_path), changes))
    record = made_or_refused(tmp_path, path)
    if record is None:
        return
    raw = gzip.decompress(Store(tmp_path / "store").read(str(record["digest"])))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for info in archive:
            assert not info.name.startswith("/")
            assert ".." not in info.name.split("/")
            assert info.mode & 0o6000 == 0
            assert info.isfile() or info.isdir() or info.issym() or info.islnk()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
def test_a_package_whose_archive_was_changed_is_read_or_refused(
    tmp_path: Path, changes: list[Change]
) -> None:
    """The changes lie below the compression, where its checksum cannot see them."""
    entries = {"usr/bin/x": b"\x7fELF" * 99, f"usr/{'n' * 150}": b"z", "usr/\u00e9": b"u"}
    tar = changed(data_tar(entries, hardlinks={"usr/bin/z": "usr/bin/x"}), changes)
    path = make_deb(tmp_path, "one", tar, suffix="")
    made_or_refused(tmp_path, path)
