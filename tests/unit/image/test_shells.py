"""What a shell and alternatives want in a root, in place of maintainer scripts."""

from __future__ import annotations

import tarfile
from pathlib import Path

from recipec.store import Store
from tests.support.debs import data_tar, make_deb
from tests.unit.image.test_base_layer import build, text


def root(tmp_path: Path, *packages: dict[str, bytes | str]) -> tarfile.TarFile:
    debs = [
        make_deb(tmp_path, f"p{number}", data_tar(dict(entries)))
        for number, entries in enumerate(packages)
    ]
    return build(Store(tmp_path / "store"), *debs)


BASH: dict[str, bytes | str] = {
    "bin/bash": b"\x7fELF",
    "bin/rbash": "bash",
    "usr/share/debianutils/shells.d/bash": b"/bin/bash\n/bin/rbash\n",
}
FILES: dict[str, bytes | str] = {
    "usr/share/base-files/profile": b"umask 022\n",
    "var/run/": b"",
    "var/lock/": b"",
}


def test_a_root_with_a_shell(tmp_path: Path) -> None:
    with root(tmp_path, BASH, FILES) as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert text(archive, "etc/passwd").splitlines() == [
            "root:x:0:0:root:/root:/bin/bash",
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
            "recipec:x:65532:65532:recipec:/home/recipec:/bin/bash",
        ]
        assert text(archive, "etc/shells").splitlines() == [
            "/bin/bash",
            "/bin/rbash",
            "/usr/bin/bash",
            "/usr/bin/rbash",
        ]
        assert text(archive, "etc/profile") == "umask 022\n"
        assert members["usr/bin/sh"].linkname == "bash"
        assert members["home/recipec"].mode == 0o1777
        assert members["var/run"].linkname == "/run"
        assert members["var/lock"].linkname == "/run/lock"
        assert members["run/lock"].isdir()


def test_a_root_without_one(tmp_path: Path) -> None:
    with root(tmp_path, FILES) as archive:
        names = set(archive.getnames())
        assert "recipec:x:65532:65532:recipec:/tmp:/usr/sbin/nologin" in text(archive, "etc/passwd")
        assert not names & {"etc/shells", "etc/profile", "home/recipec", "run/lock", "usr/bin/sh"}
        assert archive.getmember("var/run").isdir()


def test_what_packages_hold_stays(tmp_path: Path) -> None:
    dash: dict[str, bytes | str] = {"bin/sh": "dash", "bin/dash": b"\x7fELF"}
    own: dict[str, bytes | str] = {
        "etc/profile": b"mine\n",
        "etc/passwd": b"root:x:0:0:::\n",
        "var/run/thing": b"kept",
        "usr/bin/gcc": b"\x7fELF",
        "usr/bin/cc": b"mine",
    }
    with root(tmp_path, BASH, FILES, dash, own) as archive:
        assert archive.getmember("usr/bin/sh").linkname == "dash"
        assert text(archive, "etc/profile") == "mine\n"
        assert text(archive, "etc/passwd") == "root:x:0:0:::\n"
        assert text(archive, "var/run/thing") == "kept"
        assert text(archive, "usr/bin/cc") == "mine"


def test_alternatives_link_to_the_first_that_is_there(tmp_path: Path) -> None:
    tools: dict[str, bytes | str] = {
        "usr/bin/mawk": b"\x7fELF",
        "usr/bin/original-awk": b"\x7fELF",
        "usr/bin/gcc": b"\x7fELF",
        "usr/lib/x86_64-linux-gnu/blas/libblas.so.3": b"\x7fELF",
    }
    with root(tmp_path, tools) as archive:
        assert archive.getmember("usr/bin/awk").linkname == "mawk"
        assert archive.getmember("usr/bin/cc").linkname == "gcc"
        library = archive.getmember("usr/lib/x86_64-linux-gnu/libblas.so.3")
        assert library.linkname == "blas/libblas.so.3"
        assert "usr/bin/c++" not in archive.getnames()
        assert "usr/bin/sh" not in archive.getnames()


def test_the_links_of_a_merged_root_that_base_files_holds(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"bin": "usr/bin", "lib": "usr/lib", "usr/bin/": b""}
    with root(tmp_path, files, {"usr/lib/x": b"1"}) as archive:
        assert archive.getmember("bin").linkname == "usr/bin"
        assert archive.getmember("lib").linkname == "usr/lib"
        assert archive.getnames().count("usr/bin") == 1
