"""What a block of each encoder keeps for the backward pass: its forward pass in few words.

In: a block's number and its input on a `Tape`. Out: the block's output. Written after transformers
5.23, models/TYPE/modeling_TYPE.py, the class of a block.
"""

from __future__ import annotations

from recipec.plan.memory.attention import attend
from recipec.plan.memory.context import Context, gate, turned_attention
from recipec.plan.memory.encoders import relative_span
from recipec.plan.memory.tape import Value

_POST = {
    "bert": (
        *("attention.self.query", "attention.self.key", "attention.self.value"),
        *("attention.output.dense", "attention.output.LayerNorm"),
        *("intermediate.dense", "output.dense", "output.LayerNorm"),
    ),
    "distilbert": (
        *("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        *("attention.out_lin", "sa_layer_norm"),
        *("ffn.lin1", "ffn.lin2", "output_layer_norm"),
    ),
}


def bert(context: Context, number: int, value: Value) -> Value:
    """BERT and its kin: norms behind the sums."""
    tape, config, kind = context.tape, context.config, context.config["model_type"]
    distil = kind == "distilbert"
    prefix = {"xlm-roberta": "roberta", "deberta-v2": "deberta"}.get(kind, kind)
    at = f"{prefix}.{'transformer' if distil else 'encoder'}.layer.{number}"
    names = [f"{at}.{name}" for name in _POST["distilbert" if distil else "bert"]]
    spread = context.probability("dropout" if distil else "hidden_dropout_prob")
    if kind == "deberta-v2":
        found = _disentangled(context, at, value)
    else:
        found = context.self_attention(
            value,
            (names[0], names[1], names[2]),
            heads=config["n_heads" if distil else "num_attention_heads"],
            dropout=context.probability(
                "attention_dropout" if distil else "attention_probs_dropout_prob"
            ),
        )
    found = tape.linear(found, names[3])
    found = found if distil else tape.dropout(found, spread)
    middle = tape.layer_norm(tape.add(value, found), names[4])
    inner = tape.activation(
        tape.linear(middle, names[5]), config.get("hidden_act", "activation") or "gelu"
    )
    found = tape.dropout(tape.linear(inner, names[6]), spread)
    return tape.layer_norm(tape.add(middle, found), names[7])


def _disentangled(context: Context, at: str, value: Value) -> Value:
    """DeBERTa's attention: scores of content and of relative positions, written out."""
    tape, config, batch = context.tape, context.config, context.batch
    heads = config["num_attention_heads"]
    at = f"{at}.attention.self"
    query, key, found = (
        tape.linear(value, f"{at}.{name}") for name in ("query_proj", "key_proj", "value_proj")
    )
    if config["relative_attention"]:
        hidden = value.elements // (batch.rows * batch.length)
        span = relative_span(config)
        table = tape.dropout(
            tape.new(2 * span * hidden), context.probability("hidden_dropout_prob")
        )
        for kind, own in (("c2p", "pos_key_proj"), ("p2c", "pos_query_proj")):
            if kind not in (config["pos_att_type"] or ()):
                continue
            shared = "key_proj" if kind == "c2p" else "query_proj"
            name = shared if config["share_att_key"] else own
            near = tape.linear(table, f"{at}.{name}")
            spread = tape.new(near.elements * batch.rows, grad=near.grad)
            if spread.grad or query.grad:
                tape.keep(spread, tape.new(batch.rows * heads * batch.length**2, width=8))
    shape = context.attention(
        heads=heads, dropout=context.probability("attention_probs_dropout_prob")
    )
    return attend(tape, query, key, found, shape)


def modernbert(context: Context, number: int, value: Value) -> Value:
    """ModernBERT: norms before, a gated feed-forward network, local attention."""
    tape, config, at = context.tape, context.config, f"model.layers.{number}"
    normed = tape.layer_norm(value, f"{at}.attn_norm") if number else value
    fused = tape.linear(normed, f"{at}.attn.Wqkv")
    found = turned_attention(
        context,
        fused,
        heads=config["num_attention_heads"],
        dropout=context.probability("attention_dropout"),
    )
    found = tape.dropout(
        tape.linear(found, f"{at}.attn.Wo"), context.probability("attention_dropout")
    )
    value = tape.add(value, found)
    normed = tape.layer_norm(value, f"{at}.mlp_norm")
    both = tape.linear(normed, f"{at}.mlp.Wi")
    one, two = context.split(both, 2)
    inner = gate(tape, one, two, both, config["hidden_activation"] or "gelu")
    inner = tape.dropout(inner, context.probability("mlp_dropout"))
    return tape.add(value, tape.linear(inner, f"{at}.mlp.Wo"))
