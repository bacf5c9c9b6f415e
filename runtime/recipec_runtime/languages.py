"""Many-language translation models: the token of a language, and the decoder's input.

In: a tokenizer or a model. Out: token ids. torch is imported inside, after the environment is
pinned.
"""

from __future__ import annotations

from typing import Any

from recipec_runtime.errors import TrainingFailed


def load_languages(tokenizer: Any, source: str, target: str) -> Any:
    """The tokenizer, set to these two languages. Raises TrainingFailed for one it does not know."""
    language_token(tokenizer, source)
    language_token(tokenizer, target)
    tokenizer.src_lang, tokenizer.tgt_lang = source, target
    return tokenizer


def language_token(tokenizer: Any, language: str) -> int:
    """The token that stands for a language: `de_DE` (mBART), `deu_Latn` (NLLB), `de` (M2M-100)."""
    known = tokenizer.get_vocab()
    for name in (language, f"__{language}__"):
        if name in known:
            return int(known[name])
    codes = sorted(name for name in tokenizer.all_special_tokens if "_" in name.strip("_<>"))
    raise TrainingFailed(
        f"the model's tokenizer has no language {language!a}",
        hint=f"it has {', '.join(codes[:8])}{', ...' if len(codes) > 8 else ''}"
        if codes
        else "a model of one pair of languages needs neither task.source_language nor"
        " task.target_language; T5 is told by task.prefix",
    )


def decoder_inputs(model: Any, labels: Any) -> Any:
    """`labels` (rows, tokens) moved one to the right, behind the decoder's start token.

    What transformers' `prepare_decoder_input_ids_from_labels` does, for models that lack it.
    """
    start, padding = model.config.decoder_start_token_id, model.config.pad_token_id
    moved = labels.roll(1, dims=1)
    moved[:, 0] = start
    return moved.masked_fill(moved == -100, padding)
