"""A project that is built in a second: a real recipe over tiny wheels and packages of our own.

Everything is what a user has, but for its size: an index and a Debian mirror on loopback, a lock, a
model, data. The wheel of torch is a few megabytes, so that a build has several moments.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recipec.catalog.debian import base_packages
from recipec.catalog.stack import load
from recipec.store import Store
from tests.support.projects import Project
from tests.support.upstreams import (
    Site,
    index_files,
    mirror_files,
    serve,
    wheel_bytes,
    wheel_file,
)

RECIPE = """\
extends: base.yaml
name: tiny
domain: {data: {train: data/train.jsonl, test: data/test.jsonl}}
training: {learning_rate: 1.0e-3}
"""
BASE = """\
task: {type: summarization, fields: {source: clause, target: summary}}
architecture: {model: 'path:models/t5'}
method: {type: lora, rank: 4}
"""
MATRIX = """\
matrix: {training.epochs: [1, 2]}
"""
CORPUS = "  corpus: {train: data/corpus.jsonl, field: clause, steps: 4, batch_size: 2}\n"
CONFIG = {"model_type": "t5", "is_encoder_decoder": True, "d_model": 8, "num_layers": 1}
ROW = json.dumps({"clause": "a b c", "summary": "b"}) + "\n"


def stack_wheels(noise: int = 4_000_000) -> dict[str, bytes]:
    """Wheels with the names and versions of the real stack; torch has `noise` bytes of its own."""
    found = {}
    big = {"torch/big": random.Random(0).randbytes(noise), "torch/text": b"line\n" * (noise // 5)}
    for requirement in load().requirements(method="lora", files=["tokenizer.json"], versions={}):
        name, _, version = requirement.partition("==")
        files = big if name == "torch" else {}
        found[wheel_file(name, version)] = wheel_bytes(name, version, files=files, deflated=True)
    return found


@contextmanager
def upstream(noise: int = 4_000_000) -> Iterator[Site]:
    """An index and a mirror that have all that the small project needs."""
    with serve(Site()) as site:
        site.files |= index_files(stack_wheels(noise))
        site.files |= mirror_files(dict.fromkeys(base_packages("bookworm"), "1.0"))
        yield site


def environment(site: Site | None, folder: Path) -> dict[str, str]:
    """What makes `recipec` ask this site only; without one it has nobody to ask."""
    base = site.base if site is not None else "http://127.0.0.1:9"
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{base}/simple",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "RECIPEC_APT_MIRROR": f"{base}/debian",
        "RECIPEC_APT_KEYRING": "none",
        "UV_CACHE_DIR": str(folder / "uv"),
        "UV_NO_CONFIG": "1",
        "NETRC": os.devnull,
    }


def make_small(
    folder: Path, site: Site | None = None, *, more: str = "", corpus: bool = False
) -> Project:
    """The project with an empty cache beside it; `more` is added to its recipe."""
    root = folder / "project"
    for name in ("recipes", "data", "models/t5"):
        (root / name).mkdir(parents=True)
    recipe = RECIPE.replace("training:", f"{CORPUS}training:", 1) if corpus else RECIPE
    if corpus:
        recipe = recipe.replace(
            "domain: {data: {train: data/train.jsonl, test: data/test.jsonl}}\n",
            "domain:\n  data: {train: data/train.jsonl, test: data/test.jsonl}\n",
        )
        (root / "data/corpus.jsonl").write_text(ROW * 8)
    (root / "recipes/tiny.yaml").write_text(recipe + more)
    (root / "recipes/base.yaml").write_text(BASE)
    (root / "data/train.jsonl").write_text(ROW * 20)
    (root / "data/test.jsonl").write_text(ROW * 2)
    (root / "models/t5/config.json").write_text(json.dumps(CONFIG))
    (root / "models/t5/model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (root / "models/t5/tokenizer.json").write_bytes(b"{}")
    (root / "models/t5/README.md").write_text("---\nlicense: CC0-1.0\n---\nA model.\n")
    (root / "dvc.yaml").write_text("")
    return Project(root=root, cache=folder / "cache", environment=environment(site, folder))


def copy_of(project: Project, folder: Path, *, inputs: bool = False) -> Project:
    """The same project elsewhere, not built, with an empty cache or one of the inputs only."""
    shutil.copytree(
        project.root, folder / "project", ignore=shutil.ignore_patterns("build", "*.tar")
    )
    copy = Project(
        root=folder / "project",
        cache=folder / "cache",
        environment={**project.environment, "UV_CACHE_DIR": str(folder / "uv")},
    )
    if inputs:
        ours, theirs, lock = Store(project.cache), Store(copy.cache), project.lock
        for digest in [*(w.sha256 for w in lock.wheels), *(d.sha256 for d in lock.debs)]:
            theirs.add_file(ours.path(digest), expected=digest)
    return copy


def everything(folder: Path) -> dict[str, int]:
    """Every file below a folder with its size, but locks between processes, which stay."""
    return {
        path.relative_to(folder).as_posix(): path.lstat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "locks"
    }
