"""Settings and locks made by hand, and recipe folders that the host can train in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipec.emit.script import emit_bundle
from recipec.pins.lockfile import DataFile, Lock, Model, ModelFile
from recipec.plan.determinism import environment_of, hardware_class_of
from recipec.plan.plan import (
    EvaluationSettings,
    HardwareSettings,
    MethodSettings,
    ModelSettings,
    Settings,
    TaskSettings,
    TrainingSettings,
)
from recipec.store import digest_of_file

PORTABLE = (
    ("ATEN_CPU_CAPABILITY", "avx2"),
    ("MKL_CBWR", "COMPATIBLE"),
    ("OMP_NUM_THREADS", "1"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
)
CLASS = "cpu-x86-64-v3-portable"

SUMMARY = Settings(
    name="legal-t5",
    domain="legal",
    task=TaskSettings(type="summarization", columns=(("source", "clause"), ("target", "summary"))),
    model=ModelSettings(
        family="encoder-decoder",
        type="t5",
        source="path:models/tiny-t5",
        commit=None,
        license="CC0-1.0",
        attention="sdpa",
    ),
    method=MethodSettings(
        type="lora",
        rank=8,
        alpha=16,
        dropout=0.05,
        target_modules=("k", "o", "q", "v", "wi", "wo"),
    ),
    training=TrainingSettings(
        epochs=5,
        batch_size=8,
        micro_batch_size=8,
        accumulation=1,
        steps_per_epoch=4,
        total_steps=20,
        warmup_steps=2,
        learning_rate=1e-3,
        schedule="cosine",
        weight_decay=0.01,
        max_grad_norm=1.0,
        label_smoothing=0.0,
        max_source_length=64,
        max_target_length=32,
        max_length=48,
        seed=7,
        log_every=5,
        checkpoint_every=3,
    ),
    evaluation=EvaluationSettings(
        batch_size=8,
        num_beams=1,
        max_new_tokens=12,
        metrics=("rouge1", "rouge2", "rougeL"),
    ),
    hardware=HardwareSettings(
        threads=1,
        world_size=1,
        reproducibility="portable",
        hardware_class=CLASS,
        environment=PORTABLE,
    ),
    train_rows=32,
    validation_rows=8,
    test_rows=8,
)
"""A summarization recipe on a T5 with LoRA."""


def vary(settings: Settings, **changes: Any) -> Settings:
    """The settings with other values, named as SECTION__KEY: `vary(SUMMARY, training__seed=3)`."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        sections.setdefault(section, {})[key] = value
    whole = sections.pop("", {})
    changed = {
        section: dataclasses.replace(getattr(settings, section), **values)
        for section, values in sections.items()
    }
    return dataclasses.replace(settings, **whole, **changed)


CAUSAL = vary(
    SUMMARY,
    name="legal-gpt2",
    task=TaskSettings(type="causal-lm", columns=(("text", "text"),)),
    model__family="decoder-only",
    model__type="gpt2",
    method__target_modules=("c_attn", "c_fc", "c_proj"),
    evaluation__metrics=("perplexity",),
)
"""Continued pre-training of a GPT-2 with LoRA."""

CLASSES = vary(
    SUMMARY,
    name="ticket-bert",
    task=TaskSettings(
        type="sequence-classification",
        columns=(("text", "text"), ("label", "label")),
        labels=("billing", "delivery", "login"),
    ),
    model__family="encoder-only",
    model__type="bert",
    method__target_modules=("dense", "key", "query", "value"),
    evaluation__metrics=("accuracy", "f1"),
)
"""Classification with a BERT and LoRA."""

PAIRS = vary(
    CLASSES,
    name="topics-bert",
    task=TaskSettings(
        type="sequence-classification",
        columns=(("text", "text"), ("pair", "pair"), ("label", "relation")),
        labels=("other", "same"),
        class_weights=(0.5, 2.0),
        segments=True,
    ),
)
"""Classification of pairs of texts, with weights of the classes."""

MULTI_LABEL = vary(
    CLASSES,
    name="topics-roberta",
    task=TaskSettings(
        type="sequence-classification",
        columns=(("text", "text"), ("label", "labels")),
        labels=("billing", "delivery", "login"),
        multi_label=True,
    ),
    model__type="roberta",
)
"""Classification with any number of labels."""

TAGS = vary(
    CLASSES,
    name="entities-bert",
    task=TaskSettings(
        type="token-classification",
        columns=(("words", "words"), ("tags", "tags")),
        labels=(
            *("O", "B-billing", "I-billing", "B-delivery", "I-delivery", "B-login", "I-login"),
        ),
    ),
    evaluation__metrics=("f1", "precision", "recall", "accuracy"),
)
"""Tags of words with a BERT and LoRA."""

SPANS = vary(
    CLASSES,
    name="answers-bert",
    task=TaskSettings(
        type="question-answering",
        columns=(("question", "question"), ("context", "context"), ("answers", "answers")),
        doc_stride=16,
        segments=True,
    ),
    evaluation__metrics=("exact_match", "f1"),
)
"""Answers in a context with a BERT and LoRA."""

EVERY = (SUMMARY, CAUSAL, CLASSES, PAIRS, MULTI_LABEL, TAGS, SPANS)
"""A recipe of each kind of task, whose scripts are looked at in every way."""


def lock_of(root: Path, settings: Settings) -> Lock:
    """A lock of the model and data files that lie under `root`, as the image has them."""
    model = sorted(path for path in (root / "model").rglob("*") if path.is_file())
    data = sorted((root / "data").glob("*.jsonl"))
    return Lock(
        recipe=f"recipes/{settings.name}.yaml",
        recipe_digest="sha256:" + "0" * 64,
        uv="0.13.0",
        layer_format=1,
        wheels=(),
        debs=(),
        model=Model(
            source=settings.model.source,
            files=tuple(
                ModelFile(
                    path=path.relative_to(root / "model").as_posix(),
                    sha256=digest_of_file(path),
                    size=path.stat().st_size,
                )
                for path in model
            ),
        ),
        data=tuple(
            DataFile(
                split=path.stem,
                path=f"data/{path.name}",
                sha256=digest_of_file(path),
                size=path.stat().st_size,
                rows=len(path.read_text().splitlines()),
            )
            for path in data
        ),
    )


def place_recipe(root: Path, settings: Settings) -> Path:
    """Emit the recipe into `root`/recipe, beside model/ and data/; the root."""
    folder = root / "recipe"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in emit_bundle(settings, lock_of(root, settings)):
        (folder / name).write_bytes(content)
    return root


def outputs(folder: Path, *, skip: tuple[str, ...] = ("machine.json",)) -> Mapping[str, str]:
    """Digest of every file under an output folder but those that name the machine."""
    return {
        path.relative_to(folder).as_posix(): digest_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skip
    }


def on_gpu(settings: Settings, reproducibility: str = "bitwise") -> Settings:
    """The settings for a GPU."""
    return vary(
        settings,
        hardware=HardwareSettings(
            threads=1,
            world_size=1,
            reproducibility=reproducibility,
            hardware_class=hardware_class_of(reproducibility, "nvidia-h100-80gb", "9.0"),
            environment=environment_of(reproducibility, 1, "cuda"),
            device="cuda",
            accelerator="nvidia-h100-80gb",
            capability="9.0",
        ),
    )


def together(settings: Settings, parallelism: str, *, nodes: int = 1, count: int = 2) -> Settings:
    """The settings for several processes, `count` on each of `nodes` machines."""
    return vary(
        settings,
        hardware__parallelism=parallelism,
        hardware__nodes=nodes,
        hardware__processes=count,
        hardware__world_size=nodes * count,
    )
