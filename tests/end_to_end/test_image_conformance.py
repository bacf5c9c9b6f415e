"""A real image, read and run by the tools of others.

Base packages come from this machine's apt, wheels from its pip. What skopeo, umoci, podman and
docker unpack must be what was meant, and Python must run in it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipec.catalog.debian import base_packages
from recipec.emit.bundle import Bundle
from recipec.image.archive import write_archive
from recipec.image.build import build_image
from recipec.image.image import Image
from recipec.image.layout import write_layout
from recipec.pins.lockfile import Deb, Lock, Model, ModelFile
from recipec.progress import Silent
from recipec.store import Store, digest_of_file, sha256
from tests.support.daemons import containerd_daemon, docker_daemon
from tests.support.wheels import pin

pytestmark = pytest.mark.engine

REFERENCE = "registry.example/team/conformance:latest"
WHEELS = ("numpy", "safetensors", "click", "tqdm", "packaging")
PROBE = """
import csv, hashlib, importlib.metadata, json, os, pwd, sqlite3, ssl, sys, zoneinfo
import click, numpy, packaging, safetensors.numpy, tqdm
values = safetensors.numpy.load(open("/opt/recipec/model/weights.safetensors", "rb").read())
missing = [
    str(f) for d in importlib.metadata.distributions() for f in d.files if not f.locate().exists()
]
print(json.dumps({
    "python": sys.version_info[:2],
    "user": [os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_name],
    "cwd": os.getcwd(),
    "certificates": len(ssl.create_default_context().get_ca_certs()) > 100,
    "zone": str(zoneinfo.ZoneInfo("Europe/Berlin")),
    "product": (numpy.eye(3) @ values["w"]).sum(),
    "missing": missing,
}))
"""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image, its store, its layout and its archive."""

    image: Image
    store: Store
    layout: Path
    archive: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    assert platform.machine() == "x86_64"
    folder = tmp_path_factory.mktemp("conformance")
    debs, wheels = folder / "debs", folder / "wheels"
    debs.mkdir()
    command = ["apt-get", "download", "-q", *base_packages("bookworm")]
    subprocess.run(command, cwd=debs, check=True, capture_output=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels)]
    command += ["--only-binary", ":all:", "--python-version", "3.11"]
    command += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64"]
    subprocess.run([*command, *WHEELS], check=True, capture_output=True)
    return _build(folder, sorted(debs.glob("*.deb")), sorted(wheels.glob("*.whl")))


def _build(folder: Path, debs: list[Path], wheels: list[Path]) -> Built:
    weights = folder / "weights.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode()
    weights.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\x80\x3f" * 3)
    files = (
        ModelFile(
            path=weights.name, sha256=sha256(weights.read_bytes()), size=weights.stat().st_size
        ),
    )
    lock = Lock(
        recipe="conformance",
        recipe_digest=sha256(b""),
        uv="0",
        layer_format=1,
        wheels=tuple(pin(path) for path in wheels),
        debs=tuple(_pin_deb(path) for path in debs),
        model=Model(source="path:model", files=files),
        data=(),
    )
    store = Store(folder / "store")
    image = build_image(
        lock,
        recipe=Bundle.of({"run.json": b"{}\n"}),
        runtime=Bundle.of(
            {
                "recipec_runtime/__init__.py": b"",
                "recipec_runtime/__main__.py": b"import sys\nprint(*sys.argv[1:])\n",
            }
        ),
        environment=(("PROBE", "1"),),
        sources={digest_of_file(path): path for path in (*debs, *wheels, weights)},
        store=store,
        jobs=2,
        progress=Silent(),
    )
    write_layout(image, store, folder / "layout", reference=REFERENCE)
    with (folder / "image.tar").open("wb") as stream:
        write_archive(image, store, stream, reference=REFERENCE)
    return Built(image=image, store=store, layout=folder / "layout", archive=folder / "image.tar")


def _pin_deb(path: Path) -> Deb:
    package, version, rest = path.name.removesuffix(".deb").split("_")
    return Deb(
        package=package,
        version=version,
        architecture=rest,
        file=path.name,
        sha256=digest_of_file(path),
        size=path.stat().st_size,
    )


def output(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command prints; its errors on failure."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


Tree = dict[str, tuple[str, int, object]]
"""Kind, mode and contents (a digest, a target) by path."""


def meant(built: Built) -> Tree:
    """The root that the layers describe, by Python's own gzip and tarfile."""
    tree: Tree = {}
    for layer in built.image.layers:
        with tarfile.open(built.store.path(layer.blob.digest), "r:gz") as archive:
            tree |= tree_of(archive)
    return tree


def tree_of(archive: tarfile.TarFile) -> Tree:
    """What an archive holds, read from front to back."""
    tree: Tree = {}
    for member in archive:
        path = member.name.rstrip("/")
        if member.issym():
            tree[path] = ("link", 0o777, member.linkname)
        elif member.isdir():
            tree[path] = ("folder", stat.S_IMODE(member.mode), None)
        elif member.islnk():
            tree[path] = tree[member.linkname]
        elif member.isreg():
            stream = archive.extractfile(member)
            assert stream is not None
            tree[path] = ("file", stat.S_IMODE(member.mode), sha256(stream.read()))
    return tree


def found(root: Path) -> Tree:
    """A root as it lies on disk."""
    tree: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            about = path.lstat()
            place = str(path.relative_to(root))
            mode = stat.S_IMODE(about.st_mode)
            if stat.S_ISLNK(about.st_mode):
                tree[place] = ("link", 0o777, os.readlink(path))  # noqa: PTH115 - as it is written
            elif stat.S_ISDIR(about.st_mode):
                tree[place] = ("folder", mode, None)
            else:
                tree[place] = ("file", mode, digest_of_file(path))
    return tree


def check_probe(text: str) -> None:
    assert json.loads(text) == {
        "python": [3, 11],
        "user": [65532, 65532, "recipec"],
        "cwd": "/out",
        "certificates": True,
        "zone": "Europe/Berlin",
        "product": 3.0,
        "missing": [],
    }


def test_umoci_unpacks_what_was_meant(built: Built, tmp_path: Path) -> None:
    rootless = () if os.geteuid() == 0 else ("--rootless",)
    source = f"{built.layout}:{REFERENCE}"
    output("umoci", "unpack", *rootless, "--image", source, str(tmp_path / "bundle"))
    assert found(tmp_path / "bundle" / "rootfs") == meant(built)


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_skopeo_reads_layout_and_archive(built: Built, tmp_path: Path, kind: str) -> None:
    place = built.layout if kind == "oci" else built.archive
    source = f"{kind}:{place}:{REFERENCE}"
    about = json.loads(output("skopeo", "inspect", source))
    assert about["Architecture"] == "amd64"
    assert "PROBE=1" in about["Env"]
    config = json.loads(output("skopeo", "inspect", "--config", source))
    diff_ids = [layer.diff_id for layer in built.image.layers]
    assert config["rootfs"]["diff_ids"] == diff_ids
    if kind != "docker-archive":
        assert about["Digest"] == built.image.manifest.digest
        copy = f"dir:{tmp_path / 'copy'}"
        output("skopeo", "copy", "--insecure-policy", "--preserve-digests", source, copy)
        assert sha256((tmp_path / "copy" / "manifest.json").read_bytes()) == about["Digest"]


def test_an_archive_without_a_named_reference_is_one_image(built: Built) -> None:
    about = json.loads(output("skopeo", "inspect", f"oci-archive:{built.archive}"))
    assert about["Digest"] == built.image.manifest.digest


@pytest.fixture(scope="module")
def podman() -> Iterator[tuple[str, ...]]:
    # podman wants a short path for its sockets: pytest's own folders are too long under xdist.
    folder = Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))
    where = ("--root", str(folder / "root"), "--runroot", str(folder / "run"))
    how = ("--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
    command = ("podman", *where, *how)
    yield command
    subprocess.run([*command, "rmi", "--all", "--force"], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


RUN = ("run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp")


def test_podman_loads_and_runs_it(built: Built, podman: tuple[str, ...]) -> None:
    assert REFERENCE in output(*podman, "load", "--input", str(built.archive))
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
    run = (*podman, *RUN, *limits)
    assert output(*run, REFERENCE) == "train\n"
    check_probe(output(*run, "--entrypoint", "/usr/bin/python3", REFERENCE, "-c", PROBE))


@pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")
def test_docker_loads_and_runs_it(built: Built) -> None:
    with docker_daemon() as host:
        env = {"DOCKER_HOST": host}
        docker = "/usr/bin/docker"
        loaded = output(docker, "load", "--input", str(built.archive), env=env)
        assert loaded == f"Loaded image: {REFERENCE}\n"
        about = json.loads(output(docker, "image", "inspect", REFERENCE, env=env))[0]
        assert about["Id"] == built.image.config.digest
        assert about["RootFS"]["Layers"] == [layer.diff_id for layer in built.image.layers]
        assert output(docker, *RUN, REFERENCE, "evaluate", env=env) == "evaluate\n"
        probe = ("--entrypoint", "/usr/bin/python3", REFERENCE, "-c", PROBE)
        check_probe(output(docker, *RUN, *probe, env=env))


@pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")
def test_docker_gives_the_files_that_were_meant(built: Built) -> None:
    with docker_daemon() as host:
        env = {**os.environ, "DOCKER_HOST": host}
        docker = "/usr/bin/docker"
        output(docker, "load", "--input", str(built.archive), env=env)
        container = output(docker, "create", REFERENCE, env=env).strip()
        with subprocess.Popen(
            [docker, "export", container], env=env, stdout=subprocess.PIPE
        ) as exported:
            assert exported.stdout is not None
            with tarfile.open(fileobj=exported.stdout, mode="r|") as archive:
                tree = tree_of(archive)
        assert exported.returncode == 0
        wanted = meant(built)
        # What an engine puts over every container's root: devices, and files about the network.
        over = {".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"}
        own = {path for path in tree if path.split("/")[0] in ("dev", "proc", "sys")} | over
        assert {p: what for p, what in tree.items() if p not in own} == {
            p: what for p, what in wanted.items() if p not in own
        }


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
def test_containerd_mounts_what_was_meant(built: Built, tmp_path: Path) -> None:
    with containerd_daemon() as ctr:
        output(*ctr, "images", "import", str(built.archive))
        assert built.image.manifest.digest in output(*ctr, "images", "ls")
        root = tmp_path / "root"
        root.mkdir()
        how = ("--snapshotter", "native")
        output(*ctr, "images", "mount", *how, REFERENCE, str(root))
        try:
            assert found(root) == meant(built)
        finally:
            output(*ctr, "images", "unmount", *how, str(root))


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount needs root")
def test_buildah_begins_with_it(built: Built) -> None:
    folder = Path(tempfile.mkdtemp(prefix="buildah-", dir="/tmp"))
    where = ("--root", str(folder / "root"), "--runroot", str(folder / "run"))
    buildah = ("buildah", *where, "--storage-driver", "vfs")
    try:
        container = output(*buildah, "from", f"oci:{built.layout}:{REFERENCE}").strip()
        root = Path(output(*buildah, "mount", container).strip())
        assert found(root) == meant(built)
        output(*buildah, "umount", container)
        output(*buildah, "rm", container)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_copy_to_docker_archive_and_back_is_the_same_image(built: Built, tmp_path: Path) -> None:
    """Such an archive holds plain tars, so only what they hold can come back."""
    copy = ("skopeo", "copy", "--insecure-policy")
    there = f"docker-archive:{tmp_path / 'copy.tar'}:{REFERENCE}"
    back = f"oci:{tmp_path / 'back'}:again"
    output(*copy, f"oci:{built.layout}:{REFERENCE}", there)
    output(*copy, there, back)
    config = json.loads(output("skopeo", "inspect", "--config", back))
    meant_config = json.loads(built.store.read(built.image.config.digest))
    assert config["rootfs"] == meant_config["rootfs"]
    for name in ("Entrypoint", "Cmd", "Env", "User", "WorkingDir", "Labels"):
        assert config["config"][name] == meant_config["config"][name]


def test_gzip_and_tar_agree(built: Built) -> None:
    for layer in built.image.layers:
        blob = built.store.path(layer.blob.digest)
        plain = subprocess.run(["gzip", "-dc", str(blob)], check=True, capture_output=True).stdout
        assert sha256(plain) == layer.diff_id
        assert output("tar", "-tzf", str(blob))
