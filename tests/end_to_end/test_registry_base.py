"""A recipe whose image begins with one of a registry: locked, built, pushed, taken along.

The registry is the real one; the base is small and has a Python by its looks only. Training in a
base that docker made is in test_registry_base_runs.py.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recipec.image.image import Image
from recipec.progress import Silent
from recipec.publish.registry import push
from recipec.store import Store, canonical, sha256
from tests.support.daemons import Registry, registry
from tests.support.faults import Fault, Proxy, proxy
from tests.support.foreign import config_of, image_of, layers_of, python, system
from tests.support.projects import Project
from tests.support.pushing import SECRET, log_in, skopeo_digest
from tests.support.smallbuild import copy_of, make_small, upstream
from tests.support.upstreams import Site

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("registry-base")]

OLD = {"usr/local/lib/python3.11/site-packages/numpy-1.26.4.dist-info/METADATA": b""}
GONE = {"usr/local/lib/python3.11/site-packages/.wh.pip": b"", "srv/noise": bytes(300_000)}
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(kw_only=True)
class World:
    """A site with wheels, a registry with a base, and a proxy before it that counts."""

    site: Site
    kept: Registry
    seen: Proxy
    base: Image
    folder: Path
    count: int = field(default=0)

    @property
    def named(self) -> str:
        """The base as a recipe names it."""
        return f"{self.seen.host}/org/python@{self.base.manifest.digest}"

    @property
    def borrowed(self) -> list[str]:
        """Digests of its layers."""
        return [layer.blob.digest for layer in self.base.layers]

    def project(self, base: str = "", more: str = "") -> Project:
        """A project of its own with an empty cache, whose recipe begins with the base."""
        self.count += 1
        folder = self.folder / f"project{self.count}"
        folder.mkdir()
        made = make_small(
            folder, self.site, more=f'image: {{base: "{base or self.named}"{more}}}\n'
        )
        made.environment["DOCKER_CONFIG"] = str(folder / "docker")
        return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bases")
    store = Store(folder / "made")
    layers = layers_of(store, system(), {**python(), **OLD}, GONE)
    base = image_of(store, layers, config_of(layers))
    with ExitStack() as stack:
        site = stack.enter_context(upstream(200_000))
        kept = stack.enter_context(registry(folder / "registry"))
        push(base, store, f"{kept.host}/org/python:3.11", progress=Silent())
        seen = stack.enter_context(proxy(kept.host))
        yield World(site=site, kept=kept, seen=seen, base=base, folder=folder)


@pytest.fixture(scope="module")
def locked(world: World) -> Project:
    """A project that has been locked and built; tests copy it."""
    project = world.project()
    project.run("build", "recipes/tiny.yaml")
    return project


@pytest.fixture
def fresh(locked: Project, tmp_path: Path) -> Project:
    """The same project and lock on another machine: no layer of the base is in its cache."""
    copy = copy_of(locked, tmp_path / "copy", inputs=True)
    copy.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    return copy


def has(project: Project, digests: list[str]) -> list[bool]:
    store = Store(project.cache)
    return [store.has(digest) for digest in digests]


def blobs_asked(seen: Proxy, world: World) -> list[str]:
    """Layers of the base that somebody read from the registry."""
    paths = [path for method, path in seen.seen if method == "GET"]
    return [d for d in world.borrowed if any(path.endswith(f"/blobs/{d}") for path in paths)]


def test_the_lock_names_the_image_and_no_host(world: World, locked: Project) -> None:
    base = locked.lock.base
    assert base is not None
    assert (base.repository, base.digest) == ("org/python", world.base.manifest.digest)
    assert [layer.digest for layer in base.layers] == world.borrowed
    assert (base.interpreter, base.python) == ("/usr/local/bin/python3.11", "3.11")
    assert {p.name: p.version for p in base.packages} == {"numpy": "1.26.4", "pip": "24.0"}
    lock = locked.lock
    assert (lock.debs, lock.packages, lock.platform.debian) == ((), (), "")
    text = (locked.root / "recipes/tiny.lock.json").read_text()
    assert "127.0.0.1" not in text
    assert world.seen.host not in json.dumps(json.loads(Store(locked.cache).read(base.config)))


@pytest.mark.slow
def test_what_is_hidden_is_told_and_the_plan_says_which_python(world: World) -> None:
    project = world.project()
    before = project.run("plan", "recipes/tiny.yaml").stdout
    assert "`recipec lock` finds it" in before
    assert has(project, world.borrowed) == [False] * 3  # planning asks no registry
    said = project.run("lock", "recipes/tiny.yaml").stderr
    assert "numpy 1.26.4 of the base is hidden by 2.4.6 of the lock" in said
    assert "hidden" not in project.run("lock", "recipes/tiny.yaml").stderr
    assert (
        "/usr/local/bin/python3.11, glibc 2.36" in project.run("plan", "recipes/tiny.yaml").stdout
    )


def test_a_lock_builds_elsewhere_without_one_layer_of_it(
    world: World, locked: Project, fresh: Project
) -> None:
    world.seen.seen.clear()
    built = fresh.json("build", "recipes/tiny.yaml", "--locked")
    assert built["image"] == locked.json("build", "recipes/tiny.yaml", "--locked")["image"]
    assert blobs_asked(world.seen, world) == []
    assert has(fresh, world.borrowed) == [False] * 3
    assert [row["kind"] for row in built["layers"][:4]] == [*["base-image"] * 3, "mounts"]
    fresh.run("verify", "recipes/tiny.yaml", "--image-only")
    assert has(fresh, world.borrowed) == [False] * 3
    # A build with nothing to do does not miss them either, nor ask for anything.
    world.seen.seen.clear()
    assert fresh.json("build", "recipes/tiny.yaml")["up_to_date"]
    assert world.seen.seen == []


def test_a_push_to_the_same_registry_mounts_them(world: World, fresh: Project) -> None:
    fresh.run("build", "recipes/tiny.yaml", "--locked")
    target = f"{world.seen.host}/team/{fresh.root.parent.name}:one"
    plan = fresh.json("push", "recipes/tiny.yaml", target, "--dry-run")
    assert plan["moved"]["mounted"]["blobs"] == 3
    world.seen.seen.clear()
    world.seen.sent = 0
    pushed = fresh.json("push", "recipes/tiny.yaml", target)
    size = sum(layer.blob.size for layer in world.base.layers)
    assert pushed["moved"]["mounted"] == {"blobs": 3, "bytes": size}
    # What went up is ours, and nothing of theirs came down.
    assert world.seen.sent == pushed["moved"]["sent"]["bytes"] + 2 * pushed["manifest_bytes"]
    assert blobs_asked(world.seen, world) == []
    assert has(fresh, world.borrowed) == [False] * 3
    there = target.replace(world.seen.host, world.kept.host)
    assert skopeo_digest(there) == pushed["digest"]


def test_a_push_elsewhere_copies_them_as_they_come(
    world: World, fresh: Project, tmp_path: Path
) -> None:
    fresh.run("build", "recipes/tiny.yaml", "--locked")
    with registry(tmp_path / "other") as other:
        target = f"{other.host}/team/x:one"
        plan = fresh.json("push", "recipes/tiny.yaml", target, "--dry-run")
        assert plan["moved"]["copied"]["blobs"] == 3
        places = {row["digest"]: row.get("from") for row in plan["blobs"]}
        assert {places[d] for d in world.borrowed} == {f"{world.seen.host}/org/python"}
        pushed = fresh.json("push", "recipes/tiny.yaml", target)
        assert pushed["moved"]["copied"]["blobs"] == 3
        assert set(world.borrowed) <= set(other.blobs())
        assert skopeo_digest(target) == pushed["digest"]
        # Nothing of them stays here, and a second push copies nothing.
        assert has(fresh, world.borrowed) == [False] * 3
        again = fresh.json("push", "recipes/tiny.yaml", target)
        assert again["moved"]["there"]["blobs"] == len(plan["blobs"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="GET", path="/org/python/blobs/", short=0.5),
        Fault(method="GET", path="/org/python/blobs/", status=503),
        Fault(method="GET", path="/org/python/blobs/", short=0.5, reset=True, times=2),
    ],
)
def test_a_copy_that_is_cut_goes_on(
    world: World, fresh: Project, tmp_path: Path, fault: Fault
) -> None:
    fresh.run("build", "recipes/tiny.yaml", "--locked")
    world.seen.faults[:] = [fault]
    try:
        with registry(tmp_path / "other") as other:
            target = f"{other.host}/team/x:one"
            pushed = fresh.json("push", "recipes/tiny.yaml", target)
            assert fault.times == 0
            assert skopeo_digest(target) == pushed["digest"]
            assert set(world.borrowed) <= set(other.blobs())
    finally:
        world.seen.faults.clear()


@pytest.mark.slow
def test_a_registry_that_lies_about_a_layer_moves_no_tag(
    world: World, fresh: Project, tmp_path: Path
) -> None:
    fresh.run("build", "recipes/tiny.yaml", "--locked")
    lie = Fault(method="GET", path="/org/python/blobs/", flip_answer=0.5, times=50)
    world.seen.faults[:] = [lie]
    try:
        with registry(tmp_path / "other") as other:
            done = fresh.run("push", "recipes/tiny.yaml", f"{other.host}/team/x:one", code=4)
            assert "gives other bytes; no tag was set" in done.stderr
            manifests = other.folder / "docker/registry/v2/repositories/team/x/_manifests"
            assert not manifests.exists()
    finally:
        world.seen.faults.clear()


def test_an_archive_has_them_and_so_has_the_layout(
    world: World, fresh: Project, tmp_path: Path
) -> None:
    built = fresh.json("build", "recipes/tiny.yaml", "--locked")
    layout = fresh.build / "image/blobs/sha256"
    names = [digest.removeprefix("sha256:") for digest in world.borrowed]
    assert not any((layout / name).exists() for name in names)
    listed = fresh.json("inspect", "recipes/tiny.yaml")["layers"][0]["from"]
    manifest = world.base.manifest.digest
    image = {"type": "image", "name": "org/python", "version": None, "sha256": manifest}
    assert listed == [image]
    folder = fresh.json("inspect", str(fresh.build))["layers"]
    assert folder[0]["kind"] == "base-image"
    assert folder[0]["from"] == [image]
    exported = fresh.json("export-archive", "recipes/tiny.yaml", "--to", str(tmp_path / "a.tar"))
    assert exported["image"] == built["image"]
    assert all((layout / name).is_file() for name in names)
    with tarfile.open(tmp_path / "a.tar") as archive:
        inside = {member.name for member in archive}
    assert {f"blobs/sha256/{name}" for name in names} <= inside
    # They are in the store and in the layout now, and the build still has nothing to do.
    assert has(fresh, world.borrowed) == [True] * 3
    assert fresh.json("build", "recipes/tiny.yaml")["up_to_date"]
    files = fresh.json("inspect", str(fresh.build), "--files")["layers"][0]["from"]
    assert any(row["name"] == "usr/lib64/ld-linux-x86-64.so.2" for row in files)
    # What a lock names stays in the store.
    removed = fresh.json("cache", "gc", "--keep", "0")
    assert removed["kept"] > 0
    assert has(fresh, world.borrowed) == [True] * 3
    config = fresh.lock.base
    assert config is not None
    assert has(fresh, [config.config]) == [True]


@pytest.mark.slow
def test_a_bundle_brings_it_to_where_no_registry_is(
    world: World, fresh: Project, tmp_path: Path
) -> None:
    built = fresh.json("build", "recipes/tiny.yaml", "--locked")
    bundle = tmp_path / "tiny.bundle.tar"
    fresh.run("bundle", "recipes/tiny.yaml", "-o", str(bundle))
    away = tmp_path / "away"
    away.mkdir()
    (away / "dvc.yaml").write_text("")
    alone = Project(
        root=away, cache=tmp_path / "cache", environment={"DOCKER_CONFIG": str(tmp_path / "none")}
    )
    world.seen.faults[:] = [Fault(method="GET", path="/", status=403, times=99)]
    try:
        there = alone.json("build", "--from-bundle", str(bundle), "recipes/tiny.yaml")
        assert there["image"] == built["image"]
        alone.run("export-archive", "recipes/tiny.yaml")
    finally:
        world.seen.faults.clear()


@pytest.mark.slow
def test_the_evidence_names_it(world: World, fresh: Project) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fresh.run("build", "recipes/tiny.yaml", "--locked")
    fresh.run("attest", "recipes/tiny.yaml")
    text = (fresh.build / "evidence/sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    base = next(part for part in bill["components"] if part["bom-ref"] == "base")
    assert (base["type"], base["version"]) == ("container", world.base.manifest.digest)
    assert base["purl"] == f"pkg:oci/python@{world.base.manifest.digest}"
    assert [part["purl"] for part in base["components"]] == [
        "pkg:pypi/numpy@1.26.4",
        "pkg:pypi/pip@24.0",
    ]
    assert {"aggregate": "incomplete", "assemblies": ["base"]} in bill["compositions"]
    plain = json.loads((fresh.build / "evidence/provenance.json").read_bytes())
    inputs = plain["predicate"]["buildDefinition"]["resolvedDependencies"]
    row = next(row for row in inputs if row["name"] == "org/python")
    assert row["digest"]["sha256"] == world.base.manifest.digest[7:]
    assert "127.0.0.1" not in text
    target = f"{world.kept.host}/team/attested:one"
    fresh.run("push", "recipes/tiny.yaml", target)
    image = {"type": "image", "name": "org/python", "version": None}
    image["sha256"] = world.base.manifest.digest
    for _ in range(2):  # by its history, and then by what is attached
        layers = fresh.json("inspect", target)["layers"]
        assert [layer["from"] for layer in layers[:3]] == [[image]] * 3
        fresh.run("attest", "recipes/tiny.yaml", target)


def test_a_tag_alone_is_refused_with_its_digest(world: World) -> None:
    name = f"{world.seen.host}/org/python:3.11"
    project = world.project(name)
    message = "an image of a registry must be named by digest: a tag can be moved"
    world.seen.seen.clear()
    check = project.run("check", "recipes/tiny.yaml", code=1).stderr
    assert f"error: {message}\n" in check
    assert f"hint: write {name}@sha256:...; `recipec lock` asks the registry" in check
    assert world.seen.seen == []
    lock = project.run("lock", "recipes/tiny.yaml", code=1).stderr
    digest = world.base.manifest.digest
    assert f"hint: write {name}@{digest}, which is what the tag names now" in lock
    project.edit(name, f"{name}@{digest}")
    project.run("lock", "recipes/tiny.yaml")
    assert project.lock.base is not None
    nowhere = world.project(f"{world.seen.host}/org/python:9").run(
        "lock", "recipes/tiny.yaml", code=1
    )
    assert f"its registry has no {world.seen.host}/org/python:9" in nowhere.stderr
    with proxy(world.kept.host, users={"me": SECRET}) as closed:
        silent = world.project(f"{closed.host}/org/python").run("lock", "recipes/tiny.yaml", code=1)
    assert "hint: the registry could not be asked for it: " in silent.stderr


def test_what_cannot_be_beside_it_is_refused_with_its_line(world: World) -> None:
    project = world.project(more=", package_set: cloud, jit: true, packages: [git]")
    said = project.run("check", "recipes/tiny.yaml", code=1).stderr
    for key in ("package_set", "jit", "packages"):
        assert f"`image.{key}` asks for Debian packages, and the base is an image" in said
    assert "3 errors" in said


@pytest.mark.slow
def test_an_index_leads_to_our_platform_and_another_platform_is_refused(world: World) -> None:
    store = Store(world.folder / "made")
    arm = image_of(store, world.base.layers, config_of(world.base.layers, architecture="arm64"))
    rows = [
        {
            "mediaType": one.manifest.media_type,
            "digest": one.manifest.digest,
            "size": one.manifest.size,
            "platform": {"os": "linux", "architecture": name},
        }
        for name, one in (("arm64", arm), ("amd64", world.base))
    ]
    index = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})
    push(arm, store, f"{world.kept.host}/org/python:arm", progress=Silent())
    _put(world.kept, "org/python", index)
    host = world.seen.host
    project = world.project(f"{host}/org/python@{sha256(index)}")
    project.run("lock", "recipes/tiny.yaml")
    base = project.lock.base
    assert base is not None
    assert (base.digest, base.manifest) == (sha256(index), world.base.manifest.digest)
    wrong = world.project(f"{host}/org/python@{arm.manifest.digest}")
    said = wrong.run("lock", "recipes/tiny.yaml", code=1).stderr
    assert "tiny.yaml:" in said
    assert "the base cannot be used: it is for linux/arm64" in said
    assert not (wrong.root / "recipes/tiny.lock.json").exists()


def _put(kept: Registry, repository: str, index: bytes) -> None:
    import urllib.request

    url = f"http://{kept.host}/v2/{repository}/manifests/{sha256(index)}"
    request = urllib.request.Request(url, data=index, method="PUT", headers={"Content-Type": INDEX})
    urllib.request.urlopen(request).close()


@pytest.mark.slow
def test_a_password_is_found_where_push_finds_it(
    world: World, fresh: Project, tmp_path: Path
) -> None:
    with proxy(world.kept.host, users={"me": SECRET}) as closed:
        name = f"{closed.host}/org/python@{world.base.manifest.digest}"
        fresh.edit(world.named, name)
        # Another host is another recipe; the image and what it is made from stay as they are.
        before = fresh.lock
        wrong = fresh.run("build", "recipes/tiny.yaml", code=3)
        assert SECRET not in wrong.stderr
        log_in(tmp_path / "docker", closed.host)
        fresh.run("build", "recipes/tiny.yaml")
        assert fresh.lock.base == before.base
        assert fresh.lock.image == before.image
        text = (fresh.root / "recipes/tiny.lock.json").read_text()
        assert SECRET not in text
        assert "127.0.0.1" not in text


@pytest.mark.slow
def test_a_dockerfile_is_refused_with_the_reason(locked: Project) -> None:
    said = locked.run("build", "recipes/tiny.yaml", "--dockerfile", code=2).stderr
    assert "tiny begins with org/python, whose files it does not know" in said


@pytest.mark.slow
def test_two_images_are_compared_though_a_base_is_not_here(
    world: World, locked: Project, fresh: Project
) -> None:
    other = world.project()
    other.run("build", "recipes/tiny.yaml")
    debian = locked.root.parent / "debian"
    shutil.copytree(locked.root, debian, ignore=shutil.ignore_patterns("build", "*.lock.json"))
    plain = Project(root=debian, cache=locked.cache, environment=locked.environment)
    plain.edit(f'image: {{base: "{world.named}"}}\n', "")
    plain.run("build", "recipes/tiny.yaml")
    fresh.run("build", "recipes/tiny.yaml", "--locked")
    done = fresh.run("diff", str(fresh.build), str(plain.build), code=None)
    assert done.returncode in (0, 1)
    assert "base-image" in done.stdout
    locks = [str(one.root / "recipes/tiny.lock.json") for one in (plain, fresh)]
    said = fresh.run("diff", *locks, code=None).stdout
    assert "base repository: left open -> org/python" in said


@pytest.mark.slow
def test_an_edit_of_the_lock_s_base_is_stale_when_locked(world: World, fresh: Project) -> None:
    fresh.edit(world.base.manifest.digest, "sha256:" + "0" * 64)
    said = fresh.run("build", "recipes/tiny.yaml", "--locked", code=1).stderr
    assert "the lock does not fit: the base is now org/python@sha256:000000000000" in said
    gone: Any = fresh.run("build", "recipes/tiny.yaml", code=3).stderr
    assert "there is no" in gone
