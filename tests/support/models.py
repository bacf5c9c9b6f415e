"""Tiny random models of every known type with a tokenizer trained on the spot, and data.

Run as a program (`python models.py TYPE FOLDER [TYPE FOLDER ...]`), because torch must not be
imported by the tests themselves: a test process would then hold hundreds of megabytes for nothing.
It writes each model to its FOLDER, and data of every task to `data/` beside the first.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = {
    "billing": ("invoice", "refund", "price", "charge", "card"),
    "delivery": ("parcel", "courier", "late", "address", "box"),
    "login": ("password", "account", "locked", "reset", "email"),
}
FILLER = ("the", "a", "my", "is", "was", "for", "and", "please", "today", "again")
TAGS = ("O", *(f"{part}-{label}" for label in sorted(WORDS) for part in "BI"))
"""Every tag of the column `tags`: the words of a topic are its entities, O all others."""

PAD, END, UNKNOWN, START, MASK = "<pad>", "</s>", "<unk>", "<s>", "<mask>"
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(10))
CHAT = ("<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
WITHOUT_CHAT = ("gpt2", "gpt_neox", "opt", "bloom")
"""Decoders whose tiny models have no chat template, as their big ones have none."""
TOKEN_TYPES = ("bert", "deberta-v2", "electra")
"""Encoders whose tokenizers mark the second text of a pair."""
LANGUAGES = ("en_XX", "de_DE")
"""The languages that the tiny mbart's tokenizer is set to, out of the 25 that it knows."""

_SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_INNER = {**_SIZE, "intermediate_size": 64}
_ENCODER = {**_INNER, "max_position_embeddings": 66, "pad_token_id": 0}
_LLAMA = {
    **_INNER,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_GEMMA = {**_LLAMA, "head_dim": 8}
_EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 1,
}

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "xlm-roberta": _ENCODER,
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 64,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
    },
    "deberta-v2": {
        **_ENCODER,
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    },
    "electra": {**_ENCODER, "embedding_size": 16},
    "modernbert": {
        **_ENCODER,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "cls_token_id": 1,
        "sep_token_id": 1,
        "local_attention": 16,
        "global_attn_every_n_layers": 2,
    },
}
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "gpt_neox": {
        **_INNER,
        "max_position_embeddings": 64,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "opt": {
        **_SIZE,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "bloom": {
        "hidden_size": 32,
        "n_layer": 2,
        "n_head": 4,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": 32},
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 8},
    "gemma": _GEMMA,
    "gemma2": {**_GEMMA, "query_pre_attn_scalar": 8, "sliding_window": 32},
    "gemma3_text": {**_GEMMA, "query_pre_attn_scalar": 8, "sliding_window": 32},
    "phi": {**_LLAMA, "num_key_value_heads": 4},
    "phi3": {**_LLAMA, "original_max_position_embeddings": 64},
    "mixtral": {**_LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {**_LLAMA, **_EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3_moe": {**_LLAMA, **_EXPERTS, "head_dim": 8},
}
SEQ2SEQ: dict[str, dict[str, Any]] = {
    "t5": {**_T5, "decoder_start_token_id": 0},
    "mt5": {**_T5, "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu"},
    "bart": _BART,
    "mbart": {
        **_BART,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": None,
        "forced_eos_token_id": 2,
    },
    "pegasus": {**_BART, "decoder_start_token_id": 0},
    "marian": {**_BART, "decoder_start_token_id": 0},
}
TYPES = tuple(sorted((*ENCODERS, *DECODERS, *SEQ2SEQ)))
"""Every `model_type` that `write_model` makes."""


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows with every column that a test's recipe names.

    clause, summary, text, label (the first four) and for the other tasks: source, target, system,
    messages; pair, relation (same or other topic), labels (a list); words, tags; question, context,
    answers.
    """
    draw, more = random.Random(seed), random.Random(f"more {seed}")
    found = []
    for _ in range(count):
        label = draw.choice(sorted(WORDS))
        words = [draw.choice(WORDS[label] + FILLER) for _ in range(draw.randint(6, 20))]
        first = draw.choice(WORDS[label])
        text = f"{first} {' '.join(words)}. {draw.choice(FILLER)} {first}."
        row = {"clause": text, "summary": f"{label} {first}", "text": text, "label": label}
        found.append(row | _pair(more, label) | _chat(row) | _tagged(more) | _question(more))
    return found


def _pair(draw: random.Random, label: str) -> dict[str, Any]:
    """A second text of the same or another topic, and both topics."""
    other = draw.choice(sorted(WORDS))
    words = [draw.choice(WORDS[other] + FILLER) for _ in range(draw.randint(4, 8))]
    return {
        "pair": f"{draw.choice(WORDS[other])} {' '.join(words)}.",
        "relation": "same" if other == label else "other",
        "labels": sorted({label, other}) if draw.random() < 0.8 else [],
    }


def _chat(row: dict[str, str]) -> dict[str, Any]:
    system = "please is the charge for billing or login"
    turns = [("system", system), ("user", row["clause"]), ("assistant", row["summary"])]
    return {
        "source": row["clause"],
        "target": row["summary"],
        "system": system,
        "messages": [{"role": role, "content": content} for role, content in turns],
    }


def _tagged(draw: random.Random) -> dict[str, Any]:
    """Words, and BIO tags in which one or two words of a topic are an entity."""
    words: list[str] = []
    tags: list[str] = []
    for _ in range(draw.randint(2, 4)):
        filler = [draw.choice(FILLER) for _ in range(draw.randint(1, 3))]
        label = draw.choice(sorted(WORDS))
        entity = [draw.choice(WORDS[label]) for _ in range(draw.randint(1, 2))]
        words += [*filler, *entity]
        tags += ["O"] * len(filler) + [f"B-{label}"] + [f"I-{label}"] * (len(entity) - 1)
    return {"words": words, "tags": tags}


def _question(draw: random.Random) -> dict[str, Any]:
    """A topic as the question; the context has one word of each topic, and one is the answer."""
    asked = draw.choice(sorted(WORDS))
    words, answer, start = [], "", 0
    for label in draw.sample(sorted(WORDS), len(WORDS)):
        words += [draw.choice(FILLER) for _ in range(draw.randint(1, 4))]
        if label == asked:
            answer, start = draw.choice(WORDS[label]), len(" ".join(words)) + 1
            words.append(answer)
        else:
            words.append(draw.choice(WORDS[label]))
    answers = {"text": [answer], "answer_start": [start]}
    return {"question": f"{asked} please", "context": f"{' '.join(words)}.", "answers": answers}


def write_data(folder: Path) -> None:
    """train, validation and test files of 32, 8 and 8 rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate((("train", 32), ("validation", 8), ("test", 8))):
        text = "".join(json.dumps(row) + "\n" for row in rows(count, seed))
        (folder / f"{split}.jsonl").write_text(text)


def write_model(model_type: str, folder: Path) -> None:
    """A model of two small layers with random weights, saved with its tokenizer."""
    import torch

    tokenizer = make_tokenizer(model_type)
    torch.manual_seed(0)
    model = make_model(model_type, len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tokenizer(model_type: str) -> Any:
    """A tokenizer with the special tokens that models of this type have."""
    if model_type == "mbart":
        return _mbart_tokenizer()
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, END, UNKNOWN]
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    # transformers puts Qwen2's own pre-tokenizer in the place of any other
    byte_level = model_type == "qwen2"
    tokenizer.pre_tokenizer = (
        pre_tokenizers.ByteLevel() if byte_level else pre_tokenizers.Metaspace()
    )
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([row["text"] + row["summary"] for row in rows(200, 9)], trainer)
    names: dict[str, Any] = {"unk_token": UNKNOWN, "eos_token": END}
    if model_type != "gpt2":
        names["pad_token"] = PAD
    if model_type in ENCODERS:
        names |= {"cls_token": START, "sep_token": END, "mask_token": MASK}
        if model_type in TOKEN_TYPES:
            names["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        tokenizer.add_special_tokens([START, MASK])
        start, end = ((token, tokenizer.token_to_id(token)) for token in (START, END))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}",
            pair=f"{START} $A {END} $B:1 {END}:1",
            special_tokens=[start, end],
        )
    elif model_type in SEQ2SEQ:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {END}", pair=f"$A $B {END}", special_tokens=[(END, 1)]
        )
        tokenizer.add_special_tokens([MASK, START])
        names |= {"mask_token": MASK, "bos_token": START}
        if model_type in ("t5", "mt5"):
            names["extra_special_tokens"] = list(SENTINELS)
    elif model_type not in WITHOUT_CHAT:
        names |= {"extra_special_tokens": list(CHAT), "chat_template": CHAT_TEMPLATE}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _mbart_tokenizer() -> Any:
    """mBART's own kind, which puts a language's token behind every text: whole words and letters.

    The library's unigram trainer is not used: no two runs of it give the same scores.
    """
    from transformers import MBartTokenizer

    words = sorted({word for row in rows(200, 9) for word in row["text"].replace(".", "").split()})
    letters = sorted({letter for word in words for letter in word} | {".", "\u2581"})
    vocabulary = [(token, 0.0) for token in (START, PAD, END, UNKNOWN)]
    vocabulary += [(f"\u2581{word}", -3.0) for word in (*words, *sorted(WORDS))]
    vocabulary += [(letter, -9.0) for letter in letters]
    source, target = LANGUAGES
    return MBartTokenizer(vocab=vocabulary, src_lang=source, tgt_lang=target)


def make_model(model_type: str, vocabulary: int, shape: dict[str, Any] | None = None) -> Any:
    """The model, random, with the head that it was pre-trained with; bert and roberta have none."""
    import transformers as hf

    shape = shape or (ENCODERS | DECODERS | SEQ2SEQ)[model_type]
    config = hf.AutoConfig.for_model(model_type, **{"vocab_size": vocabulary, **shape})
    if model_type in ("bert", "roberta"):
        return hf.AutoModel.from_config(config, add_pooling_layer=False)
    if model_type in ENCODERS:
        return hf.AutoModelForMaskedLM.from_config(config)
    if model_type in DECODERS:
        return hf.AutoModelForCausalLM.from_config(config)
    return hf.AutoModelForSeq2SeqLM.from_config(config)


def main(words: Sequence[str]) -> None:
    """Write every model that the command line names, and the data beside the first."""
    for model_type, folder in zip(words[::2], words[1::2], strict=True):
        write_model(model_type, Path(folder))
    write_data(Path(words[1]).parent / "data")


if __name__ == "__main__":
    main(sys.argv[1:])
