"""Which Python an image of others has, and whether the lock's wheels run on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from recipec.errors import UnusableBase
from recipec.pins.basefiles import Root
from recipec.pins.basepython import BasePython, Started, find_python
from recipec.store import Store
from tests.support.foreign import (
    LIBS,
    MUSL_LOADER,
    Files,
    layers_of,
    libc,
    pinned,
    program,
    python,
    system,
    tar_of,
)
from tests.support.images import Member

USUAL = "/usr/local/bin:/usr/bin:/bin"
DEBIAN: dict[str, Member] = {
    "usr/bin/python3.11": program(),
    "usr/bin/python3": "python3.11",
    "usr/lib/python3.11/os.py": b"",
    "usr/lib/python3/dist-packages/six-1.16.0.egg-info": b"",
    "usr/local/lib/python3.11/dist-packages/numpy-1.26.4.dist-info/METADATA": b"",
}


def find(
    folder: Path,
    *layers: Files | bytes,
    command: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> BasePython:
    store = Store(folder / "store")
    below = pinned(layers_of(store, *layers))
    root = Root(layers=below, obtain=lambda layer: store.path(layer.digest))
    variables = {"PATH": USUAL} if environment is None else environment
    return find_python(root, Started(command=command, environment=variables))


def refusal(folder: Path, *layers: Files | bytes, **more: str) -> str:
    with pytest.raises(UnusableBase) as caught:
        find(folder, *layers, environment={"PATH": more.get("path", USUAL)})
    assert "CPython 3.11 or later" in caught.value.hint
    return caught.value.message


def installed(found: BasePython) -> dict[str, str]:
    return {package.name: package.version for package in found.packages}


def test_docker_s_own_python(tmp_path: Path) -> None:
    found = find(tmp_path, system(), python("3.12"))
    assert (found.interpreter, found.version, found.glibc) == (
        "/usr/local/bin/python3.12",
        "3.12",
        "2.36",
    )
    assert installed(found) == {"pip": "24.0"}


def test_debian_s_python(tmp_path: Path) -> None:
    found = find(tmp_path, {**system(), **DEBIAN})
    assert (found.interpreter, found.version) == ("/usr/bin/python3.11", "3.11")
    assert installed(found) == {"numpy": "1.26.4", "six": "1.16.0"}


def test_what_the_image_starts_goes_before_its_path(tmp_path: Path) -> None:
    both = {**system(), **python("3.12"), **python("3.13", "opt/conda")}
    assert find(tmp_path, both).version == "3.12"
    started = find(tmp_path, both, command=("/opt/conda/bin/python", "-i"))
    assert started.interpreter == "/opt/conda/bin/python3.13"
    assert find(tmp_path, both, command=("/bin/sh", "python3")).version == "3.12"
    named = {**both, **DEBIAN}
    assert find(tmp_path, named, command=("python3.11",)).interpreter == "/usr/bin/python3.11"


def test_the_path_is_searched_in_its_order(tmp_path: Path) -> None:
    both = {**system(), **python("3.12"), **python("3.13", "opt/conda")}
    first = find(tmp_path, both, environment={"PATH": f"/opt/conda/bin:{USUAL}"})
    assert first.interpreter == "/opt/conda/bin/python3.13"
    assert find(tmp_path, both, environment={}).version == "3.12"
    only = {**system(), "usr/bin/python3.11": program(), "usr/lib/python3.11/os.py": b""}
    assert find(tmp_path, only).interpreter == "/usr/bin/python3.11"


def test_a_virtual_environment_is_called_by_its_own_path(tmp_path: Path) -> None:
    site = "opt/venv/lib/python3.11/site-packages"
    venv: dict[str, bytes | str] = {
        "opt/venv/pyvenv.cfg": b"home = /usr/local/bin\ninclude-system-site-packages = false\n",
        "opt/venv/bin/python": "/usr/local/bin/python3",
        f"{site}/torch-2.1.0.dist-info/METADATA": b"",
    }
    path = {"PATH": f"/opt/venv/bin:{USUAL}"}
    command = ("/opt/venv/bin/python",)
    found = find(tmp_path, system(), python(), venv, command=command, environment=path)
    assert found.interpreter == "/opt/venv/bin/python"
    assert installed(found) == {"torch": "2.1.0"}
    venv["opt/venv/pyvenv.cfg"] = b"include-system-site-packages = TRUE\n"
    found = find(tmp_path, system(), python(), venv, command=command, environment=path)
    assert installed(found) == {"pip": "24.0", "torch": "2.1.0"}


def test_packages_are_those_of_all_layers_together(tmp_path: Path) -> None:
    site = "usr/local/lib/python3.11/site-packages"
    old = {f"{site}/Num_Py-1.0.dist-info/METADATA": b"", f"{site}/wheel-0.4.dist-info/RECORD": b""}
    new = {
        f"{site}/.wh.Num_Py-1.0.dist-info": b"",
        f"{site}/num_py-2.0.dist-info/METADATA": b"",
        f"{site}/.wh.pip-24.0.dist-info": b"",
    }
    found = find(tmp_path, {**system(), **python(), **old}, new)
    assert installed(found) == {"num-py": "2.0", "wheel": "0.4"}


def test_a_python_that_a_later_layer_took_away_is_none(tmp_path: Path) -> None:
    gone = {"usr/local/bin/.wh.python3.11": b""}
    assert refusal(tmp_path, system(), python(), gone) == "there is no Python on its PATH"


def test_there_is_none(tmp_path: Path) -> None:
    assert refusal(tmp_path, system()) == "there is no Python on its PATH"
    assert refusal(tmp_path, system(), python(), path="/bin") == "there is no Python on its PATH"


def test_a_script_is_no_python(tmp_path: Path) -> None:
    files = {**system(), "usr/bin/python3": b"#!/bin/sh\nexec pyenv\n"}
    assert refusal(tmp_path, files) == (
        "its Python cannot be used: /usr/bin/python3 is no program of Linux"
    )
    # What lies behind it on the PATH is used.
    assert find(tmp_path, {**files, **python("3.11", "usr/local")}).version == "3.11"


@pytest.mark.parametrize("version", ["3.6", "3.9", "3.10"])
def test_the_version_is_told(tmp_path: Path, version: str) -> None:
    assert refusal(tmp_path, system(), python(version)) == (
        f"its Python, /usr/local/bin/python{version}, is version {version}; 3.11 or later is needed"
    )


def test_free_threaded_and_debug_builds_want_other_wheels(tmp_path: Path) -> None:
    for suffix, kind in (("t", "a free-threaded"), ("d", "a debug")):
        name = f"usr/local/bin/python3.13{suffix}"
        files: dict[str, Member] = {name: program()}
        files["usr/local/bin/python3"] = f"python3.13{suffix}"
        assert refusal(tmp_path, system(), files) == (
            f"its Python, /{name}, is {kind} build, for which wheels differ"
        )


def test_a_program_without_its_library(tmp_path: Path) -> None:
    files: dict[str, Member] = {"usr/local/bin/python3.11": program()}
    files["usr/local/bin/python3"] = "python3.11"
    assert refusal(tmp_path, system(), files) == (
        "its Python, /usr/local/bin/python3.11, has no standard library: there is no"
        " /usr/local/lib/python3.11"
    )


def test_musl_is_refused(tmp_path: Path) -> None:
    files = {**python(), "usr/local/bin/python3.11": program(MUSL_LOADER)}
    assert refusal(tmp_path, system(), files) == (
        "its Python, /usr/local/bin/python3.11, is linked with musl (/lib/ld-musl-x86_64.so.1), as"
        " Alpine's is; there are no wheels of torch for it"
    )


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (program(machine=183), "is for another processor than x86-64"),
        (program(bits=1), "is no 64-bit program"),
        (b"\x7fELF", "is no 64-bit program"),
    ],
)
def test_another_processor_s_program(tmp_path: Path, head: bytes, why: str) -> None:
    files = {**python(), "usr/local/bin/python3.11": head}
    said = refusal(tmp_path, system(), files)
    assert said == f"its Python, /usr/local/bin/python3.11, {why}"


def test_the_loader_and_the_c_library_must_be_there(tmp_path: Path) -> None:
    static = {**python(), "usr/local/bin/python3.11": program("")}
    named = "the loader of /usr/local/bin/python3.11"
    assert refusal(tmp_path, system(), static) == f"{named}, none, is not in the image"
    assert refusal(tmp_path, python()) == (
        f"{named}, /lib64/ld-linux-x86-64.so.2, is not in the image"
    )
    no_libc = {path: data for path, data in system().items() if "libc.so" not in path}
    assert refusal(tmp_path, no_libc, python()) == ("its C library cannot be found, or is no glibc")


def test_glibc_must_be_new_enough(tmp_path: Path) -> None:
    assert refusal(tmp_path, system("2.17"), python()) == (
        "its glibc is 2.17; the wheels need 2.28 or later"
    )
    older: dict[str, Member] = {
        f"{LIBS}/libc-2.28.so": libc("2.28"),
        f"{LIBS}/libc.so.6": "libc-2.28.so",
    }
    assert find(tmp_path, {**system(), **older}, python()).glibc == "2.28"


def test_torch_wants_the_cxx_library(tmp_path: Path) -> None:
    bare = {path: data for path, data in system().items() if "libstdc++" not in path}
    assert refusal(tmp_path, bare, python()) == "it has no libstdc++.so.6, which torch needs"
    conda = {**bare, **python("3.11", "opt/conda"), "opt/conda/lib/libstdc++.so.6": b"\x7fELF"}
    path = {"PATH": "/opt/conda/bin"}
    assert find(tmp_path, conda, environment=path).interpreter == "/opt/conda/bin/python3.11"


def test_a_python_that_only_root_may_reach(tmp_path: Path) -> None:
    private = tar_of(python("3.11", "root/.local"), modes={"root": 0o700})
    assert refusal(tmp_path, system(), private, path="/root/.local/bin") == (
        "its Python, /root/.local/bin/python3.11, lies below /root, which only its owner may enter;"
        " training does not run as root"
    )
    closed = tar_of(python(), modes={"usr/local/bin/python3.11": 0o700})
    assert refusal(tmp_path, system(), closed) == (
        "its Python, /usr/local/bin/python3.11, is one that only its owner may run"
    )
