"""`recipec lock` as a user runs it: exit codes, messages, kills, and what is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipec.catalog.debian import base_packages
from recipec.catalog.stack import load
from recipec.store import sha256
from tests.support.upstreams import (
    Site,
    index_files,
    mirror_files,
    serve,
    wheel_bytes,
    wheel_file,
)

RECIPE = """\
recipe: v1
name: tiny
task: {type: summarization, fields: {source: clause, target: summary}}
domain: {data: {train: data/train.jsonl, test: data/test.jsonl}}
architecture: {model: 'path:models/t5'}
method: {type: lora, rank: 4}
training: {learning_rate: 1.0e-3}
"""
CONFIG = {"model_type": "t5", "is_encoder_decoder": True, "d_model": 8, "num_layers": 1}
BIG = random.Random(0).randbytes(4_000_000)
ROW = json.dumps({"clause": "a b c", "summary": "b"}) + "\n"
PASSWORD = "s3cret-word"


@dataclass
class Project:
    """A project folder, its upstream, its cache."""

    root: Path
    cache: Path
    site: Site
    environment: dict[str, str]

    @property
    def lock(self) -> Path:
        return self.root / "recipes" / "tiny.lock.json"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "recipec.cli.main", "lock", "recipes/tiny.yaml", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def fails(self, code: int, message: str, *arguments: str) -> str:
        """Run, expect this exit code and message, and no lock or part of one."""
        before = self.lock.read_bytes() if self.lock.exists() else None
        done = self.run(*arguments)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert PASSWORD not in done.stderr + done.stdout
        assert (self.lock.read_bytes() if self.lock.exists() else None) == before
        assert [p.name for p in self.lock.parent.iterdir() if p.name.startswith(".")] == []
        return done.stderr


def stack_wheels() -> dict[str, bytes]:
    """Wheels with the names and versions of the real stack, one of them big."""
    found = {}
    for requirement in load().requirements(method="lora", files=["tokenizer.json"], versions={}):
        name, _, version = requirement.partition("==")
        files = {"torch/big": BIG} if name == "torch" else {}
        found[wheel_file(name, version)] = wheel_bytes(name, version, files=files)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    root = tmp_path / "project"
    for folder in ("recipes", "data", "models/t5", ".git"):
        (root / folder).mkdir(parents=True)
    (root / "recipes" / "tiny.yaml").write_text(RECIPE)
    (root / "data" / "train.jsonl").write_text(ROW * 20)
    (root / "data" / "test.jsonl").write_text(ROW * 2)
    (root / "models/t5/config.json").write_text(json.dumps(CONFIG))
    (root / "models/t5/model.safetensors").write_bytes(b"weights")
    (root / "models/t5/tokenizer.json").write_bytes(b"{}")
    (root / "models/t5/tokenizer.json").write_bytes(b"{}")
    with serve(Site(password=f"joe:{PASSWORD}")) as site:
        site.files |= index_files(stack_wheels())
        site.files |= mirror_files(dict.fromkeys(base_packages("bookworm"), "1.0"))
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "UV_", "HF_")) and not name.lower().endswith("_proxy")
        }
        base = site.base.replace("://", f"://joe:{PASSWORD}@")
        environment = {
            **own,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{base}/simple",
            "RECIPEC_APT_MIRROR": f"{base}/debian",
            "RECIPEC_APT_KEYRING": "none",
            "RECIPEC_CACHE": str(tmp_path / "cache"),
            "UV_CACHE_DIR": str(tmp_path / "uv"),
            "UV_NO_CONFIG": "1",
            "NETRC": os.devnull,
        }
        yield Project(root=root, cache=tmp_path / "cache", site=site, environment=environment)


def test_pins_everything_and_says_nothing_of_where(project: Project) -> None:
    done = project.run("--json")
    assert done.returncode == 0, done.stderr
    text = project.lock.read_text()
    lock = json.loads(text)
    assert len(lock["debs"]) == len(base_packages("bookworm"))
    assert {wheel["name"] for wheel in lock["wheels"]} >= {"torch", "transformers", "peft"}
    assert [file["rows"] for file in lock["data"]] == [20, 2]
    assert json.loads(done.stdout)["lock"]
    for secret in (PASSWORD, "127.0.0.1", "://", str(project.root)):
        assert secret not in text
    kept = [path for path in project.cache.rglob("*.json") if PASSWORD in path.read_text()]
    assert kept == []
    project.site.requests.clear()
    assert project.run("--locked").returncode == 0
    assert project.lock.read_text() == text
    assert project.site.requests == []


def test_a_comment_changes_nothing(project: Project) -> None:
    assert project.run().returncode == 0
    text = project.lock.read_text()
    (project.root / "recipes" / "tiny.yaml").write_text(f"# a comment\n{RECIPE}")
    assert project.run("--locked").returncode == 0
    assert project.lock.read_text() == text


def test_a_knob_makes_the_lock_stale(project: Project) -> None:
    assert project.run().returncode == 0
    old = json.loads(project.lock.read_text())
    (project.root / "recipes" / "tiny.yaml").write_text(RECIPE.replace("1.0e-3", "2.0e-3"))
    project.fails(1, "error: the lock does not fit: recipe: changed", "--locked")
    project.site.requests.clear()
    assert project.run().returncode == 0
    assert project.site.requests == []
    new = json.loads(project.lock.read_text())
    assert {key for key in new if new[key] != old[key]} == {"recipe_digest"}


def test_a_killed_download_goes_on(project: Project) -> None:
    torch = next(path for path in project.site.files if path.startswith("/files/torch-"))
    project.site.stalls[torch] = 3_000_000
    digest = sha256(project.site.files[torch])
    part = project.cache / "partial" / digest.removeprefix("sha256:")
    with subprocess.Popen(
        project.command(), cwd=project.root, env=project.environment, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 1_000_000):
            assert time.monotonic() < deadline, "the download never began"
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    project.site.go.set()
    assert not project.lock.exists()
    had = part.stat().st_size
    project.site.requests.clear()
    assert project.run().returncode == 0
    assert ("GET", torch, f"bytes={had}-") in project.site.requests
    assert json.loads(project.lock.read_text())["wheels"]


def test_bad_rows(project: Project) -> None:
    (project.root / "data" / "train.jsonl").write_text(ROW + '{"clause": "a"}\nnot json\n')
    text = project.fails(1, "data/train.jsonl:2:1: error: the row has no `summary`")
    assert "data/train.jsonl:3:1: error: not a JSON object" in text
    assert "2 errors" in text


def test_missing_data(project: Project) -> None:
    (project.root / "data" / "test.jsonl").unlink()
    project.fails(1, "the test file is missing: data/test.jsonl")


def test_a_model_without_config(project: Project) -> None:
    (project.root / "models/t5/config.json").unlink()
    project.fails(1, "models/t5 is not a model: it has no config.json")


def test_pickled_weights(project: Project) -> None:
    (project.root / "models/t5/pytorch_model.bin").write_bytes(b"p")
    project.fails(1, "models/t5/pytorch_model.bin: error: pickled weights are refused")


def test_wrong_bytes(project: Project) -> None:
    assert project.run().returncode == 0
    peft = next(path for path in project.site.files if path.startswith("/files/peft-"))
    right = sha256(project.site.files[peft])
    (project.cache / "blobs" / "sha256" / right[7:]).unlink()
    project.site.files[peft] = b"wrong" + project.site.files[peft][5:]
    found = sha256(project.site.files[peft])
    project.fails(4, f"peft-0.21.2-py3-none-any.whl: expected {right}, found {found}")


def test_no_network(project: Project) -> None:
    project.environment["PIP_INDEX_URL"] = f"http://joe:{PASSWORD}@127.0.0.1:9/simple"
    project.environment["UV_HTTP_RETRIES"] = "0"
    project.fails(3, "error: the package index cannot be reached: ")


def test_no_mirror_answers(project: Project) -> None:
    project.environment["RECIPEC_APT_MIRROR"] = f"{project.site.base}/nothing"
    project.fails(3, "not allowed (HTTP 401)")
    project.site.password = None
    project.fails(3, "error: no configured Debian mirror has the release bookworm")


def test_an_impossible_version(project: Project) -> None:
    text = RECIPE + "image: {versions: {peft: 0.0.1}}\n"
    (project.root / "recipes" / "tiny.yaml").write_text(text)
    project.fails(1, "error: the image's Python packages cannot be resolved: ")


def test_an_unwritable_cache(project: Project) -> None:
    (project.root / "file").write_text("")
    project.environment["RECIPEC_CACHE"] = str(project.root / "file" / "cache")
    project.fails(3, "error: cannot write to ")
