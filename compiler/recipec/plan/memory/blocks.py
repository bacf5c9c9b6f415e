"""What a block of each architecture keeps for the backward pass: its forward pass in few words.

In: a block's number, its input on a `Tape` and the config. Out: the block's output; the tape knows
what is kept. Written after transformers 5.23, models/TYPE/modeling_TYPE.py, the class of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recipec.plan.memory import decoders
from recipec.plan.memory.attention import Attention, attend
from recipec.plan.memory.encoders import relative_span
from recipec.plan.memory.layers import Config
from recipec.plan.memory.seq2seq import is_gated
from recipec.plan.memory.tape import Tape, Value

DROPOUTS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "dropout",
    "dropout_rate",
    "embd_pdrop",
    "hidden_dropout_prob",
    "resid_pdrop",
)
"""What architecture.dropout sets, as recipec_runtime.modeling.set_dropout does."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows and lengths of a forward pass. Lengths are in tokens of a row."""

    rows: int
    length: int
    """Of the stack that the block is in."""
    other: int = 0
    """Of the encoder's text, which a decoder's block of an encoder-decoder looks at."""
    masked: bool = True
    prefix: int = 0
    """Virtual tokens among the keys."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every block of a model shares."""

    tape: Tape
    config: Config
    batch: Batch

    def probability(self, key: str) -> float:
        """A dropout of the config, or what the recipe put in its place."""
        own = self.config[key]
        given = self.tape.settings.dropout
        if given is not None and key in DROPOUTS and own is not None:
            return given
        return float(own or 0.0)

    def attention(self, **more: Any) -> Attention:
        """Self-attention over the batch."""
        batch = self.batch
        shape = {"rows": batch.rows, "queries": batch.length, "masked": batch.masked}
        return Attention(**{**shape, "keys": batch.length + batch.prefix, **more})

    def self_attention(self, value: Value, names: tuple[str, str, str], **more: Any) -> Value:
        """Three linear layers and attention."""
        tape = self.tape
        query, key, found = (tape.linear(value, name) for name in names)
        return attend(
            tape, query, self.kept_keys(key), self.kept_keys(found), self.attention(**more)
        )

    def kept_keys(self, value: Value) -> Value:
        """Keys or values with the virtual ones before them."""
        prefix = self.batch.prefix
        if not prefix:
            return value
        longer = value.elements * (self.batch.length + prefix) // self.batch.length
        return self.tape.new(longer, width=value.width)

    def split(self, value: Value, parts: int) -> list[Value]:
        """Views of one tensor: they share its memory."""
        return [value._replace(elements=value.elements // parts) for _ in range(parts)]


Block = Callable[[Context, int, Value], Value]

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
    found = _turned_attention(
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
    inner = _gate(tape, one, two, both, config["hidden_activation"] or "gelu")
    inner = tape.dropout(inner, context.probability("mlp_dropout"))
    return tape.add(value, tape.linear(inner, f"{at}.mlp.Wo"))


def _gate(tape: Tape, one: Value, two: Value, both: Value, kind: str) -> Value:
    """act(one) * two, where both are halves of one tensor."""
    made = tape.activation(one, kind)
    found = tape.product(made, two)
    if both.grad:
        tape.keep(both)
    return found


def gpt2(context: Context, number: int, value: Value) -> Value:
    """GPT-2."""
    tape, config, at = context.tape, context.config, f"transformer.h.{number}"
    spread = context.probability("resid_pdrop")
    fused = tape.linear(tape.layer_norm(value, f"{at}.ln_1"), f"{at}.attn.c_attn")
    found = _fused_attention(
        context, fused, heads=config["n_head"], dropout=context.probability("attn_pdrop")
    )
    value = tape.add(value, tape.dropout(tape.linear(found, f"{at}.attn.c_proj"), spread))
    inner = tape.linear(tape.layer_norm(value, f"{at}.ln_2"), f"{at}.mlp.c_fc")
    inner = tape.activation(inner, config["activation_function"] or "gelu_new")
    return tape.add(value, tape.dropout(tape.linear(inner, f"{at}.mlp.c_proj"), spread))


def _fused_attention(context: Context, fused: Value, **more: Any) -> Value:
    """Attention over queries, keys and values that one layer made: a fused kernel keeps it once."""
    tape, size = context.tape, fused.elements // 3
    shape = context.attention(**more)
    query, key, value = (fused._replace(elements=size) for _ in range(3))
    made = attend(tape, query, context.kept_keys(key), context.kept_keys(value), shape)
    if fused.number in tape.kept:
        tape.kept[fused.number] = fused.bytes  # a view keeps the whole
    return made


def _turned_attention(context: Context, fused: Value, **more: Any) -> Value:
    """The same where queries and keys are turned by their positions, which makes them new."""
    tape, size = context.tape, fused.elements // 3
    query, key = (tape.new(size, grad=fused.grad, width=fused.width) for _ in range(2))
    value = fused._replace(elements=size)
    shape = context.attention(**more)
    made = attend(tape, query, context.kept_keys(key), context.kept_keys(value), shape)
    if fused.number in tape.kept:
        tape.kept[fused.number] = fused.bytes  # a view keeps the whole
    return made


def gpt_neox(context: Context, number: int, value: Value) -> Value:
    """GPT-NeoX: attention and feed-forward side by side."""
    tape, config, at = context.tape, context.config, f"gpt_neox.layers.{number}"
    spread = context.probability("hidden_dropout")
    fused = tape.linear(
        tape.layer_norm(value, f"{at}.input_layernorm"), f"{at}.attention.query_key_value"
    )
    found = _turned_attention(
        context,
        fused,
        heads=config["num_attention_heads"],
        dropout=context.probability("attention_dropout"),
        upcast=True,
        copied=True,
    )
    found = tape.dropout(tape.linear(found, f"{at}.attention.dense"), spread)
    normed = tape.layer_norm(value, f"{at}.post_attention_layernorm")
    inner = tape.activation(
        tape.linear(normed, f"{at}.mlp.dense_h_to_4h"), config["hidden_act"] or "gelu"
    )
    inner = tape.dropout(tape.linear(inner, f"{at}.mlp.dense_4h_to_h"), spread)
    return tape.add(value, tape.add(found, inner))


def bloom(context: Context, number: int, value: Value) -> Value:
    """BLOOM."""
    tape, config, at = context.tape, context.config, f"transformer.h.{number}"
    spread = context.probability("hidden_dropout")
    fused = tape.linear(
        tape.layer_norm(value, f"{at}.input_layernorm"), f"{at}.self_attention.query_key_value"
    )
    found = _fused_attention(
        context,
        fused,
        heads=config["n_head"],
        dropout=context.probability("attention_dropout"),
        upcast=True,
    )
    found = tape.dropout(tape.linear(found, f"{at}.self_attention.dense"), spread)
    value = tape.add(value, found)
    normed = tape.layer_norm(value, f"{at}.post_attention_layernorm")
    inner = tape.activation(tape.linear(normed, f"{at}.mlp.dense_h_to_4h"), "gelu")
    found = tape.dropout(tape.linear(inner, f"{at}.mlp.dense_4h_to_h"), spread)
    return tape.add(value, found)


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
        shape = _crossing(context, shape)
        prefix = batch.prefix * key.elements // batch.other
        key, found = (
            (tape.new(part.elements + prefix) if prefix else part) for part in (key, found)
        )
    else:
        key, found = context.kept_keys(key), context.kept_keys(found)
        if at.startswith("model.decoder.") and batch.other:
            shape = replace(shape, masked=False)  # padding behind the targets needs no mask
    return attend(tape, query, key, found, shape)


def _crossing(context: Context, shape: Attention) -> Attention:
    return replace(shape, keys=context.batch.other + context.batch.prefix)


def llama(context: Context, number: int, value: Value) -> Value:
    """Llama and its kin, dense or with experts."""
    tape, config, at = context.tape, context.config, f"model.layers.{number}"
    kind = config["model_type"]
    if kind == "phi":
        return _phi(context, at, value)
    spread = context.probability("resid_pdrop") if kind == "phi3" else 0.0
    gemma = kind.startswith("gemma")
    found = _rotary(context, f"{at}.self_attn", tape.rms_norm(value, f"{at}.input_layernorm"))
    found = tape.linear(found, f"{at}.self_attn.o_proj")
    extra = f"{at}.pre_feedforward_layernorm" in tape.tuned.by_name
    if extra:
        found = tape.rms_norm(found, f"{at}.post_attention_layernorm")
    value = tape.add(value, tape.dropout(found, spread))
    name = "pre_feedforward_layernorm" if extra else "post_attention_layernorm"
    normed = tape.rms_norm(value, f"{at}.{name}")
    act = config.get("hidden_act", "hidden_activation") or (
        "gelu_pytorch_tanh" if gemma else "silu"
    )
    if decoders.is_sparse(config, number):
        found = _experts(context, f"{at}.mlp", normed, act)
    else:
        found = _gated(context, f"{at}.mlp", normed, act)
    found = tape.behind(found, f"{at}.mlp")
    if extra:
        found = tape.rms_norm(found, f"{at}.post_feedforward_layernorm")
    return tape.add(value, tape.dropout(found, spread))


def _rotary(context: Context, at: str, value: Value) -> Value:
    tape, config = context.tape, context.config
    heads = config["num_attention_heads"]
    keys = config["num_key_value_heads"] or heads
    fused = None
    if f"{at}.qkv_proj" in tape.tuned.by_name:
        fused = tape.linear(value, f"{at}.qkv_proj")
        share = fused.elements // (heads + 2 * keys)
        query = fused._replace(elements=share * heads)
        key = found = fused._replace(elements=share * keys)
    else:
        query = tape.linear(value, f"{at}.q_proj")
        key = tape.linear(value, f"{at}.k_proj")
        found = tape.linear(value, f"{at}.v_proj")
    if f"{at}.q_norm" in tape.tuned.by_name:
        query = tape.rms_norm(query, f"{at}.q_norm")
        key = tape.rms_norm(key, f"{at}.k_norm")
    query = tape.new(query.elements, grad=query.grad, width=query.width)
    key = tape.new(key.elements, grad=key.grad, width=key.width)
    kind = config["model_type"]
    shape = context.attention(
        heads=heads,
        dropout=context.probability("attention_dropout"),
        softcap=kind == "gemma2" and bool(config["attn_logit_softcapping"]),
        upcast=True,
        grouped=heads // keys,
        copied=kind in ("phi", "phi3"),
    )
    made = attend(tape, query, context.kept_keys(key), context.kept_keys(found), shape)
    if found.number in tape.kept and fused is not None:
        tape.kept[found.number] = fused.bytes  # a view keeps the whole
    return made


def _gated(context: Context, at: str, value: Value, act: str) -> Value:
    tape = context.tape
    if f"{at}.gate_up_proj" in tape.tuned.by_name:
        both = tape.linear(value, f"{at}.gate_up_proj")
        one, two = context.split(both, 2)
        inner = _gate(tape, one, two, both, act)
    else:
        one = tape.activation(tape.linear(value, f"{at}.gate_proj"), act)
        inner = tape.product(one, tape.linear(value, f"{at}.up_proj"))
    return tape.linear(inner, f"{at}.down_proj")


def _experts(context: Context, at: str, value: Value, act: str) -> Value:
    """Each token goes through `num_experts_per_tok` experts (integrations/moe.py, grouped_mm)."""
    tape, config = context.tape, context.config
    hidden, chosen = config["hidden_size"], config["num_experts_per_tok"]
    tokens = value.elements // hidden
    router = f"{at}.gate"
    if tape.tuned.trains(router):
        tape.keep(value)
    if value.grad:
        count = decoders.number_of_experts(config)
        tape.keep(tape.new(tokens * count, width=4), tape.new(5 * tokens * chosen, width=8))
    picked = tape.new(tokens * chosen * hidden, grad=value.grad, width=value.width)
    both = _expert_product(tape, picked, f"{at}.experts.gate_up_proj")
    one, two = context.split(both, 2)
    inner = _gate(tape, one, two, both, act)
    made = _expert_product(tape, inner, f"{at}.experts.down_proj")
    if made.grad:
        tape.keep(made)
    found = tape.new(value.elements, grad=made.grad, width=value.width)
    if f"{at}.shared_expert_gate" in tape.tuned.by_name:
        shared = _gated(context, f"{at}.shared_expert", value, act)
        gate = tape.linear(value, f"{at}.shared_expert_gate")
        tape.product(gate, shared)
    return found


def _expert_product(tape: Tape, value: Value, name: str) -> Value:
    """One matrix of every expert. With LoRA the sum of weight and update is made and kept whole."""
    layer = tape.tuned.by_name[name]
    adapter = tape.tuned.adapters.get(name)
    if name in tape.tuned.trained or name in tape.tuned.copied:
        tape.keep(value)
    if adapter is not None:
        # peft/tuners/lora/layer.py, ParamWrapper: the parametrised weight lives until backward
        tape.keep(value, tape.new(layer.size, width=tape.width))
    outputs, inputs = layer.shape[1:]
    return tape.new(value.elements // inputs * outputs, width=value.width)


def _phi(context: Context, at: str, value: Value) -> Value:
    tape, config = context.tape, context.config
    spread = context.probability("resid_pdrop")
    normed = tape.layer_norm(value, f"{at}.input_layernorm")
    found = _rotary(context, f"{at}.self_attn", normed)
    found = tape.dropout(tape.linear(found, f"{at}.self_attn.dense"), spread)
    inner = tape.activation(
        tape.linear(normed, f"{at}.mlp.fc1"), config["hidden_act"] or "gelu_new"
    )
    inner = tape.dropout(tape.linear(inner, f"{at}.mlp.fc2"), spread)
    return tape.add(value, tape.add(found, inner))


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
    normed = tape.rms_norm(value, f"{at}.layer_norm")
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
        shape = _crossing(context, shape)
        prefix = batch.prefix * key.elements // batch.other
        key, found = (
            (tape.new(part.elements + prefix) if prefix else part) for part in (key, found)
        )
    else:
        key, found = context.kept_keys(key), context.kept_keys(found)
    found = attend(tape, query, key, found, shape)
    found = tape.dropout(tape.linear(found, f"{at}.{name}.o"), spread)
    return tape.add(value, found)


def _t5_feedforward(context: Context, at: str, value: Value) -> Value:
    tape, config = context.tape, context.config
    spread = context.probability("dropout_rate")
    normed = tape.rms_norm(value, f"{at}.layer_norm")
    act = str(config["feed_forward_proj"]).split("-")[-1]
    act = "gelu_new" if is_gated(config) and act == "gelu" else act
    if is_gated(config):
        inner = tape.activation(tape.linear(normed, f"{at}.DenseReluDense.wi_0"), act)
        inner = tape.product(inner, tape.linear(normed, f"{at}.DenseReluDense.wi_1"))
    else:
        inner = tape.activation(tape.linear(normed, f"{at}.DenseReluDense.wi"), act)
    found = tape.linear(tape.dropout(inner, spread), f"{at}.DenseReluDense.wo")
    return tape.add(value, tape.dropout(found, spread))


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
