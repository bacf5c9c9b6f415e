"""work: held against what torch counts of transformers' own models."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.catalog import support
from recipec.plan.lengths import Tokens
from recipec.plan.memory.architectures import DEFAULTS, configured, layers_of
from recipec.plan.memory.encoders import Head
from recipec.plan.work import Work, matrices, work_of

LLAMA = {
    "model_type": "llama",
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BERT = {
    "model_type": "bert",
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 128, "n_embd": 64, "n_layer": 3, "n_head": 4}
T5 = {
    "model_type": "t5",
    "vocab_size": 128,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 96,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
}
BART = {
    "model_type": "bart",
    "vocab_size": 128,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
ROWS, SOURCE, TARGET = 2, 24, 8


def tokens(*, written: bool) -> Tokens:
    target = TARGET if written else 0
    return Tokens(source=ROWS * SOURCE, target=ROWS * target, row=SOURCE, target_row=target)


def counted(config: dict[str, Any], head: Head, *, written: bool) -> int:
    """The forward pass's FLOPs by torch's own counter, which counts what a mask hides too."""
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode

    kinds = {
        "causal-lm": transformers.AutoModelForCausalLM,
        "seq2seq-lm": transformers.AutoModelForSeq2SeqLM,
        "token-classification": transformers.AutoModelForTokenClassification,
    }
    values = {key: value for key, value in config.items() if key != "model_type"}
    made = transformers.AutoConfig.for_model(config["model_type"], **values)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = kinds[head].from_config(made, attn_implementation="eager").eval()
        ids = torch.ones((ROWS, SOURCE), dtype=torch.long)
        given = {"decoder_input_ids": ids[:, :TARGET]} if written else {}
        model(input_ids=ids, use_cache=False, **given)
    return int(counter.get_total_flops())


@pytest.mark.parametrize(
    ("config", "head"),
    [
        (LLAMA, "causal-lm"),
        (GPT2, "causal-lm"),
        (BERT, "token-classification"),
        (T5, "seq2seq-lm"),
        (BART, "seq2seq-lm"),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_the_forward_pass_is_what_torch_counts(config: dict[str, Any], head: Head) -> None:
    written = head == "seq2seq-lm"
    work = work_of(
        layers_of(config, head),
        configured(config),
        tokens(written=written),
        trains_all=True,
        trainable=0,
        checkpointing=False,
    )
    assert work.forward == pytest.approx(counted(config, head, written=written), rel=0.005)


def llama_work(**given: Any) -> Work:
    usual = {"trains_all": False, "trainable": 0, "checkpointing": False}
    return work_of(
        layers_of(LLAMA, "causal-lm"),
        configured(LLAMA),
        tokens(written=False),
        **{**usual, **given},
    )


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ({"trains_all": True}, 3),
        ({"trains_all": True, "checkpointing": True}, 4),
        ({}, 2),
        ({"checkpointing": True}, 3),
    ],
)
def test_passes_of_a_step(given: dict[str, Any], passes: int) -> None:
    work = llama_work(**given)
    assert work.epoch == passes * work.forward
    assert work.per_token == work.epoch / (ROWS * SOURCE)
    assert work.formula.startswith(f"{passes} x forward (")


def test_what_stands_beside_the_model_costs_six_for_each_weight_and_token() -> None:
    assert llama_work(trainable=1000).epoch - llama_work().epoch == 6 * 1000 * ROWS * SOURCE
    assert llama_work(trainable=1000).formula.endswith("+ 6 x 1,000 trained weights x tokens")


def test_a_token_meets_only_its_experts() -> None:
    dense = work_of(
        layers_of({**LLAMA, "intermediate_size": 192}, "causal-lm"),
        configured({**LLAMA, "intermediate_size": 192}),
        tokens(written=False),
        trains_all=True,
        trainable=0,
        checkpointing=False,
    )
    sparse_config = {**LLAMA, "model_type": "mixtral", "num_local_experts": 8}
    sparse_config["num_experts_per_tok"] = 2
    sparse = work_of(
        layers_of(sparse_config, "causal-lm"),
        configured(sparse_config),
        tokens(written=False),
        trains_all=True,
        trainable=0,
        checkpointing=False,
    )
    routers = 2 * 2 * 8 * 64 * ROWS * SOURCE  # two layers, two operations, 8 experts
    assert sparse.forward - routers == dense.forward  # two experts of 96 are one of 192


def test_matrices() -> None:
    assert matrices(layers_of(LLAMA, "causal-lm")) == 2 * 7 + 1
    assert matrices(layers_of(T5, "seq2seq-lm")) == 2 * 6 + 3 * 10


@pytest.mark.parametrize("kind", sorted(DEFAULTS))
def test_every_known_type_is_worked_out(kind: str) -> None:
    head: Head = "seq2seq-lm" if support.models()[kind].family == "encoder-decoder" else "causal-lm"
    if support.models()[kind].family == "encoder-only":
        head = "token-classification"
    config = {"model_type": kind}
    model = layers_of(config, head)
    work = work_of(
        model,
        configured(config),
        tokens(written=head == "seq2seq-lm"),
        trains_all=True,
        trainable=0,
        checkpointing=False,
    )
    multiplied = [one for one in model.layers if one.kind in ("linear", "conv1d", "router")]
    least = min(SOURCE, TARGET if head == "seq2seq-lm" else SOURCE)
    assert work.forward > 2 * sum(one.size - one.bias for one in multiplied) * ROWS * least
    # short rows: attention's own products are few beside those with weights
    assert work.forward < 2.2 * model.size * ROWS * SOURCE
