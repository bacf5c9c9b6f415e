#!/usr/bin/env python3
"""Pre-trains models/tiny-moe: a small Qwen3-MoE, from nothing, on generated clauses.

In: the endless clauses of data/legal/generate.py (no clause of the three data files), tiny-t5's
tokenizer, a seed. Out: a directory that transformers' Auto classes load offline, with a model card.
Run it from the project root: ``python -m models.pretrain_moe``; it takes about a minute.

Never: sees a clause of the data files. The bytes of the result depend on the CPU's instruction set:
the committed files are the model, and this is how such a model comes to be.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM

from models.denoising import clauses

HERE = Path(__file__).resolve().parent
SEED, STEPS, BATCH, LENGTH, RATE = 5, 150, 16, 128, 3e-3

CARD = """\
---
license: cc0-1.0
---

# tiny-moe

A Qwen3-MoE of two layers with four experts each, two at a time, for the examples and tests of this
repository. models/pretrain_moe.py made it: {steps} steps of {batch} generated contract clauses
(CC0-1.0).
Loss on clauses that it had not seen: {loss:.2f} nats a token.
"""


def main() -> None:
    """Make the model and put it where the recipes look for it."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE / "tiny-t5", padding_side="right")
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        moe_intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
        router_aux_loss_coef=0.01,
        output_router_logits=True,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3MoeForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    texts = clauses(SEED)
    for step in range(STEPS + 1):
        some = list(itertools.islice(texts, BATCH))
        batch = tokenizer(
            some, truncation=True, max_length=LENGTH, padding=True, return_tensors="pt"
        )
        labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
        loss = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels
        ).loss
        if step == STEPS:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20) * (1.0 - step / STEPS)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    folder = HERE / "tiny-moe"
    model.config.output_router_logits = False
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(HERE / "tiny-t5" / name, folder / name)
    card = CARD.format(steps=STEPS, batch=BATCH, loss=loss.item())
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
