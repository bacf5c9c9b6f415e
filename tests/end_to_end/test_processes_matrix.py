"""Several processes train what one trains: shares, sums and shards change nothing but rounding.

Each case is trained by one process and by two, with DDP and with FSDP2, on the same batches and
without dropout. Losses, weights, files and predictions must then be the same. The fast tier trains
a few telling cases.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recipec.recipe.rules.parallelism import WITHOUT_FSDP
from tests.support.together import (
    difference,
    merged,
    place,
    run_together,
    trained_together,
)
from tests.support.training import history, read, run, trained

PLAIN: dict[str, Any] = {
    "architecture": {"dropout": 0.0},
    "training": {
        "steps": 6,
        "log_every": 1,
        "checkpoint_every": 100,
        "micro_batch_size": 2,
    },
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A cell, its knobs, and how many rows it is trained on: a batch of 8 need not fit."""

    name: str
    task: str
    model: str
    method: str = "full"
    knobs: dict[str, Any] = field(default_factory=dict)
    ways: tuple[str, ...] = ("ddp", "fsdp")
    rows: int = 32
    fast: bool = False
    loss: float = 1e-6
    """The largest difference of two losses, as a share of one."""
    weight: float = 1e-5
    """The largest difference of two weights."""


def method(**knobs: Any) -> dict[str, Any]:
    return {"method": knobs}


def training(**knobs: Any) -> dict[str, Any]:
    return {"training": knobs}


CLASSES = {"fields": {"text": "text", "label": "labels"}, "multi_label": True}
ONE_WAY = ("ddp",)
CASES = [
    Case(name="t5-uneven", task="summarization", model="t5", rows=25, fast=True),
    Case(
        name="lora-everything",
        task="sequence-classification",
        model="bert",
        method="lora",
        knobs=method(
            rank=4,
            dora=True,
            rslora=True,
            lora_plus_ratio=4.0,
            also_train=["norms", "positions"],
            target_modules=["query", "value"],
        ),
        fast=True,
    ),
    Case(name="spans", task="question-answering", model="bert", fast=True, ways=("fsdp",)),
    Case(name="bart", task="summarization", model="bart", knobs=training(label_smoothing=0.1)),
    Case(
        name="beams",
        task="text-to-text",
        model="marian",
        knobs={"evaluation": {"num_beams": 3}},
    ),
    Case(name="translation", task="translation", model="pegasus"),
    Case(name="corruption", task="span-corruption", model="t5"),
    Case(name="llama", task="causal-lm", model="llama", rows=25),
    Case(name="tied", task="causal-lm", model="gpt2"),
    Case(name="frozen", task="causal-lm", model="gpt2", knobs=method(freeze=["embeddings"])),
    Case(name="packed", task="causal-lm", model="llama", knobs=training(packing=True)),
    Case(name="blocks", task="causal-lm", model="llama", knobs=training(overlong="split")),
    Case(name="masked-bert", task="masked-lm", model="bert"),
    Case(name="masked-distilbert", task="masked-lm", model="distilbert"),
    Case(name="chat", task="instruction", model="qwen2"),
    Case(name="chat-lora", task="instruction", model="qwen3", method="lora"),
    Case(name="experts", task="causal-lm", model="mixtral"),
    Case(name="experts-lora", task="causal-lm", model="qwen2_moe", method="lora"),
    Case(name="classes", task="sequence-classification", model="llama"),
    Case(
        name="label-sets",
        task="sequence-classification",
        model="roberta",
        knobs={"task": CLASSES},
    ),
    Case(
        name="weighted",
        task="sequence-classification",
        model="deberta-v2",
        knobs=training(class_weights="balanced"),
    ),
    Case(name="tags", task="token-classification", model="roberta"),
    Case(
        name="spans-lora",
        task="question-answering",
        model="llama",
        method="lora",
        loss=0.1,  # llama's head has a dropout that no config sets
        weight=0.1,
    ),
    Case(name="layernorm", task="causal-lm", model="llama", method="layernorm"),
    Case(name="new-head", task="sequence-classification", model="bert", method="layernorm"),
    Case(name="lora", task="summarization", model="t5", method="lora"),
    Case(
        name="lora-embeddings",
        task="causal-lm",
        model="llama",
        method="lora",
        knobs=method(also_train=["embeddings"]),
    ),
    Case(name="nf4", task="sequence-classification", model="bert", method="qlora", ways=ONE_WAY),
    Case(
        name="int8",
        task="summarization",
        model="bart",
        method="qlora",
        knobs=method(quantization="int8"),
        ways=ONE_WAY,
        loss=1e-4,
        weight=1e-4,
    ),
    Case(name="ia3", task="summarization", model="bart", method="ia3"),
    Case(name="ia3-head", task="sequence-classification", model="bert", method="ia3"),
    Case(
        name="prefix",
        task="summarization",
        model="t5",
        method="prefix",
        knobs=method(projection=True),
        weight=1e-4,
    ),
    Case(name="prefix-head", task="sequence-classification", model="bert", method="prefix"),
    Case(name="prompt", task="causal-lm", model="llama", method="prompt"),
    Case(name="prompt-head", task="sequence-classification", model="gpt2", method="prompt"),
    Case(name="bottleneck", task="summarization", model="t5", method="bottleneck"),
    Case(name="bottleneck-head", task="sequence-classification", model="bert", method="bottleneck"),
    Case(
        name="adamw-8bit",
        task="causal-lm",
        model="llama",
        knobs={"reproducibility": "bitwise", **training(optimizer="adamw-8bit")},
        ways=ONE_WAY,
    ),
    Case(
        name="adafactor",
        task="causal-lm",
        model="llama",
        knobs=training(optimizer="adafactor"),
        ways=ONE_WAY,
    ),
    Case(
        name="sgd",
        task="causal-lm",
        model="llama",
        knobs=training(optimizer="sgd", learning_rate=0.1),
        ways=ONE_WAY,
    ),
    Case(name="lion", task="causal-lm", model="llama", knobs=training(optimizer="lion")),
    Case(
        name="fp16",
        task="causal-lm",
        model="llama",
        knobs={"reproducibility": "bitwise", **training(mixed_precision="fp16")},
    ),
    Case(
        name="mixed-bf16",
        task="causal-lm",
        model="llama",
        knobs={"reproducibility": "bitwise", **training(mixed_precision="bf16")},
        loss=1e-4,
        weight=1e-3,
    ),
    Case(
        name="all-bf16",
        task="causal-lm",
        model="llama",
        method="lora",
        knobs={"reproducibility": "bitwise", "architecture": {"dtype": "bfloat16"}},
        loss=1e-2,
        weight=1e-3,
    ),
    Case(
        name="checkpointed",
        task="summarization",
        model="t5",
        knobs={"architecture": {"gradient_checkpointing": True}},
    ),
    Case(
        name="checkpointed-lora",
        task="causal-lm",
        model="llama",
        method="lora",
        knobs={"architecture": {"gradient_checkpointing": True}},
    ),
    Case(
        name="averaged",
        task="causal-lm",
        model="llama",
        knobs=training(ema_decay=0.9, evaluate_every=1),
    ),
    Case(  # step 2 is better than the last
        name="best",
        task="sequence-classification",
        model="bert",
        method="lora",
        knobs=training(keep="best", evaluate_every=2, steps=4),
    ),
    Case(name="unclipped", task="causal-lm", model="llama", knobs=training(max_grad_norm=0)),
    Case(
        name="noise",
        task="causal-lm",
        model="llama",
        knobs=training(neftune_alpha=5.0),
        loss=1.0,  # each process draws its own
        weight=1.0,
    ),
]


def knobs_of(case: Case, parallelism: str | None) -> dict[str, Any]:
    """The case's knobs for one process, or for two that divide the work in this way."""
    adapter = case.method in ("lora", "qlora", "bottleneck")
    plain = merged(PLAIN, {"method": {"dropout": 0.0}} if adapter else {})
    several = {"hardware": {"count": 2, "parallelism": parallelism}} if parallelism else {}
    return merged(merged(plain, case.knobs), several)


def made(case: Case, root: Path, parallelism: str | None) -> Path:
    knobs = knobs_of(case, parallelism)
    root = place(root, case.task, case.method, case.model, case.rows, knobs)
    assert len((root / "recipe" / "train.py").read_text().splitlines()) < 350
    return root


def losses(output: Path) -> list[float]:
    return [row["loss"] for row in history(output) if "loss" in row]


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[] if c.fast else [pytest.mark.slow], id=c.name) for c in CASES],
)
def test_two_processes_train_what_one_trains(case: Case, tmp_path: Path) -> None:
    alone = made(case, tmp_path / "one", None)
    files = trained(alone, tmp_path / "a")
    for way in case.ways:
        root, output = made(case, tmp_path / way, way), tmp_path / f"{way}-a"
        found = trained_together(root, output)
        assert found.keys() == files.keys()
        for name in (n for n in files if n.endswith(".json") and n.startswith("model/")):
            assert found[name] == files[name], name
        assert losses(output) == pytest.approx(losses(tmp_path / "a"), rel=case.loss)
        assert difference(output / "model", tmp_path / "a" / "model") <= case.weight
        measured_alike(alone, root, output, tmp_path / f"{way}-e")
        if not case.fast:
            assert trained_together(root, tmp_path / f"{way}-b") == found


def measured_alike(alone: Path, root: Path, output: Path, folder: Path) -> None:
    """What two processes trained is measured by two and by one; both say the same."""
    told = {"RECIPEC_TRAINED": str(output)}
    done = run_together("evaluate", root, folder / "two", **told)
    assert done.returncode == 0, done.stderr
    done = run("evaluate", alone, folder / "one", RECIPEC_TRAINED=str(output))
    assert done.returncode == 0, done.stderr
    metrics = [read(folder / name / "metrics.json")["test"] for name in ("one", "two")]
    for name, numbers in metrics[0].items():
        assert metrics[1][name] == pytest.approx(numbers, rel=2e-5)
    ours, theirs = (predictions(folder / name) for name in ("one", "two"))
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        assert one.pop("loss", 0.0) == pytest.approx(two.pop("loss", 0.0), rel=2e-5)
        assert one == two


def test_every_case_that_fsdp_can_do_is_trained_with_it() -> None:
    refused = {(one.section, one.key, one.value) for one in WITHOUT_FSDP}
    for case in CASES:
        told = {
            ("method", "type", case.method),
            *(
                (section, key, value)
                for section in ("training",)
                for key, value in case.knobs.get(section, {}).items()
                if isinstance(value, str)
            ),
        }
        assert ("fsdp" in case.ways) == (not told & refused), case.name
