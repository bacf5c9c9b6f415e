"""Cells of the support table, compiled by the real passes for tiny models, ready for the host.

In: a task, a method, a model type and knobs. Out: a folder with recipe/, model/ and data/ in which
`python -m recipec_runtime` runs. Only wheels and packages are left out: the host has its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.catalog import support
from recipec.emit.script import emit_bundle
from recipec.pins.data import read_data
from recipec.pins.lockfile import Lock
from recipec.pins.models import read_folder
from recipec.plan.fit import Target, misfits
from recipec.plan.make import make_plan
from recipec.plan.plan import Settings
from recipec.recipe.check import check
from recipec.recipe.read import read
from recipec.store import Store, write_atomically
from tests.support.methods import config_of
from tests.support.models import DECODERS, ENCODERS, WITHOUT_CHAT
from tests.support.training import base

FIELDS: dict[str, dict[str, str]] = {
    "causal-lm": {"text": "text"},
    "masked-lm": {"text": "text"},
    "span-corruption": {"text": "text"},
    "instruction": {"source": "source", "target": "target"},
    "sequence-classification": {"text": "text", "label": "label"},
    "token-classification": {"words": "words", "tags": "tags"},
    "question-answering": {"question": "question", "context": "context", "answers": "answers"},
    "summarization": {"source": "clause", "target": "summary"},
    "translation": {"source": "source", "target": "target"},
    "text-to-text": {"source": "clause", "target": "summary"},
}
"""Columns of the tiny data sets by task."""

TYPES: dict[str, tuple[str, ...]] = {
    "encoder-only": tuple(ENCODERS),
    "decoder-only": tuple(DECODERS),
    "encoder-decoder": tuple(
        n for n, m in support.models().items() if m.family == "encoder-decoder"
    ),
}
"""Model types by family."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A supported cell and the model type that stands for its family."""

    task: str
    family: str
    method: str
    model_type: str

    def __str__(self) -> str:
        return f"{self.task}-{self.method}-{self.model_type}"


def recipe_text(task: str, method: str, model_type: str, knobs: Mapping[str, Any]) -> bytes:
    """A recipe of 20 steps as JSON, which is YAML; `knobs` are sections that go over it."""
    plain: dict[str, Any] = {
        "name": "cell",
        "task": {"type": task, "fields": FIELDS[task]},
        "domain": {
            "data": {split: f"data/{split}.jsonl" for split in ("train", "validation", "test")}
        },
        "architecture": {"model": "path:model"},
        "method": {"type": method},
        "training": {
            "steps": 20,
            "batch_size": 8,
            "checkpoint_every": 3,
            "log_every": 5,
            "seed": 7,
        },
        "evaluation": {"batch_size": 8},
    }
    if method in ("prefix", "prompt"):
        plain["method"]["virtual_tokens"] = 8
    own = support.tasks()[task].knobs
    lengths = {
        "max_length": 56 if task == "instruction" else 48,
        "max_source_length": 48,
        "max_target_length": 16,
    }
    plain["training"] |= {name: n for name, n in lengths.items() if f"training.{name}" in own}
    if "evaluation.max_new_tokens" in own:
        plain["evaluation"]["max_new_tokens"] = 8
    if task == "instruction" and model_type in WITHOUT_CHAT:
        plain["task"]["chat_template"] = "plain"  # the shortest
    if task == "sequence-classification":
        # at higher rates a random model learns the few rows by heart, and the others' loss rises
        plain["training"]["learning_rate"] = 1e-3
    if task == "question-answering":
        plain["task"]["doc_stride"] = 8
    if method == "prefix" and model_type in TYPES["encoder-decoder"]:
        # a random model has learnt nothing that a prefix could call up: 20 steps must be long ones
        plain["training"]["learning_rate"] = 0.2
    for section, values in knobs.items():
        whole = isinstance(values, Mapping)
        plain[section] = {**plain.get(section, {}), **values} if whole else values
    return json.dumps(plain).encode()


def settings_of(
    root: Path, task: str, method: str, model_type: str, **knobs: Any
) -> tuple[Settings, Lock]:
    """What the passes make of a cell's recipe in `root`, which holds model/ and data/."""
    return compiled(root, recipe_text(task, method, model_type, knobs))


def compiled(root: Path, text: bytes) -> tuple[Settings, Lock]:
    """What the passes make of any recipe in `root`, which holds model/ and data/."""
    recipe = check(read(text, "cell.yaml"))
    store = Store(root / "store")
    data = read_data(recipe, project=root, store=store)
    model = read_folder("path:model", project=root, store=store)
    facts = model.facts
    target = Target(family=facts.family, model_type=facts.model_type, config=facts.config)
    assert [broken.message for broken in misfits(recipe, target)] == []
    lock = Lock(
        recipe="recipes/cell.yaml",
        recipe_digest="sha256:" + "0" * 64,
        uv="0.13.0",
        layer_format=1,
        wheels=(),
        debs=(),
        model=model.model,
        data=data.files,
        labels=data.labels,
        label_counts=data.label_counts,
    )
    plan = make_plan(
        recipe, lock, family=facts.family, model_type=facts.model_type, config=facts.config
    )
    return plan.settings, lock


def place_cell(root: Path, task: str, method: str, model_type: str, **knobs: Any) -> Path:
    """`root` with everything that a run of the cell needs; the root."""
    shutil.copytree(base(model_type), root, dirs_exist_ok=True)
    settings, lock = settings_of(root, task, method, model_type, **knobs)
    for name, content in emit_bundle(settings, lock):
        write_atomically(root / "recipe" / name, content)
    return root


def supported() -> list[Cell]:
    """Every supported cell, the model types of its family taken in turn."""
    turns = dict.fromkeys(TYPES, 0)
    found = []
    for task, family, method in support.cells():
        types = able(task, family, method)
        found.append(
            Cell(
                task=task,
                family=family,
                method=method,
                model_type=types[turns[family] % len(types)],
            )
        )
        turns[family] += 1
    return found


def able(task: str, family: str, method: str) -> list[str]:
    """The model types of a family that a cell can be trained on, in the catalogue's order."""
    found = []
    for model_type in TYPES[family]:
        recipe = check(read(recipe_text(task, method, model_type, {}), "cell.yaml"))
        target = Target(family=family, model_type=model_type, config=config_of(model_type))
        if not list(misfits(recipe, target)):
            found.append(model_type)
    assert found, f"no model type can be trained for {task} with {method}"
    return found


def few(cells: list[Cell]) -> list[Cell]:
    """A small selection that has every task, every family and every method at least once."""
    wanted = {w for cell in cells for w in (cell.task, cell.family, cell.method)}
    chosen = []
    while wanted:
        best = max(cells, key=lambda c: len(wanted & {c.task, c.family, c.method}))
        wanted -= {best.task, best.family, best.method}
        chosen.append(best)
    return chosen
