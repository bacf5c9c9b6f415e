"""The base layer, from tiny packages."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from recipec.errors import HashMismatch, UnsafeInput
from recipec.image.make import make_layer
from recipec.image.spec import Input, Spec
from recipec.store import Store, sha256
from tests.support.debs import data_tar, make_deb


def spec_of(*paths: Path) -> Spec:
    inputs = tuple(
        Input(name=p.name, path=p, digest=sha256(p.read_bytes()), size=p.stat().st_size)
        for p in paths
    )
    return Spec(kind="base", name="base", python="3.11", inputs=inputs)


def build(store: Store, *paths: Path) -> tarfile.TarFile:
    record = make_layer(spec_of(*paths), store)
    return tarfile.open(fileobj=io.BytesIO(gzip.decompress(store.read(str(record["digest"])))))


def text(archive: tarfile.TarFile, name: str) -> str:
    stream = archive.extractfile(name)
    assert stream is not None
    return stream.read().decode()


def refusal(tmp_path: Path, *paths: Path) -> str:
    with pytest.raises(UnsafeInput) as caught:
        build(Store(tmp_path / "store"), *paths)
    assert list(Store(tmp_path / "store").digests()) == []
    return caught.value.message


@pytest.mark.parametrize("suffix", [".xz", ".gz", ""])
def test_a_root_from_packages(tmp_path: Path, suffix: str) -> None:
    libc = make_deb(
        tmp_path,
        "libc6",
        data_tar(
            {
                "lib/": b"",
                "lib/x86_64-linux-gnu/": b"",
                "lib/x86_64-linux-gnu/libc.so.6": b"\x7fELF",
                "lib64/": b"",
                "lib64/ld.so": "/lib/x86_64-linux-gnu/ld.so",
                "usr/share/man/man1/x.1": b"manual",
                "usr/share/doc/libc6/changelog": b"long",
                "usr/share/doc/libc6/copyright": b"(c)",
                "usr/share/doc/libgcc-s1": "gcc-12-base",
                "usr/share/locale/de/x.mo": b"",
            },
        ),
        suffix=suffix,
    )
    python = make_deb(
        tmp_path,
        "python3.11-minimal",
        data_tar(
            {"usr/bin/python3.11": b"\x7fELF", "usr/bin/su": b"\x7fELF", "tmp/": b""},
            hardlinks={"bin/also": "usr/bin/python3.11"},
            modes={"usr/bin/python3.11": 0o755, "usr/bin/su": 0o4755},
        ),
    )
    certificates = make_deb(
        tmp_path,
        "ca-certificates",
        data_tar(
            {
                "usr/share/ca-certificates/mozilla/B.crt": b"second",
                "usr/share/ca-certificates/mozilla/A.crt": b"first\n\n",
            }
        ),
    )
    with build(Store(tmp_path / "store"), libc, python, certificates) as archive:
        names = archive.getnames()
        members = {m.name: m for m in archive.getmembers()}
        assert members["lib"].linkname == "usr/lib"
        assert members["lib64"].linkname == "usr/lib64"
        assert members["bin"].linkname == "usr/bin"
        assert "sbin" not in members
        assert members["usr/lib/x86_64-linux-gnu/libc.so.6"].mode == 0o644
        assert members["usr/lib64/ld.so"].linkname == "/lib/x86_64-linux-gnu/ld.so"
        assert members["usr/bin/python3.11"].mode == 0o755
        assert members["usr/bin/su"].mode == 0o755
        assert members["usr/bin/python3"].linkname == "python3.11"
        assert members["tmp"].mode == members["out"].mode == 0o1777
        assert {"proc", "sys", "dev", "trained", "var/tmp"} <= members.keys()
        assert names[-1] == "usr/bin/also"
        assert members["usr/bin/also"].linkname == "usr/bin/python3.11"
        documents = [n for n in names if n.startswith(("usr/share/man", "usr/share/doc/"))]
        assert documents == [
            "usr/share/doc/libc6",
            "usr/share/doc/libc6/copyright",
            "usr/share/doc/libgcc-s1",
        ]
        assert not [n for n in names if "locale" in n]
        assert text(archive, "etc/ssl/certs/ca-certificates.crt") == "first\nsecond\n"
        assert "recipec:x:65532:65532:recipec:/tmp:" in text(archive, "etc/passwd")
        assert "recipec:x:65532:" in text(archive, "etc/group")
        assert text(archive, "etc/nsswitch.conf").startswith("passwd: files\n")
        status = text(archive, "var/lib/dpkg/status").split("\n\n")
        assert [s.splitlines()[:2] for s in status] == [
            [f"Package: {name}", "Status: install ok installed"]
            for name in ("ca-certificates", "libc6", "python3.11-minimal")
        ]
        for member in members.values():
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mtime == 315_619_200
        seen: set[str] = set()
        for name in names:
            assert os.path.dirname(name) in seen | {""}  # noqa: PTH120 - a name, not a path
            seen.add(name)


def test_the_order_of_packages_changes_nothing(tmp_path: Path) -> None:
    one = make_deb(tmp_path, "one", data_tar({"etc/": b"", "etc/one": b"1"}))
    two = make_deb(tmp_path, "two", data_tar({"etc/": b"", "etc/two": b"2"}))
    first = make_layer(spec_of(one, two), Store(tmp_path / "a"))
    second = make_layer(spec_of(two, one), Store(tmp_path / "b"))
    assert first == second


def test_two_packages_with_one_path_are_refused(tmp_path: Path) -> None:
    one = make_deb(tmp_path, "one", data_tar({"lib/x": b"1"}))
    two = make_deb(tmp_path, "two", data_tar({"usr/lib/x": b"1"}))
    assert refusal(tmp_path, one, two) == "packages one and two both hold /usr/lib/x"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    one = make_deb(tmp_path, "one", data_tar({"srv/link": "/etc"}))
    two = make_deb(tmp_path, "two", data_tar({"srv/link/passwd": b"x"}))
    assert refusal(tmp_path, one, two) == (
        "packages one and two: /srv/link/passwd lies below /srv/link, which is a symlink"
    )


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"../up": b"x"}, "one_1.0_all.deb: member '../up' has a path that leaves its folder"),
        ({"a\nb": b"x"}, "one_1.0_all.deb: member 'a\\nb' has a control character"),
    ],
)
def test_unsafe_members_are_refused(
    tmp_path: Path, entries: dict[str, bytes], message: str
) -> None:
    assert refusal(tmp_path, make_deb(tmp_path, "one", data_tar(entries))) == message


def test_devices_and_links_to_nowhere_are_refused(tmp_path: Path) -> None:
    device = make_deb(tmp_path, "one", data_tar({}, special=["dev/mem"]))
    assert refusal(tmp_path, device) == (
        "one_1.0_all.deb: member 'dev/mem' is a device or another special file"
    )
    link = make_deb(tmp_path, "one", data_tar({}, hardlinks={"a": "b"}))
    assert refusal(tmp_path, link) == "/a is a hard link to /b, which is no file"


def test_damaged_packages_are_refused(tmp_path: Path) -> None:
    path = make_deb(tmp_path, "one", data_tar({"a": os.urandom(3000)}))
    whole = path.read_bytes()
    for cut in (0, 7, 20, 80, 130, 400, len(whole) - 300):
        path.write_bytes(whole[:cut])
        assert refusal(tmp_path, path).startswith("one_1.0_all.deb: it")
    path.write_bytes(whole.replace(b"\xfd7zXZ", b"\xfd7zXX"))
    assert refusal(tmp_path, path).startswith("one_1.0_all.deb: its control.tar.xz is damaged")


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = make_deb(tmp_path, "one", data_tar({"a": b"1"}))
    spec = spec_of(path)
    make_deb(tmp_path, "one", data_tar({"a": b"2"}))
    with pytest.raises(HashMismatch) as caught:
        make_layer(spec, Store(tmp_path / "store"))
    assert caught.value.message == (
        f"one_1.0_all.deb: expected {spec.inputs[0].digest}, found {sha256(path.read_bytes())}"
    )
