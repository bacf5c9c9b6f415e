"""Tasks on running text: each trains twice to the same bytes, learns, and evaluates."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import pytest

from recipec.plan.plan import Settings, TaskSettings
from tests.support.settings import CAUSAL, SUMMARY, outputs, vary
from tests.support.training import place, read, run, start, trained, wait_for

LLAMA_LAYERS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
CHATS = vary(
    CAUSAL,
    name="chat-llama",
    task=TaskSettings(
        type="instruction", columns=(("messages", "messages"),), chat_template="model"
    ),
    model__type="llama",
    method__target_modules=LLAMA_LAYERS,
    training__max_length=64,
    training__learning_rate=5e-3,
    evaluation__max_new_tokens=6,
)
PROMPTS = vary(
    CHATS,
    task=TaskSettings(
        type="instruction",
        columns=(("source", "source"), ("target", "target"), ("system", "system")),
        chat_template="alpaca",
    ),
    training__max_lost=0.9,
)
GPT2 = {"model__type": "gpt2", "method__target_modules": ("c_attn", "c_fc", "c_proj")}
WORDS = vary(
    SUMMARY,
    name="words-t5",
    task__type="translation",
    evaluation__metrics=("bleu", "chrf"),
)
BART_LAYERS = ("fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj")
RAW = vary(
    CAUSAL,
    training__overlong="split",
    training__open_steps=True,
    training__epochs=2,
    training__max_length=32,
    training__learning_rate=3e-3,
    method__type="full",
)
CELLS = {
    "raw-text-gpt2": RAW,
    "masked-lm-bert": vary(
        RAW,
        task__type="masked-lm",
        task__mask_share=0.15,
        model__type="distilbert",
        model__family="encoder-only",
    ),
    "span-corruption-t5": vary(
        RAW,
        task__type="span-corruption",
        task__mask_share=0.15,
        task__span_length=3.0,
        model__type="t5",
        model__family="encoder-decoder",
    ),
    "infilling-bart": vary(
        RAW,
        task__type="span-corruption",
        task__mask_share=0.3,
        task__span_length=3.0,
        model__type="bart",
        model__family="encoder-decoder",
    ),
    "translation-prefix-lora-t5": vary(WORDS, task__prefix="translate: "),
    "translation-languages-full-mbart": vary(
        WORDS,
        model__type="mbart",
        method__type="full",
        method__target_modules=BART_LAYERS,
        task__source_language="en_XX",
        task__target_language="de_DE",
    ),
    "messages-lora-llama": CHATS,
    "messages-full-qwen2-packed": vary(
        CHATS, model__type="qwen2", method__type="full", training__packing=True
    ),
    "prompts-full-gpt2": vary(PROMPTS, **GPT2, method__type="full"),
    "prompts-all-lora-llama": vary(
        PROMPTS, task__train_on="all", training__accumulation=2, training__micro_batch_size=4
    ),
    "text-packed-lora-gpt2": vary(CAUSAL, training__packing=True),
}


FAST = ("messages-full-qwen2-packed", "translation-languages-full-mbart")


def marked(names: Iterable[str], fast: Container[str] = FAST) -> list[Any]:
    """The names; all but the fast ones run in the slow tier."""
    return [pytest.param(name, marks=[] if name in fast else [pytest.mark.slow]) for name in names]


def learns(settings: Settings, tmp_path: Path) -> Path:
    """Train twice in fresh processes and evaluate; the evaluation's folder."""
    root = place(tmp_path / "root", settings)
    first = trained(root, tmp_path / "a")
    second = trained(root, tmp_path / "b", PYTHONHASHSEED="77", OMP_NUM_THREADS="3")
    assert first == second
    validation = read(tmp_path / "a" / "metrics.json")["validation"]
    assert validation["after"]["loss"] < validation["before"]["loss"]
    done = run("evaluate", root, tmp_path / "e", RECIPEC_TRAINED=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    measured = read(tmp_path / "e" / "metrics.json")["test"]
    assert measured["tuned"]["loss"] < measured["untuned"]["loss"]
    assert set(measured["tuned"]) == {"loss", *settings.evaluation.metrics}
    lines = (tmp_path / "e" / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 8 or settings.training.overlong == "split"
    return tmp_path / "e"


@pytest.mark.parametrize("name", marked(sorted(CELLS)))
def test_learns_and_repeats(name: str, tmp_path: Path) -> None:
    evaluated = learns(CELLS[name], tmp_path)
    if CELLS[name].task.type == "instruction":
        text = (evaluated / "predictions.jsonl").read_text()
        assert text.count('"prediction"') == 8


def test_a_language_that_the_tokenizer_lacks(tmp_path: Path) -> None:
    known = CELLS["translation-languages-full-mbart"]
    root = place(tmp_path / "root", vary(known, task__target_language="xx_YY"))
    done = run("train", root, tmp_path / "out")
    assert done.returncode == 5
    assert done.stderr.endswith(
        "error: the model's tokenizer has no language 'xx_YY'\n"
        "  hint: it has ar_AR, cs_CZ, de_DE, en_XX, es_XX, et_EE, fi_FI, fr_XX, ...\n"
    )


def test_packing_changes_nothing_but_the_last_digits(tmp_path: Path) -> None:
    losses = []
    for packing in (False, True):
        # dropout draws for every position, padding included: without it the losses are the same
        settings = vary(CHATS, training__packing=packing, method__dropout=0.0)
        root = place(tmp_path / f"root-{packing}", settings)
        trained(root, tmp_path / str(packing))
        found = read(tmp_path / str(packing) / "metrics.json")
        losses.append(found["validation"]["after"]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("name", marked(["masked-lm-bert", "text-packed-lora-gpt2"]))
def test_killed_and_resumed(name: str, tmp_path: Path) -> None:
    settings = vary(
        CELLS[name],
        training__log_every=1,
        training__checkpoint_every=3,
        training__batch_size=4,
        training__micro_batch_size=4,
        training__steps_per_epoch=8,
    )
    root = place(tmp_path / "root", settings)
    wanted = trained(root, tmp_path / "a")
    process = start(root, tmp_path / "b")
    wait_for(process, " 5/")
    process.kill()
    process.wait()
    done = run("train", root, tmp_path / "b")
    assert "resumed at step" in done.stderr
    assert outputs(tmp_path / "b") == wanted


def test_a_row_that_is_no_chat_stops_before_training(tmp_path: Path) -> None:
    settings = vary(CHATS, task=TaskSettings(
        type="instruction", columns=(("messages", "words"),), chat_template="model"))  # fmt: skip
    root = place(tmp_path / "root", settings)
    done = run("train", root, tmp_path / "out")
    assert done.returncode == 5
    assert done.stderr.endswith(
        "error: train row 1: not a chat\n"
        "  hint: a chat is a list of {role: ..., content: ...}, both texts\n"
    )
