"""Classification of pairs and with label sets, tagging and question answering: trained twice.

Every run is a process of its own on a tiny random model, as in test_training.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipec.plan.plan import Settings
from tests.support.settings import CLASSES, MULTI_LABEL, PAIRS, SPANS, TAGS, vary
from tests.support.training import place, read, run, trained

TARGETS = {
    "bert": ("dense", "key", "query", "value"),
    "roberta": ("dense", "key", "query", "value"),
    "gpt2": ("c_attn", "c_fc", "c_proj"),
    "llama": ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"),
}
TASKS = {
    "classes": CLASSES,
    "pairs": PAIRS,
    "multi-label": MULTI_LABEL,
    "tags": TAGS,
    "spans": SPANS,
}
BASELINES = {
    "classes": "majority_class",
    "pairs": "majority_class",
    "multi-label": "majority_set",
    "tags": "majority_tag",
    "spans": "lead_sentence",
}
FAST = {
    ("pairs", "bert", "full"),
    ("multi-label", "llama", "full"),
    ("tags", "gpt2", "lora"),
    ("spans", "llama", "lora"),
}
CELLS = [
    pytest.param(
        *(task, model_type, method),
        marks=[] if (task, model_type, method) in FAST else [pytest.mark.slow],
    )
    for task in TASKS
    for model_type in TARGETS
    for method in ("full", "lora")
    if (task, model_type) not in {("classes", "bert"), ("classes", "roberta")}
]


def settings_of(task: str, model_type: str, method: str, **more: Any) -> Settings:
    settings = TASKS[task]
    return vary(
        settings,
        model__type=model_type,
        model__family="decoder-only" if model_type in ("gpt2", "llama") else "encoder-only",
        task__segments=settings.task.segments and model_type == "bert",
        method__type=method,
        method__target_modules=TARGETS[model_type],
        training__learning_rate=3e-3,
        **more,
    )


@pytest.mark.parametrize(("task", "model_type", "method"), CELLS)
def test_a_cell_trains_to_the_same_bytes_and_is_measured(
    task: str, model_type: str, method: str, tmp_path: Path
) -> None:
    settings = settings_of(task, model_type, method)
    root = place(tmp_path / "root", settings)
    first = trained(root, tmp_path / "a")
    assert first == trained(root, tmp_path / "b", PYTHONHASHSEED="123", OMP_NUM_THREADS="4")

    numbers = read(tmp_path / "a" / "metrics.json")
    before, after = numbers["validation"]["before"], numbers["validation"]["after"]
    assert set(before) == {"loss", *settings.evaluation.metrics}
    losses = [json.loads(line) for line in lines(tmp_path / "a" / "history.jsonl")]
    steps = [row["loss"] for row in losses if "loss" in row]
    assert steps[-1] < before["loss"], "what it was trained on, it knows better than before"
    if task in ("tags", "spans"):
        assert after["loss"] < before["loss"]

    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    measured = read(tmp_path / "e" / "metrics.json")["test"]
    assert set(measured) == {"tuned", "untuned", BASELINES[task]}
    rows = [json.loads(line) for line in lines(tmp_path / "e" / "predictions.jsonl")]
    assert len(rows) == 8
    check_predictions(settings, rows)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def check_predictions(settings: Settings, rows: list[dict[str, Any]]) -> None:
    """Each row has its columns, and a prediction of the form that its task has."""
    labels = set(settings.task.labels)
    for row in rows:
        assert set(row) == {"prediction", *(column for _, column in settings.task.columns)}
        if settings.task.type == "question-answering":
            assert row["prediction"] in row["context"]
        elif settings.task.type == "token-classification":
            assert len(row["prediction"]) == len(row["words"])
            assert set(row["prediction"]) <= labels
        elif settings.task.multi_label:
            assert set(row["prediction"]) <= labels
        else:
            assert row["prediction"] in labels
