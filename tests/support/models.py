"""Tiny random models with a tokenizer trained on the spot, and data for each task.

Run as a program (`python models.py FAMILY FOLDER`), because torch must not be imported by the tests
themselves: a test process would then hold hundreds of megabytes for nothing.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

WORDS = {
    "billing": ("invoice", "refund", "price", "charge", "card"),
    "delivery": ("parcel", "courier", "late", "address", "box"),
    "login": ("password", "account", "locked", "reset", "email"),
}
FILLER = ("the", "a", "my", "is", "was", "for", "and", "please", "today", "again")


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Rows with every column that a test's recipe names."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        label = draw.choice(sorted(WORDS))
        words = [draw.choice(WORDS[label] + FILLER) for _ in range(draw.randint(6, 20))]
        first = draw.choice(WORDS[label])
        text = f"{first} {' '.join(words)}. {draw.choice(FILLER)} {first}."
        found.append({"clause": text, "summary": f"{label} {first}", "text": text, "label": label})
    return found


def write_data(folder: Path) -> None:
    """train, validation and test files of 32, 8 and 8 rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate((("train", 32), ("validation", 8), ("test", 8))):
        text = "".join(json.dumps(row) + "\n" for row in rows(count, seed))
        (folder / f"{split}.jsonl").write_text(text)


def write_model(family: str, folder: Path) -> None:
    """A model of two small layers with random weights, saved with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([row["text"] + row["summary"] for row in rows(200, 9)], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token=None if family == "gpt2" else "<pad>",
    )
    torch.manual_seed(0)
    model = _model(family, len(fast))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


def _model(family: str, vocabulary: int) -> Any:
    import transformers as hf

    if family == "t5":
        return hf.T5ForConditionalGeneration(
            hf.T5Config(
                vocab_size=vocabulary,
                d_model=32,
                d_kv=8,
                d_ff=64,
                num_layers=2,
                num_heads=4,
                decoder_start_token_id=0,
            )
        )
    if family == "gpt2":
        return hf.GPT2LMHeadModel(
            hf.GPT2Config(
                vocab_size=vocabulary,
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_positions=64,
                bos_token_id=1,
                eos_token_id=1,
            )
        )
    if family == "llama":
        return hf.LlamaForCausalLM(
            hf.LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=64,
                bos_token_id=1,
                eos_token_id=1,
            )
        )
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
    }
    if family == "bert":
        return hf.BertModel(hf.BertConfig(**shape), add_pooling_layer=False)
    return hf.RobertaModel(hf.RobertaConfig(**shape), add_pooling_layer=False)


if __name__ == "__main__":
    write_model(sys.argv[1], Path(sys.argv[2]))
    write_data(Path(sys.argv[2]).parent / "data")
