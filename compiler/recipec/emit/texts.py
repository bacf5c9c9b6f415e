"""What tasks on text (causal-lm, instruction, text to text) add beyond their templates.

In: settings. Out: words and imports for `recipec.emit.tasks`, empty for every other task.
"""

from __future__ import annotations

from typing import Any

from recipec.plan.plan import Settings

ANSWERED = 100
"""Rows to which evaluate.py writes an answer: enough to read, few enough to wait for."""

_TEMPLATES = {
    "model": "with the model's own chat template",
    "chatml": "with the chat template chatml",
    "alpaca": "with the chat template alpaca",
    "plain": "with a chat template that adds nothing but an end token",
}

_OBJECTIVES = ("masked-lm", "span-corruption")
_SENTINELS = ("longt5", "mt5", "switch_transformers", "t5", "umt5")
"""Types that were trained to tell spans behind sentinels; the others wrote the whole text."""

_SHIFTS = ("bart", "marian", "mbart", "mt5", "pegasus", "t5", "umt5")
"""Types whose models make the decoder's input from labels themselves."""


def text_words(settings: Settings) -> dict[str, Any]:
    """The words of the settings' task for the templates."""
    task, everything = settings.task, settings.task.train_on == "all"
    return {
        "template_words": _TEMPLATES.get(task.chat_template, ""),
        "every_token": everything,
        "counted_words": "" if everything else ",\n    if the assistant says it",
        "answered": ANSWERED,
        "hides": task.type in _OBJECTIVES,
        "hide": _hide(settings),
        "told_words": "the hidden spans" if _hide(settings) == "hide_spans" else "the whole text",
        "decoder_inputs": "model.prepare_decoder_input_ids_from_labels(labels)"
        if settings.model.type in _SHIFTS
        else "decoder_inputs(model, labels)",
    }


def text_imports(settings: Settings) -> dict[str, list[str]]:
    """Names that train.py imports for the settings' task, by module."""
    if settings.training.overlong == "split":
        return _block_names(settings)
    if settings.model.family == "encoder-decoder":
        return {"recipec_runtime.languages": _language_names(settings)}
    packing = ["packed"] if settings.training.packing else []
    if settings.task.type != "instruction":
        return {"recipec_runtime.packing": packing}
    named = settings.task.chat_template != "model"
    return {
        "recipec_runtime.chat": [
            *("chat_tokens", "check_chats"),
            *(["TEMPLATES", "keep_template"] if named else []),
        ],
        "recipec_runtime.packing": [*packing, "padded"],
    }


def _language_names(settings: Settings) -> list[str]:
    shifts = [] if settings.model.type in _SHIFTS else ["decoder_inputs"]
    if settings.task.target_language:
        return [*shifts, "language_token", "load_languages"]
    return shifts


def _block_names(settings: Settings) -> dict[str, list[str]]:
    hides = [_hide(settings)] if settings.task.type in _OBJECTIVES else []
    return {
        "recipec_runtime.corruption": ["blocks", *hides],
        "recipec_runtime.languages": _language_names(settings)
        if settings.model.family == "encoder-decoder"
        else [],
        "recipec_runtime.packing": ["padded", *(["packed"] if settings.training.packing else [])],
    }


def _hide(settings: Settings) -> str:
    """The function of recipec_runtime.corruption that hides a part of a block."""
    if settings.task.type == "masked-lm":
        return "hide_tokens"
    return "hide_spans" if settings.model.type in _SENTINELS else "infill"
