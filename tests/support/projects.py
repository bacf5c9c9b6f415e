"""A small project with a real recipe, and `recipec` run in it as users run it.

The recipe is the example's, cut down to a few steps and rows, so that a whole compile and training
takes seconds. Wheels and packages come from the user's own cache: they are downloaded once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipec.pins.lockfile import Lock, from_json
from recipec.store import Store

ROOT = Path(__file__).parents[2]
ROWS = 48


@dataclass(kw_only=True)
class Project:
    """A folder with recipes/tiny.yaml, and the environment that commands run in."""

    root: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable

    @property
    def recipe(self) -> Path:
        return self.root / "recipes/tiny.yaml"

    @property
    def build(self) -> Path:
        return self.root / "build/tiny"

    @property
    def lock(self) -> Lock:
        return from_json((self.root / "recipes/tiny.lock.json").read_bytes())

    def run(
        self, *arguments: str, code: int | None = 0, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run `recipec ARGUMENTS` in the project; asserts the exit code and that nobody crashed."""
        done = subprocess.run(
            [self.python, "-m", "recipec.cli.main", *arguments],
            cwd=self.root,
            env={**os.environ, "RECIPEC_CACHE": str(self.cache), **self.environment},
            capture_output=True,
            text=True,
            check=False,
            **more,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The document that `recipec ARGUMENTS --json` prints."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def edit(self, old: str, new: str) -> None:
        """Replace text in the recipe."""
        text = self.recipe.read_text()
        assert old in text, old
        self.recipe.write_text(text.replace(old, new))


RECIPE = """\
name: tiny
task:
  type: summarization
  fields: {source: clause, target: summary}
domain:
  data: {train: data/train.jsonl, validation: data/validation.jsonl, test: data/test.jsonl}
architecture:
  model: path:models/tiny-t5
method: {type: lora, rank: 4}
training: {steps: 6, learning_rate: 1.0e-3, batch_size: 8, seed: 7, checkpoint_every: 2}
evaluation: {max_new_tokens: 8}
reproducibility: portable
"""


def make_project(folder: Path, *, cache: Path | None = None) -> Project:
    """A fresh project in `folder`; without `cache`, the user's own."""
    (folder / "recipes").mkdir(parents=True)
    (folder / "recipes/tiny.yaml").write_text(RECIPE)
    shutil.copytree(ROOT / "models/tiny-t5", folder / "models/tiny-t5")
    (folder / "data").mkdir()
    for split in ("train", "validation", "test"):
        lines = (ROOT / f"data/legal/{split}.jsonl").read_text().splitlines(keepends=True)
        count = ROWS if split == "train" else 8
        (folder / f"data/{split}.jsonl").write_text("".join(lines[:count]))
    (folder / "dvc.yaml").write_text("")
    return Project(root=folder, cache=cache or Store().root)


def lend_inputs(lock: Lock, cache: Path) -> None:
    """Put a lock's wheels and packages into an empty cache, and nothing else."""
    ours, theirs = Store(), Store(cache)
    for digest in [*(wheel.sha256 for wheel in lock.wheels), *(deb.sha256 for deb in lock.debs)]:
        target = theirs.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            try:
                os.link(ours.path(digest), target)
            except OSError:  # another file system
                shutil.copyfile(ours.path(digest), target)


def weights(folder: Path) -> Mapping[str, bytes]:
    """The bytes of every trained file but the wall-clock facts."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "machine.json"
    }
