"""The emitted scripts: valid, formatted, short, and deaf to hostile strings."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipec.emit.bundle import Bundle
from recipec.emit.script import emit_bundle
from recipec.pins.lockfile import DataFile, Lock, Model, ModelFile
from recipec.plan.plan import Settings
from tests.support.settings import CAUSAL, EVERY, SUMMARY, vary

PROJECT = Path(__file__).parents[3]
HOSTILE = '"); import os; os.system("x") #'
DIGEST = "sha256:" + "a" * 64
LOCK = Lock(
    recipe="recipes/legal-t5.yaml",
    recipe_digest=DIGEST,
    uv="0.13.0",
    layer_format=1,
    wheels=(),
    debs=(),
    model=Model(
        source="path:models/tiny-t5",
        files=(ModelFile(path="config.json", sha256=DIGEST, size=3),),
    ),
    data=(
        DataFile(split="train", path="data/legal/train.jsonl", sha256=DIGEST, size=5, rows=32),
        DataFile(split="test", path="data/legal/dev.jsonl", sha256=DIGEST, size=4, rows=8),
    ),
)
STRINGS = (
    *("name", "domain", "model__type", "model__source", "model__commit", "model__license"),
    *("model__attention", "task__prefix", "hardware__reproducibility", "hardware__hardware_class"),
)
NASTY = (
    HOSTILE,
    '"""',
    'it\'s "both"',
    "back\\slash\nnew line\r\t\0\x7f\u2028\U0001f600\ud800",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "x" * 200,
    "y" * 91,
    "```\n---\n# heading",
)


def everywhere(settings: Settings, text: str, **more: Any) -> Settings:
    """The settings with one text in every field that holds a free one."""
    columns = tuple((part, text) for part, _ in settings.task.columns)
    return vary(settings, **{**dict.fromkeys(STRINGS, text), "task__columns": columns, **more})


def bundle(settings: Settings) -> Bundle:
    return emit_bundle(settings, LOCK)


def variants() -> list[Settings]:
    """Every cell with every switch that a template looks at, both ways."""
    found = []
    for base, method in itertools.product(EVERY, ("full", "lora")):
        plain = vary(base, method__type=method)
        found.append(plain)
        found += [vary(plain, training__schedule=s) for s in ("linear", "constant")]
        found.append(
            vary(
                plain,
                training__accumulation=4,
                training__micro_batch_size=2,
                training__label_smoothing=0.1,
                model__dropout=0.2,
                training__warmup_steps=0,
                training__max_grad_norm=0.0,
                evaluation__num_beams=4,
                evaluation__metrics=(),
                validation_rows=0,
                test_rows=0,
                task__prefix="summarize: ",
                model__source="hub:google-t5/t5-small@" + "0" * 40,
                model__commit="0" * 40,
            )
        )
        found.append(
            vary(plain, training__schedule="linear", training__warmup_steps=0, test_rows=0)
        )
        many = tuple(f"class number {n}" for n in range(60))
        found.append(vary(plain, task__labels=many, method__target_modules=many))
        found += [everywhere(plain, text, task__labels=(text, "other")) for text in NASTY]
    found.append(vary(SUMMARY, task__type="text-to-text"))
    return found


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for number, settings in enumerate(variants()):
        for name in ("train.py", "evaluate.py"):
            folder = tmp_path / str(number)
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(bundle(settings)[name])
    ruff = [sys.executable, "-m", "ruff"]
    # As users of the script have it: recipec_runtime is one more package beside torch.
    options = ["--isolated", "--line-length=100", "--no-cache", str(tmp_path)]
    rules = "--select=E,F,W,I,B,UP,SIM,RUF,C4,PTH,RET"
    shape = subprocess.run(
        [*ruff, "format", "--diff", *options], capture_output=True, text=True, check=False
    )
    assert shape.returncode == 0, shape.stdout + shape.stderr
    # A string that is longer than a line stays one string: E501 is looked at below
    lint = subprocess.run(
        [*ruff, "check", rules, "--ignore=E501", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize("base", EVERY, ids=lambda s: s.task.type)
def test_no_line_is_long_without_a_long_string(base: Settings) -> None:
    for settings in variants():
        long = len(settings.name) > 60  # as `everywhere` makes it
        for name in ("train.py", "evaluate.py"):
            lines = bundle(settings)[name].decode("ascii").splitlines()
            assert len(lines) < 350
            assert long or max(map(len, lines)) <= 100
    assert bundle(base) == bundle(base)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("base", EVERY, ids=lambda s: s.task.type)
def test_hostile_strings_end_as_data(base: Settings, text: str) -> None:
    """The script's code is the same but for the strings: nothing of them became code."""
    hostile = everywhere(base, text, task__labels=(text, "b"), method__target_modules=(text,))
    friend = everywhere(base, "word", task__labels=("a", "b"), method__target_modules=("a",))
    for name in ("train.py", "evaluate.py"):
        wild = ast.parse(bundle(hostile)[name])
        tame = ast.parse(bundle(friend)[name])
        assert _shape(wild) == _shape(tame)
    knobs = _knobs(bundle(hostile)["train.py"])
    assert knobs[base.task.columns[0][0].upper()] == text
    assert knobs["TARGET_MODULES"] == [text]
    if "LABELS" in knobs:
        assert knobs["LABELS"] == [text, "b"]


def _shape(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def _knobs(script: bytes) -> dict[str, object]:
    found = {}
    for node in ast.parse(script).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def test_the_knobs_are_the_settings() -> None:
    knobs = _knobs(bundle(SUMMARY)["train.py"])
    wanted = {
        "TOTAL_STEPS": 20,
        "BATCH_SIZE": 8,
        "LEARNING_RATE": 1e-3,
        "SEED": 7,
        "RANK": 8,
        "MAX_SOURCE_LENGTH": 64,
        "METRICS": ["rouge1", "rouge2", "rougeL"],
    }
    assert {name: knobs[name] for name in wanted} == wanted


def test_a_script_shows_only_what_its_recipe_needs() -> None:
    full = bundle(vary(CAUSAL, method__type="full"))["train.py"].decode()
    for word in ("peft", "lora", "SOURCE", "LABELS", "generate", "MICRO_BATCH", "smoothing"):
        assert word not in full
    assert "validation" not in bundle(vary(SUMMARY, validation_rows=0))["train.py"].decode()


def test_run_json() -> None:
    emitted = bundle(vary(SUMMARY, evaluation__at_least=(("rougeL", 0.4),)))
    plain = json.loads(emitted["run.json"])
    assert [entry["path"] for entry in plain["inputs"]] == [
        "data/test.jsonl",
        "data/train.jsonl",
        "model/config.json",
        "recipe/README.md",
        "recipe/evaluate.py",
        "recipe/train.py",
    ]
    assert plain["version"] == 1
    assert plain["scripts"] == {"train": "recipe/train.py", "evaluate": "recipe/evaluate.py"}
    assert plain["gates"] == {"at_least": {"rougeL": 0.4}, "at_most": {}}
    assert plain["environment"]["MKL_CBWR"] == "COMPATIBLE"
    assert sorted(path for path, _ in emitted) == [
        "README.md",
        "evaluate.py",
        "run.json",
        "train.py",
    ]


def test_the_model_card() -> None:
    card = bundle(SUMMARY)["README.md"].decode()
    assert card.startswith(
        "---\n"
        'base_model: "path:models/tiny-t5"\n'
        'library_name: "peft"\n'
        'license: "CC0-1.0"\n'
        'pipeline_tag: "summarization"\n'
        'tags: ["recipec", "legal"]\n'
        "---\n\n# legal-t5\n\n"
    )
    hostile = bundle(vary(SUMMARY, domain="<script>|```\n# x"))["README.md"].decode()
    assert "in the domain \\<script\\>\\|\\`\\`\\` \\# x with" in hostile


def test_an_adapter_of_a_hub_model_names_it() -> None:
    hub = vary(SUMMARY, model__source="hub:google-t5/t5-small@abc", model__commit="abc")
    script = bundle(hub)["train.py"].decode()
    assert 'BASE_MODEL = "google-t5/t5-small"' in script
    assert 'config.revision = "abc"' in script
