"""Bases and package sets of the real Debian archives: resolved, made, and run in engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from recipec.engines.job import Job, Mount
from recipec.image.image import Layer
from recipec.pins.aptconf import deb_sources
from recipec.pins.lockfile import Deb
from recipec.store import Store
from tests.support.bases import base_layer, root_image, upstream, wheel_layer
from tests.support.daemons import podman_storage
from tests.support.run_job import make_engine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PYTHON = (
    "import bz2, ctypes, curses, lzma, readline, sqlite3, ssl, sys, uuid, zoneinfo\n"
    "assert len(ssl.create_default_context().get_ca_certs()) > 100\n"
    "zoneinfo.ZoneInfo('Europe/Vienna')\n"
    "print('python', '%d.%d' % sys.version_info[:2], file=sys.stderr)\n"
)
CLOUD = (
    "set -e; test $(id -un) = recipec; ps -e | grep -q bash; test $(which awk) = /usr/bin/awk;"
    " sh -c 'echo from sh'; hostname | head -1; (cd ~recipec && pwd);"
    " grep -q /bin/bash /etc/shells;"
    " find /etc -name passwd | sed s/passwd/found/; tar c /etc/shells | gzip | wc -c | grep -q ."
)
JIT = (
    "set -e; cd /out; echo '#include <stdio.h>\nint main(){puts(\"from c\");}' > h.c;"
    " gcc h.c -o h; ./h;"
    " echo '#include <iostream>\nint main(){std::cout << \"from c++\";}' > h.cc;"
    " c++ -O2 -march=x86-64-v3 -fopenmp -shared -fPIC -x c++ /dev/null -o lib.so;"
    " c++ h.cc -o hh; ./hh;"
    " echo '#include <Python.h>' > p.c; cc -fsyntax-only -I$(echo /usr/include/python3.*) p.c;"
    " echo | openssl sha512 >&2;"
    " /sbin/ldconfig --version | head -1"
)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def storage() -> Iterator[str]:
    with podman_storage() as conf:
        yield conf


def run(store: Store, engine: str, layers: Sequence[Layer], output: Path, *command: str) -> int:
    output.mkdir(exist_ok=True)
    output.chmod(0o777)
    job = Job(
        image=root_image(store, layers, command[0]),
        reference="recipec.local/base:latest",
        command=command[1:],
        environment=(),
        mounts=(Mount(host=output, container="/out", read_only=False),),
    )
    return make_engine(engine, store).run(job)


def resolved(store: Store, base: str, package_set: str, *, jit: bool) -> tuple[Deb, ...]:
    asked = upstream(store, base, package_set, jit=jit)
    debs = asked.resolved_debs()
    assert not [notice for notice in asked.notices if "signature" in notice]
    return debs


@pytest.mark.parametrize(("base", "python"), [("debian-12", "3.11"), ("debian-13", "3.13")])
def test_the_smallest_base_runs_its_python(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], base: str, python: str
) -> None:
    asked = upstream(store, base, "minimal")
    debs = asked.newest_debs(asked.packages)
    layer = base_layer(store, debs, base)
    assert (
        run(store, "bwrap", [layer], tmp_path / "out", f"/usr/bin/python{python}", "-c", PYTHON)
        == 0
    )
    assert f"python {python}" in capfd.readouterr().err
    # Resolved or taken as it stands: the same packages.
    assert resolved(store, base, "minimal", jit=False) == debs


def test_wheels_of_its_python(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Resolved for CPython 3.13 whatever runs this, spliced, and imported on Debian 13."""
    asked = upstream(store, "debian-13", "minimal")
    names = ["numpy==2.4.6", "safetensors==0.8.0", "tokenizers==0.23.3", "regex"]
    wheels = asked.pin_wheels(names, no_deps=True)
    assert [wheel.name for wheel in wheels if "cp313-cp313" in wheel.file] == ["numpy", "regex"]
    layers = [
        base_layer(store, asked.newest_debs(asked.packages), "debian-13"),
        wheel_layer(store, wheels, "debian-13"),
    ]
    script = (
        "import numpy, regex, safetensors.numpy, tokenizers, sys\n"
        "a = numpy.arange(6.0).reshape(2, 3)\n"
        "back = safetensors.numpy.load(safetensors.numpy.save({'a': a}))['a']\n"
        "print('product', float((back @ back.T).sum()), file=sys.stderr)\n"
    )
    assert run(store, "bwrap", layers, tmp_path / "out", "/usr/bin/python3.13", "-c", script) == 0
    assert "product 83.0" in capfd.readouterr().err


@pytest.mark.parametrize("engine", ["bwrap", "podman"])
@pytest.mark.parametrize("base", ["debian-12", "debian-13"])
def test_the_cloud_set(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    base: str,
    engine: str,
) -> None:
    if engine == "podman":
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", request.getfixturevalue("storage"))
    layer = base_layer(store, resolved(store, base, "cloud", jit=False), base)
    capfd.readouterr()
    assert run(store, engine, [layer], tmp_path / "out", "/bin/bash", "-c", CLOUD) == 0
    said = capfd.readouterr().err
    assert "from sh" in said
    assert "/home/recipec" in said
    assert "/etc/found" in said


@pytest.mark.parametrize("base", ["debian-12", "debian-13"])
def test_the_compiler(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], base: str
) -> None:
    layer = base_layer(store, resolved(store, base, "cloud", jit=True), base)
    capfd.readouterr()
    assert run(store, "bwrap", [layer], tmp_path / "out", "/bin/bash", "-c", JIT) == 0
    said = capfd.readouterr().err
    assert "from c\n" in said
    assert "from c++" in said
    assert "ldconfig (Debian GLIBC" in said
    assert "SHA2-512" in said


ALONE = """
import json, shutil, sys
from pathlib import Path
from recipec.store import Store
from tests.support.bases import base_layer, upstream

for gone in ("apt", "apt-get", "apt-cache", "dpkg", "dpkg-deb", "gpgv", "gpg"):
    assert shutil.which(gone) is None, gone
assert not [*Path("/etc/apt").iterdir(), *Path("/usr/share/keyrings").iterdir()]
store = Store(Path(sys.argv[1]))
asked = upstream(store, "debian-13", "minimal")
debs = asked.newest_debs(asked.packages)
print(json.dumps([asked.notices, base_layer(store, debs, "debian-13").diff_id]))
"""


def test_a_host_without_apt_and_keyrings(store: Store, tmp_path: Path) -> None:
    """The same base as with apt, its signatures checked with the keys that recipec carries."""
    asked = upstream(store, "debian-13", "minimal")
    expected = base_layer(store, asked.newest_debs(asked.packages), "debian-13").diff_id
    mirrors = dict.fromkeys(archive.uri for archive in deb_sources("trixie").archives)
    hidden = [*Path("/usr/bin").glob("apt*"), *Path("/usr/bin").glob("dpkg*")]
    hidden += [path for name in ("gpg", "gpgv") if (path := Path("/usr/bin", name)).exists()]
    command = ["bwrap", "--dev-bind", "/", "/"]
    for folder in ("/etc/apt", "/usr/share/keyrings"):
        command += ["--tmpfs", folder]
    for program in hidden:
        # A file that nobody may execute is no program.
        command += ["--ro-bind", "/dev/null", str(program.resolve())]
    (tmp_path / "alone.py").write_text(ALONE)
    done = subprocess.run(
        [*command, sys.executable, str(tmp_path / "alone.py"), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "RECIPEC_APT_MIRROR": " ".join(mirrors),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    notices, diff_id = json.loads(done.stdout)
    assert notices == []
    assert diff_id == expected


def test_apt_chooses_the_same_packages(store: Store, tmp_path: Path) -> None:
    """Of Debian 12, on a Debian host: what apt would install on an empty system, but for what is
    left out with intent and what apt takes as essential."""
    asked = upstream(store, "debian-12", "cloud", "git", "openmpi-bin", jit=True)
    ours = {(deb.package, deb.version) for deb in asked.resolved_debs()}
    (tmp_path / "status").write_text("")
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", "-qq"]
    command += ["-o", f"Dir::State::status={tmp_path / 'status'}", *asked.packages, *asked.extra]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
    )
    apt = {
        (words[1], words[2].removeprefix("("))
        for line in done.stdout.splitlines()
        if (words := line.split())[:1] == ["Inst"]
    }
    assert ours <= apt
    spare = {name for name, _ in apt - ours}
    # debconf and its kind, what only they or the essential packages want.
    assert "debconf" in spare
    assert len(spare) < 40, sorted(spare)
