"""A project with a recipe, data and a model folder, and the command line run as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipec.store import Store

RECIPE = """\
recipe: v1
name: legal-t5
task:
  type: summarization
  fields: {source: clause, target: summary}
domain:
  data: {train: data/train.jsonl, test: data/test.jsonl}
architecture:
  model: path:models/tiny
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """A project folder with a cache of its own."""

    root: Path
    cache: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipes" / "legal-t5.yaml"

    @property
    def store(self) -> Store:
        return Store(self.cache)

    def run(
        self, *words: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Outcome:
        """`recipec WORDS` in the project's root."""
        done = subprocess.run(
            [sys.executable, "-m", "recipec.cli.main", *words],
            cwd=cwd or self.root,
            env={**os.environ, "RECIPEC_CACHE": str(self.cache), **(environment or {})},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    root = tmp_path / "project"
    for folder in ("recipes", "data", "models/tiny", ".git"):
        (root / folder).mkdir(parents=True)
    (root / "recipes" / "legal-t5.yaml").write_text(RECIPE)
    for split in ("train", "validation", "test"):
        row = {"clause": f"The {split} party pays.", "summary": "Pay."}
        (root / "data" / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    config = {"model_type": "t5", "is_encoder_decoder": True}
    (root / "models/tiny/config.json").write_text(json.dumps(config))
    (root / "models/tiny/model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (root / "models/tiny/tokenizer.json").write_bytes(b"{}")
    return Workplace(root=root, cache=tmp_path / "cache")
