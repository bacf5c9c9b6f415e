"""Scripts of tasks on text: formatted, short, and showing only what their recipe needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recipec.emit.script import emit_bundle
from recipec.plan.plan import Settings, TaskSettings
from tests.support.settings import CAUSAL, SUMMARY, vary
from tests.unit.emit.test_script import LOCK

CHATS = vary(
    CAUSAL,
    task=TaskSettings(
        type="instruction", columns=(("messages", "messages"),), chat_template="model"
    ),
    evaluation__max_new_tokens=16,
)
COLUMNS = (("source", "question"), ("target", "answer"))
RAW = vary(CAUSAL, training__overlong="split", training__open_steps=True)
HIDDEN = {"task__mask_share": 0.15, "task__span_length": 3.0}
SPANS = vary(RAW, task__type="span-corruption", model__family="encoder-decoder", **HIDDEN)
TRANSLATION = vary(SUMMARY, task__type="translation", evaluation__metrics=("bleu", "chrf"))
KINDS = {
    "chats": CHATS,
    "prompts": vary(CHATS, task__columns=COLUMNS, task__chat_template="alpaca"),
    "system": vary(
        CHATS, task__columns=(*COLUMNS, ("system", "role")), task__chat_template="chatml"
    ),
    "every token": vary(CHATS, task__train_on="all", training__overlong="drop"),
    "packed chats": vary(CHATS, training__packing=True),
    "packed text": vary(CAUSAL, training__packing=True),
    "raw text": RAW,
    "raw text, counted steps": vary(RAW, training__open_steps=False),
    "masks": vary(RAW, task__type="masked-lm", model__family="encoder-only", **HIDDEN),
    "spans": vary(SPANS, model__type="t5"),
    "infilling": vary(SPANS, model__type="bart"),
    "translation": TRANSLATION,
    "languages": vary(
        TRANSLATION,
        model__type="m2m_100",
        task__source_language="en",
        task__target_language="de",
    ),
}


def variants() -> list[tuple[str, Settings]]:
    """Every kind, plain and with the knobs that change its lines."""
    knobs = {
        "training__accumulation": 2,
        "training__micro_batch_size": 4,
        "training__label_smoothing": 0.1,
        "training__mixed_precision": "fp16",
        "training__ema_decay": 0.9,
    }
    return [
        (f"{name}{', more' if more else ''}", vary(settings, **more))
        for name, settings in KINDS.items()
        for more in ({}, knobs, {"validation_rows": 0, "method__type": "full"})
    ]


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for number, (_, settings) in enumerate(variants()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("train.py", "evaluate.py"):
            (folder / name).write_bytes(emit_bundle(settings, LOCK)[name])
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length=100", "--no-cache", str(tmp_path)]
    shape = subprocess.run(
        [*ruff, "format", "--diff", *options], capture_output=True, text=True, check=False
    )
    assert shape.returncode == 0, shape.stdout + shape.stderr
    rules = "--select=E,F,W,I,B,UP,SIM,RUF,C4,PTH,RET"
    lint = subprocess.run(
        [*ruff, "check", rules, *options], capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize("name", KINDS)
def test_only_what_the_recipe_needs(name: str) -> None:
    script = emit_bundle(KINDS[name], LOCK)["train.py"].decode()
    assert len(script.splitlines()) < 350
    wanted = {
        "check_chats(": name in ("chats", "prompts", "system", "every token", "packed chats"),
        "TEMPLATES[": name in ("prompts", "system"),
        "every_token=True": name == "every token",
        "row[SYSTEM]": name == "system",
        "packed(batch)": name.startswith("packed"),
        "blocks(tokenizer": name.startswith("raw") or name in ("masks", "spans", "infilling"),
        "total_steps": KINDS[name].training.open_steps,
        "hide_tokens(": name == "masks",
        "hide_spans(": name == "spans",
        "infill(": name == "infilling",
        "translation(texts": name in ("translation", "languages"),
        "forced_bos_token_id": name == "languages",
        "prepare_decoder_input_ids_from_labels": name in ("translation", "spans", "infilling"),
    }
    assert {word: word in script for word in wanted} == wanted
