"""The memory that trainings take, beside what `recipec.plan.memory` says beforehand.

    python -m bench.memory [--only TEXT] [--write]

Each case is compiled by the real passes and trains a few steps on the CPU, one after the other, in
a process of its own, forked from one that has imported the libraries; the peak is the kernel's own
count of that process' resident set, which no load on the machine changes. `--write` puts what was
measured into docs/memory.json, from which docs/generate.py makes the page: the measurements, and
the estimates of the day.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import measurements
from bench.memory_cases import CASES, Case, shape
from bench.workloads import lay_out
from recipec.plan.memory import MemoryEstimate, MemorySettings, estimate, settings_of
from recipec_runtime import outputs
from tests.support import models, training

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "docs/memory.json"
MAKE = """
import json, sys, torch
from tests.support import models
kind, values, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
models.make_model(kind, 0, values).save_pretrained(folder)
models.make_tokenizer(kind).save_pretrained(folder)
"""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one training took, with all that the estimate needs."""

    name: str
    held_out: bool
    config: dict[str, Any]
    """The model's config.json."""
    settings: MemorySettings
    peak: int
    """The largest resident set, in bytes."""

    @property
    def estimate(self) -> MemoryEstimate:
        """What the plan says."""
        return estimate(self.config, self.settings)

    @property
    def error(self) -> float:
        """Of the estimate, as a share of what was measured."""
        return self.estimate.bytes / self.peak - 1


def main() -> None:
    """Measure the cases, print a line for each, and write them down if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--write", action="store_true", help="write docs/memory.json")
    options = parser.parse_args()
    known = {one.name: one for one in measured()}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if options.only in case.name:
                known[case.name] = measure(case, Path(folder))
                print(line(known[case.name]), flush=True)
                if options.write:
                    measurements.write(MEASURED, [known[c.name] for c in CASES if c.name in known])


def line(one: Measurement) -> str:
    """Estimate, measurement and error in a line."""
    said = one.estimate
    return (
        f"{one.name:40} {said.bytes / 1e6:7.0f} {one.peak / 1e6:7.0f} MB"
        f" {100 * one.error:+6.1f}%  {said.peak.name}"
    )


def measured() -> list[Measurement]:
    """The measurements that were written down."""
    return measurements.read(MEASURED, Measurement)


def measure(case: Case, work: Path) -> Measurement:
    """Compile a case and train it in a fresh process; models are made once."""
    root = work / case.name.replace(" ", "-").replace(",", "")
    settings = settings_of(lay_out(_project(case, root, work / "models" / case.model), root))
    config = json.loads((root / "model/config.json").read_bytes())
    return Measurement(
        name=case.name,
        held_out=case.held_out,
        config=config,
        settings=settings,
        peak=train(root, root / "out"),
    )


def train(root: Path, output: Path) -> int:
    """The peak of the train stage in bytes."""
    done = training.run("train", root, output)
    if done.returncode != 0:
        raise SystemExit(f"{root.name} failed:\n{done.stderr[-3000:]}")
    machine = json.loads((output / outputs.MACHINE).read_bytes())
    return int(machine["peak_rss_bytes"])


def _project(case: Case, root: Path, model: Path) -> Path:
    """The case's recipe, in a project with its model and rows."""
    project = root / "project"
    (project / "recipes").mkdir(parents=True)
    (project / "dvc.yaml").write_text("")
    if not model.is_dir():
        kind, values = shape(case.model)
        program = [sys.executable, "-c", MAKE, kind, json.dumps(values), str(model)]
        subprocess.run(program, check=True, capture_output=True, cwd=ROOT)
    (project / "model").symlink_to(model)
    splits = {"train": case.steps * case.training["batch_size"]}
    if case.validation:
        splits["validation"] = case.evaluation["batch_size"]
    for split, count in splits.items():
        text = "".join(json.dumps(row) + "\n" for row in _rows(case, count))
        (project / f"{split}.jsonl").write_text(text)
    recipe = project / "recipes/case.yaml"
    recipe.write_text(json.dumps(_recipe(case, splits)))  # JSON is YAML
    return recipe


def _rows(case: Case, count: int) -> Iterator[Mapping[str, str]]:
    """Rows that are longer than the limits, and every fourth a little shorter than they."""
    for number, row in enumerate(models.rows(count, 0)):
        words = row["text"].split() * 1000
        lengths = {
            name: case.training.get(key, 0) * (3 if number % 4 else 0) or 20
            for name, key in (
                ("text", "max_length"),
                ("source", "max_source_length"),
                ("target", "max_target_length"),
            )
        }
        texts = {name: " ".join(words[:length]) for name, length in lengths.items()}
        yield {**texts, "label": row["label"]}


def _recipe(case: Case, splits: Mapping[str, int]) -> dict[str, Any]:
    fields = {
        "causal-lm": {"text": "text"},
        "sequence-classification": {"text": "text", "label": "label"},
        "text-to-text": {"source": "source", "target": "target"},
    }[case.task]
    plain: dict[str, Any] = {
        "name": "case",
        "task": {"type": case.task, "fields": fields},
        "domain": {"data": {split: f"{split}.jsonl" for split in splits}},
        "architecture": {"model": "path:model", **case.architecture},
        "method": dict(case.method),
        "training": {
            "steps": case.steps,
            "warmup_steps": 0,
            "learning_rate": 1e-4,
            **case.training,
        },
        "hardware": {"accelerator": "cpu", "threads": 1},
        "reproducibility": "bitwise",
    }
    if case.evaluation:
        plain["evaluation"] = dict(case.evaluation)
    return plain


if __name__ == "__main__":
    main()
