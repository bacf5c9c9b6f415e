"""Whether a model's tokenizer fits the model: every token needs a row of the embedding.

In: the tokenizer's files and config.json. Out: nothing, or a RecipeError. It tokenizes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from recipec.errors import Diagnostic, RecipeError

FILES = (
    "sentencepiece.bpe.model",
    "source.spm",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
"""Files of which any one can hold a vocabulary, by transformers' names."""

_SPECIAL = (
    "bos_token",
    "cls_token",
    "eos_token",
    "mask_token",
    "pad_token",
    "sep_token",
    "unk_token",
)

Read = Callable[[str], bytes | None]


def check_tokenizer(
    read: Read, names: Collection[str], config: Mapping[str, Any], *, where: str
) -> None:
    """Raise RecipeError when there is no tokenizer, or one with more tokens than the model.

    Tokens added behind the model's vocabulary that nothing in the files uses do no harm (Gemma 3
    has one for images) and are let pass.
    """
    if not set(names) & set(FILES):
        raise _refused(
            where,
            "the model has no tokenizer",
            "save it beside the model with `tokenizer.save_pretrained(...)`: tokenizer.json and"
            " tokenizer_config.json",
        )
    rows, data = config.get("vocab_size"), read("tokenizer.json")
    if data is None or not isinstance(rows, int):
        return
    place = f"{where}/tokenizer.json"
    ordinary, added = _vocabulary(data, place)
    special, template = _in_use(read)
    beyond = {token: number for token, number in ordinary.items() if number >= rows}
    beyond |= {
        token: number
        for token, number in added.items()
        if number >= rows and (token in special or token in template)
    }
    if beyond:
        token, number = min(beyond.items(), key=lambda item: item[1])
        raise _refused(
            place,
            f"{len(beyond)} of its tokens {'has' if len(beyond) == 1 else 'have'} no row in the"
            f" model's embedding: {token!r} is number {number}, and config.json says vocab_size"
            f" {rows}",
            "use the tokenizer that the model came with, or call"
            " `model.resize_token_embeddings(len(tokenizer))` and save both",
        )


def _vocabulary(data: bytes, place: str) -> tuple[dict[str, int], dict[str, int]]:
    """Ordinary and added tokens with their numbers."""
    try:
        plain = json.loads(data)
        model, listed = plain.get("model") or {}, plain.get("added_tokens") or []
        added = {str(entry["content"]): int(entry["id"]) for entry in listed}
        vocabulary = model.get("vocab") or {}
        if isinstance(vocabulary, list):  # a unigram model: pairs of token and score
            vocabulary = {str(pair[0]): number for number, pair in enumerate(vocabulary)}
        ordinary = {t: int(n) for t, n in vocabulary.items() if t not in added}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _refused(
            place, "not a tokenizer of the tokenizers library", "save it anew"
        ) from error
    return ordinary, added


def _in_use(read: Read) -> tuple[frozenset[str], str]:
    """The special tokens that have a part to play, and the text of the chat template."""
    try:
        settings = json.loads(read("tokenizer_config.json") or b"{}")
    except ValueError:
        settings = {}  # reported where the file itself is judged
    named = [settings.get(key) for key in _SPECIAL]
    texts = [token.get("content") if isinstance(token, dict) else token for token in named]
    template = (read("chat_template.jinja") or b"").decode("utf-8", "replace")
    template += json.dumps(settings.get("chat_template", ""), ensure_ascii=False)
    return frozenset(text for text in texts if isinstance(text, str)), template


def _refused(file: str, message: str, hint: str) -> RecipeError:
    return RecipeError([Diagnostic(file=file, line=0, column=0, message=message, hint=hint)])
