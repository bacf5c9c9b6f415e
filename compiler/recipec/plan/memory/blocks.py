"""The block of every `model_type`.

In: nothing. Out: one table.
"""

from __future__ import annotations

from collections.abc import Mapping

from recipec.plan.memory.context import Block
from recipec.plan.memory.decoder_blocks import bloom, gpt2, gpt_neox, llama
from recipec.plan.memory.encoder_blocks import bert, modernbert
from recipec.plan.memory.seq2seq_blocks import (
    bart_decoder,
    bart_encoder,
    opt,
    t5_decoder,
    t5_encoder,
)

BLOCKS: Mapping[str, tuple[Block, ...]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "distilbert"), (bert,)),
    "deberta-v2": (bert,),
    "modernbert": (modernbert,),
    "gpt2": (gpt2,),
    "gpt_neox": (gpt_neox,),
    "bloom": (bloom,),
    "opt": (opt,),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"), (llama,)),
    **dict.fromkeys(("gemma3_text", "phi", "phi3", "mixtral"), (llama,)),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe"), (llama,)),
    **dict.fromkeys(("t5", "mt5"), (t5_encoder, t5_decoder)),
    **dict.fromkeys(("bart", "mbart", "pegasus", "marian"), (bart_encoder, bart_decoder)),
}
"""The block of a model, or of encoder and decoder, by `model_type`."""
