"""The Dockerfile twin, built by the real BuildKit: its files are those of our own image.

What may differ, and why: RECORD, INSTALLER and REQUESTED tell who installed a wheel, and pip is not
recipec; the scripts of entry points are written by the installer, each in its own words; C headers
of wheels are where pip puts them, in a folder that no stage copies. Nothing else may: no file more
or less, no other mode, target or byte.
"""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recipec.catalog.stack import installer
from recipec.emit.bundle import Bundle
from recipec.image.build import build_image
from recipec.image.image import Image
from recipec.image.twin import write_twin
from recipec.pins.fetch import Upstream
from recipec.pins.installer import fetch_installer
from recipec.pins.lockfile import Lock, Model, ModelFile, Platform, Wheel, from_json
from recipec.progress import Silent
from recipec.store import Store, sha256
from tests.support.daemons import docker_daemon
from tests.support.projects import ROOT, Project, make_project
from tests.support.trees import Tree, tree_of, tree_of_archive
from tests.support.wheels import make_wheel, pin

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("twin"),
    pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root"),
]

DOCKER = "/usr/bin/docker"
SITE = "usr/local/lib/python3.11/dist-packages"
OF_THE_INSTALLER = re.compile(rf"{SITE}/[^/]+\.dist-info/(RECORD|INSTALLER|REQUESTED)")
REAL = ("tqdm", "packaging", "safetensors", "psutil")
HEADERS = "usr/local/include"


@dataclass(frozen=True, kw_only=True)
class Small:
    """An image of four real wheels and two odd ones, and what its twin is made from."""

    image: Image
    lock: Lock
    store: Store
    pip: Wheel


def docker(host: str, *words: str) -> str:
    done = subprocess.run(
        [DOCKER, *words],
        env={**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def daemon() -> Iterator[str]:
    with docker_daemon() as host:
        yield host


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Packages and wheels of the example's lock; what the user's cache lacks is fetched."""
    folder, store = tmp_path_factory.mktemp("small"), Store()
    known = from_json((ROOT / "recipes/legal-t5.lock.json").read_bytes())
    real = tuple(wheel for wheel in known.wheels if wheel.name in REAL)
    assert len(real) == len(REAL)
    upstream = Upstream(
        store=store,
        project=folder,
        platform=known.platform,
        exclude_newer=None,
        packages=tuple(deb.package for deb in known.debs),
        progress=Silent(),
        jobs=4,
    )
    assert not upstream.fetch_pinned(real, known.debs)
    odd = _odd_wheels(folder)
    for path in odd:
        store.add_file(path)
    weights = store.add_bytes(b"w" * 100)
    lock = Lock(
        recipe="small",
        recipe_digest=sha256(b""),
        uv="0",
        layer_format=1,
        wheels=(*real, *(pin(path) for path in odd)),
        debs=known.debs,
        model=Model(
            source='path:a $HOME "b"',
            files=(ModelFile(path="sub/weights", sha256=weights, size=100),),
        ),
        data=(),
    )
    digests = [weights, *(w.sha256 for w in lock.wheels), *(d.sha256 for d in lock.debs)]
    image = build_image(
        lock,
        recipe=Bundle.of({"train.py": b"print('train')\n", "run.json": b"{}\n"}),
        runtime=Bundle.of(
            {
                "recipec_runtime/__init__.py": b"",
                "recipec_runtime/__main__.py": b"import sys, safetensors\nprint(*sys.argv[1:])\n",
            }
        ),
        environment=(("QUOTED", 'a "b" $HOME \\ c'),),
        sources={digest: store.path(digest) for digest in digests},
        store=store,
        jobs=2,
        progress=Silent(),
    )
    pip = fetch_installer(
        installer(), platform=Platform(), project=folder, store=store, progress=Silent()
    )
    return Small(image=image, lock=lock, store=store, pip=pip)


def _odd_wheels(folder: Path) -> tuple[Path, ...]:
    """Every way in which an installer places a file: scripts, data, headers, executables."""
    odd = make_wheel(
        folder,
        "odd",
        {
            "odd/__init__.py": b"def main():\n    print('odd')\n",
            "odd/tool": b"\x7fELF",
            "odd-1.0.data/scripts/odd-script": b"#!python\nprint('script')\n",
            "odd-1.0.data/scripts/odd-shell": b"#!/bin/sh\n",
            "odd-1.0.data/data/share/odd/table": b"data",
            "odd-1.0.data/headers/odd.h": b"int odd;",
            "odd-1.0.data/purelib/odd/late.py": b"late = 1\n",
        },
        entry_points="[console_scripts]\nodd-main = odd:main\n",
        executable=(
            *("odd/tool", "odd-1.0.data/scripts/odd-script", "odd-1.0.data/scripts/odd-shell"),
        ),
    )
    unicode = make_wheel(folder, "namen", {"namen/ü.txt": b"u", "namen/a b.txt": b"blank"})
    return odd, unicode


def differences(ours: Tree, twin: Tree) -> dict[str, tuple[object, object]]:
    """What differs although it may not."""
    found: dict[str, tuple[object, object]] = {}
    for path in sorted(ours.keys() | twin.keys()):
        if OF_THE_INSTALLER.fullmatch(path) or f"{path}/".startswith(f"{HEADERS}/"):
            continue
        one, other = ours.get(path), twin.get(path)
        if path in SCRIPTS and one and other:
            one, other = (*one[:2], ""), (*other[:2], "")
        if one != other:
            found[path] = one, other
    return found


SCRIPTS: set[str] = set()
"""Scripts of entry points in the image that is compared, by path."""


def scripts_of(wheels: tuple[Wheel, ...], store: Store) -> set[str]:
    """What pip and we write for entry points."""
    import configparser
    import zipfile

    found = set()
    for wheel in wheels:
        with zipfile.ZipFile(store.path(wheel.sha256)) as archive:
            for name in archive.namelist():
                if name.endswith(".dist-info/entry_points.txt"):
                    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
                    parser.optionxform = str  # type: ignore[assignment, method-assign]
                    parser.read_string(archive.read(name).decode())
                    if parser.has_section("console_scripts"):
                        found |= {f"usr/local/bin/{key}" for key in parser["console_scripts"]}
    return found


def saved(host: str, name: str, folder: Path) -> tuple[Tree, dict[str, Any]]:
    archive = folder / f"{name}.tar"
    docker(host, "save", "--output", str(archive), name)
    try:
        return tree_of_archive(archive)
    finally:
        archive.unlink()


def check_twin(
    host: str, name: str, folder: Path, image: Image, lock: Lock, store: Store
) -> dict[str, Any]:
    """The built twin has the files and the settings of our image; its config."""
    SCRIPTS.clear()
    SCRIPTS.update(scripts_of(lock.wheels, store))
    tree, config = saved(host, name, folder)
    ours = tree_of(image, store)
    assert len(ours) > 1000
    found = differences(ours, tree)
    assert not found, "\n".join(f"{path}: {pair}" for path, pair in found.items())
    mine = json.loads(store.read(image.config.digest))
    for key in ("User", "WorkingDir", "Entrypoint", "Cmd", "Labels"):
        assert config["config"][key] == mine["config"][key], key
    assert sorted(config["config"]["Env"]) == sorted(mine["config"]["Env"])
    assert (config["os"], config["architecture"]) == (mine["os"], mine["architecture"])
    return config


def test_without_a_network_it_gives_our_files(small: Small, daemon: str, tmp_path: Path) -> None:
    context = tmp_path / "docker"
    write_twin(small.image, small.lock, small.store, context, name="s", pip=small.pip, wheels=True)
    docker(daemon, "build", "--network", "none", "--quiet", "--tag", "plain", str(context))
    check_twin(daemon, "plain", tmp_path, small.image, small.lock, small.store)
    assert docker(daemon, "run", "--rm", "--network", "none", "plain") == "train\n"
    entry = ("run", "--rm", "--network", "none", "--entrypoint")
    for script, said in (("odd-main", "odd\n"), ("odd-script", "script\n")):
        assert docker(daemon, *entry, f"/usr/local/bin/{script}", "plain") == said


def test_a_wheel_with_other_bytes_is_not_installed(
    small: Small, daemon: str, tmp_path: Path
) -> None:
    context = tmp_path / "docker"
    write_twin(small.image, small.lock, small.store, context, name="s", pip=small.pip, wheels=True)
    packaging = next((context / "wheels").glob("tqdm-*.whl"))
    data = packaging.read_bytes()
    packaging.unlink()
    packaging.write_bytes(data + b"\0")
    with pytest.raises(AssertionError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        docker(daemon, "build", "--network", "none", "--tag", "bad", str(context))


def test_an_index_and_another_base_leave_no_trace(
    small: Small, daemon: str, tmp_path: Path
) -> None:
    """The base is another image, without our account and folders; pip.conf comes as a secret."""
    base = tmp_path / "base.tar"
    _base_without_ours(small, base)
    docker(daemon, "import", str(base), "own-base")
    context, served = tmp_path / "docker", tmp_path / "served"
    write_twin(small.image, small.lock, small.store, context, name="s", pip=small.pip, wheels=False)
    served.mkdir()
    for wheel in small.lock.wheels:
        (served / wheel.file).write_bytes(small.store.read(wheel.sha256))
    with index(served) as port:
        conf = tmp_path / "pip.conf"
        conf.write_text(f"[global]\nno-index = true\nfind-links = http://127.0.0.1:{port}/\n")
        build = ["build", "--network", "host", "--build-arg", "BASE=own-base", "--quiet"]
        secret = ["--secret", f"id=pip.conf,src={conf}"]
        docker(daemon, *build, *secret, "--tag", "other", str(context))
        config = check_twin(daemon, "other", tmp_path, small.image, small.lock, small.store)
        assert str(port) not in json.dumps(config)
    assert docker(daemon, "run", "--rm", "--network", "none", "other") == "train\n"


def _base_without_ours(small: Small, target: Path) -> None:
    """Our base layer as a team's own base image: no account of ours, no /out, no /trained."""
    layer = next(layer for layer in small.image.layers if layer.kind == "base")
    path = small.store.path(layer.blob.digest)
    with tarfile.open(path, "r:gz") as source, tarfile.open(target, "w") as archive:
        for member in source:
            data = source.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
            if member.name in ("out", "trained"):
                continue
            if member.name in ("etc/passwd", "etc/group"):
                rows = data.decode().splitlines(keepends=True)
                data = "".join(row for row in rows if "recipec" not in row).encode()
                assert data.count(b"\n") == len(rows) - 1
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@contextmanager
def index(folder: Path) -> Iterator[int]:
    """A page of links to wheels on loopback; its port."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_command_writes_it_beside_the_build(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    wrong = project.run("build", str(project.recipe), "--wheels", code=2)
    assert wrong.stderr == (
        "error: --wheels says what --dockerfile writes, and that is not given\n"
        "  hint: add --dockerfile, or remove --wheels\n"
    )
    first = project.json("build", str(project.recipe), "--dockerfile")
    assert first["dockerfile"] == "build/tiny/docker/Dockerfile"
    context = project.root / "build/tiny/docker"
    before = _files(context)
    assert before["recipe/train.py"] == (project.build / "train.py").read_bytes()
    assert not any(path.endswith(".whl") for path in before if path.startswith("wheels/"))
    again = project.json("build", str(project.recipe), "--dockerfile", "--wheels")
    assert again["up_to_date"]
    after = _files(context)
    wheels = {path for path in after if path.startswith("wheels/") and path.endswith(".whl")}
    assert wheels == {f"wheels/{wheel.file}" for wheel in project.lock.wheels}
    kept = {path: data for path, data in after.items() if path not in wheels}
    assert {path for path in kept if kept[path] != before[path]} == {"Dockerfile"}
    assert "dockerfile" not in project.json("build", str(project.recipe))
    texts = b"".join(before[name] for name in ("Dockerfile", "requirements.txt", "folders.py"))
    assert b"://" not in texts


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_the_whole_stack_gives_our_files(daemon: str, tmp_path: Path) -> None:
    project: Project = make_project(tmp_path / "project")
    built = project.json("build", str(project.recipe), "--dockerfile", "--wheels")
    context, store = project.root / "build/tiny/docker", Store(project.cache)
    docker(daemon, "build", "--network", "none", "--quiet", "--tag", "whole", str(context))
    check_twin(daemon, "whole", tmp_path, _image(project, built), project.lock, store)
    probe = "import torch, transformers, peft; print(torch.eye(2).sum().item())"
    run = ("run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/python3", "whole")
    assert docker(daemon, *run, "-c", probe) == "2.0\n"


def _image(project: Project, built: dict[str, Any]) -> Image:
    from recipec.cli.state import image_from_plain

    state = json.loads((project.build / "build.json").read_bytes())
    image = image_from_plain(state["image"])
    assert image.manifest.digest == built["image"]
    return image
