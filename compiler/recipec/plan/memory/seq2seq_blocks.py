"""What a block of each encoder-decoder keeps for the backward pass; and of OPT, built alike.

In: a block's number and its input on a `Tape`. Out: the block's output. Written after transformers
5.23, models/TYPE/modeling_TYPE.py, the class of a block.
"""

from __future__ import annotations

from dataclasses import replace

from recipec.plan.memory.attention import attend
from recipec.plan.memory.context import Context, crossing
from recipec.plan.memory.layers import Config
from recipec.plan.memory.seq2seq import is_gated
from recipec.plan.memory.tape import Value


def opt(context: Context, number: int, value: Value) -> Value:
    """OPT; as BART's encoder, with the norms before (or, in the smallest, behind)."""
    return _bart_like(context, f"model.decoder.layers.{number}", value, first=_before(context))


def _before(context: Context) -> bool:
    return bool(context.config["do_layer_norm_before"])


def bart_encoder(context: Context, number: int, value: Value) -> Value:
    """The encoder of BART, mBART, Pegasus and Marian."""
    return _bart_like(context, f"model.encoder.layers.{number}", value, first=_first(context))


def bart_decoder(context: Context, number: int, value: Value) -> Value:
    """Their decoder, which also looks at the encoder's text."""
    at = f"model.decoder.layers.{number}"
    return _bart_like(context, at, value, first=_first(context), crossed=True)


def _first(context: Context) -> bool:
    return context.config["model_type"] in ("mbart", "pegasus")


def _bart_like(
    context: Context, at: str, value: Value, *, first: bool, crossed: bool = False
) -> Value:
    tape, config = context.tape, context.config
    spread = context.probability("dropout")
    attentions = ("self_attn", "encoder_attn")[: 2 if crossed else 1]
    for name in attentions:
        norm = f"{at}.{name}_layer_norm"
        normed = tape.layer_norm(value, norm) if first else value
        found = _bart_attention(context, f"{at}.{name}", normed, crossed=name == "encoder_attn")
        value = tape.add(value, tape.dropout(tape.linear(found, f"{at}.{name}.out_proj"), spread))
        value = value if first else tape.layer_norm(value, norm)
    normed = tape.layer_norm(value, f"{at}.final_layer_norm") if first else value
    inner = tape.activation(
        tape.linear(normed, f"{at}.fc1"), config["activation_function"] or _plain(config)
    )
    inner = tape.dropout(inner, context.probability("activation_dropout"))
    value = tape.add(value, tape.dropout(tape.linear(inner, f"{at}.fc2"), spread))
    return value if first else tape.layer_norm(value, f"{at}.final_layer_norm")


def _plain(config: Config) -> str:
    return "relu" if config["model_type"] == "opt" else "gelu"


def _bart_attention(context: Context, at: str, value: Value, *, crossed: bool) -> Value:
    tape, config, batch = context.tape, context.config, context.batch
    query = tape.linear(value, f"{at}.q_proj")
    asked = value
    if crossed:
        asked = Value(0, value.elements // batch.length * batch.other, value.width, value.grad)
    key, found = tape.linear(asked, f"{at}.k_proj"), tape.linear(asked, f"{at}.v_proj")
    heads = config.get("num_attention_heads", "decoder_attention_heads")
    if at.startswith("model.encoder"):
        heads = config["encoder_attention_heads"]
    shape = context.attention(heads=heads, dropout=context.probability("attention_dropout"))
    if crossed:
        shape = crossing(context, shape)
        prefix = batch.prefix * key.elements // batch.other
        key, found = (
            (tape.new(part.elements + prefix) if prefix else part) for part in (key, found)
        )
    else:
        key, found = context.kept_keys(key), context.kept_keys(found)
        if at.startswith("model.decoder.") and batch.other:
            shape = replace(shape, masked=False)  # padding behind the targets needs no mask
    return attend(tape, query, key, found, shape)


def t5_encoder(context: Context, number: int, value: Value) -> Value:
    """The encoder of T5."""
    at = f"encoder.block.{number}.layer"
    value = _t5_attention(context, f"{at}.0", "SelfAttention", value)
    return _t5_feedforward(context, f"{at}.1", value)


def t5_decoder(context: Context, number: int, value: Value) -> Value:
    """The decoder of T5."""
    at = f"decoder.block.{number}.layer"
    value = _t5_attention(context, f"{at}.0", "SelfAttention", value)
    value = _t5_attention(context, f"{at}.1", "EncDecAttention", value)
    return _t5_feedforward(context, f"{at}.2", value)


def _t5_attention(context: Context, at: str, name: str, value: Value) -> Value:
    tape, config, batch = context.tape, context.config, context.batch
    crossed, spread = name == "EncDecAttention", context.probability("dropout_rate")
    normed = tape.rms_norm(value, f"{at}.layer_norm", both=True)
    query = tape.linear(normed, f"{at}.{name}.q")
    asked = normed
    if crossed:
        asked = Value(0, value.elements // batch.length * batch.other, value.width, value.grad)
    key, found = tape.linear(asked, f"{at}.{name}.k"), tape.linear(asked, f"{at}.{name}.v")
    table = f"{at.split('.')[0]}.block.0.layer.0.SelfAttention.relative_attention_bias"
    shape = context.attention(
        heads=config["num_heads"],
        dropout=spread,
        bias=True,
        bias_grad=not crossed and tape.tuned.trains(table),
    )
    if crossed:
        shape = crossing(context, shape)
        prefix = batch.prefix * key.elements // batch.other
        key, found = (
            (tape.new(part.elements + prefix) if prefix else part) for part in (key, found)
        )
    else:
        key, found = context.kept_keys(key), context.kept_keys(found)
        if at.startswith("decoder."):
            shape = replace(shape, masked=False)  # padding behind the targets needs no mask
    found = attend(tape, query, key, found, shape)
    found = tape.dropout(tape.linear(found, f"{at}.{name}.o"), spread)
    return tape.add(value, found)


def _t5_feedforward(context: Context, at: str, value: Value) -> Value:
    tape, config = context.tape, context.config
    spread = context.probability("dropout_rate")
    normed = tape.rms_norm(value, f"{at}.layer_norm", both=True)
    act = str(config["feed_forward_proj"]).split("-")[-1]
    act = "gelu_new" if is_gated(config) and act == "gelu" else act
    if is_gated(config):
        inner = tape.activation(tape.linear(normed, f"{at}.DenseReluDense.wi_0"), act)
        inner = tape.product(inner, tape.linear(normed, f"{at}.DenseReluDense.wi_1"))
    else:
        inner = tape.activation(tape.linear(normed, f"{at}.DenseReluDense.wi"), act)
    found = tape.linear(tape.dropout(inner, spread), f"{at}.DenseReluDense.wo")
    return tape.add(value, tape.dropout(found, spread))
