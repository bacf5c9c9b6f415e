"""`recipec push` as users run it, on a real recipe: dry run, Ctrl-C, kill -9, an edit, a mount."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipec.store import digest_of_file
from tests.support.daemons import Registry, registry
from tests.support.faults import Proxy
from tests.support.projects import Project, make_project

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("build")]

EDIT_LIMIT = 20_000
"""Bytes that a push after an edit of the recipe may send."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("pushed") / "project")
    project.environment["DOCKER_CONFIG"] = str(project.root / "docker")
    project.run("build", str(project.recipe))
    return project


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "recipec.cli.main", *arguments],
        cwd=project.root,
        env={**os.environ, "RECIPEC_CACHE": str(project.cache), **project.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_uploading(before: Proxy, process: subprocess.Popen[str]) -> None:
    """Wait until a body is on its way."""
    for _ in range(1200):
        assert process.poll() is None, process.communicate()
        if before.count("PUT", "blobs"):
            return
        time.sleep(0.05)
    raise AssertionError("no upload began")


def test_a_push_from_dry_run_to_mount(built: Project, served: Registry, before: Proxy) -> None:
    """One story, since every part of it starts from what the one before left in the registry."""
    recipe, place = str(built.recipe), f"{before.host}/team/tiny"

    # Nothing is there, and a dry run says so without changing that.
    dry = built.json("push", recipe, f"{place}:v1", "--dry-run")
    assert dry["moved"]["sent"]["blobs"] == len(dry["blobs"]) > 5
    assert dry["moved"]["there"]["blobs"] == dry["moved"]["mounted"]["blobs"] == 0
    assert dry["tags_now"] == {"v1": None}
    assert before.count("POST") + before.count("PUT") + before.count("PATCH") == 0

    # Ctrl-C ends it at once though the line is slow, and so does kill -9: no tag is there.
    before.throttle = 0.2
    process = start(built, "push", recipe, f"{place}:v1")
    until_uploading(before, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.endswith("interrupted\n")
    before.seen.clear()
    process = start(built, "push", recipe, f"{place}:v1")
    until_uploading(before, process)
    process.kill()
    process.communicate()
    assert not (served.folder / "docker/registry/v2/repositories/team/tiny/_manifests").exists()

    # The next push completes it, and every blob has its digest.
    before.throttle = 0.0
    pushed = built.json("push", recipe, f"{place}:v1", "--tag", "stable")
    assert pushed["digest"] == dry["digest"]
    assert pushed["tags"] == ["v1", "stable"]
    for path in (served.folder / "docker/registry/v2/blobs/sha256").glob("*/*/data"):
        assert digest_of_file(path) == f"sha256:{path.parent.name}"
    dry = built.json("push", recipe, f"{place}:v1", "--dry-run")
    assert dry["moved"]["there"]["blobs"] == len(dry["blobs"])
    assert dry["tags_now"] == {"v1": pushed["digest"]}

    # After an edit only the recipe's own layer, the config and the manifest travel.
    built.edit("seed: 7", "seed: 8")
    before.sent = 0
    edited = built.json("push", recipe, f"{place}:v2")
    assert edited["digest"] != pushed["digest"]
    assert edited["moved"]["sent"]["blobs"] == 2
    assert 0 < before.sent <= EDIT_LIMIT

    # Another repository of the same registry takes the blobs over; a dry run knows from where.
    before.sent = 0
    dry = built.json("push", recipe, f"{before.host}/other/tiny:v2", "--dry-run")
    assert {blob.get("from") for blob in dry["blobs"]} == {"team/tiny"}
    mounted = built.json("push", recipe, f"{before.host}/other/tiny:v2")
    assert mounted["moved"]["mounted"]["blobs"] == len(dry["blobs"])
    assert before.sent == 2 * mounted["manifest_bytes"]
    text = built.run("push", recipe, f"{before.host}/other/tiny:v2", "--dry-run")
    assert "tag v2: as it is" in text.stdout
    assert "is there" in text.stdout


def test_what_a_push_refuses(built: Project, tmp_path: Path) -> None:
    recipe = str(built.recipe)
    assert "names no registry" in built.run("push", recipe, "tiny", code=2).stderr
    nobody = built.run("push", recipe, "127.0.0.1:1/tiny", "--dry-run", code=3).stderr
    assert (
        "as it should: Failed to establish a new connection: [Errno 111] Connection refused"
        in nobody
    )
    built.environment["DOCKER_CONFIG"] = str(tmp_path)
    (tmp_path / "config.json").write_text('{"credsStore": "nowhere"}')
    lacking = built.run("push", recipe, "127.0.0.1:1/tiny", code=3).stderr
    assert "the credential helper docker-credential-nowhere is not installed" in lacking
