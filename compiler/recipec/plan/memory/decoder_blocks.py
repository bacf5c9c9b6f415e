"""What a block of each decoder keeps for the backward pass: its forward pass in few words.

In: a block's number and its input on a `Tape`. Out: the block's output. Written after transformers
5.23, models/TYPE/modeling_TYPE.py, the class of a block.
"""

from __future__ import annotations

from recipec.plan.memory import decoders
from recipec.plan.memory.attention import attend
from recipec.plan.memory.context import Context, fused_attention, gate, turned_attention
from recipec.plan.memory.tape import Tape, Value


def gpt2(context: Context, number: int, value: Value) -> Value:
    """GPT-2."""
    tape, config, at = context.tape, context.config, f"transformer.h.{number}"
    spread = context.probability("resid_pdrop")
    fused = tape.linear(tape.layer_norm(value, f"{at}.ln_1"), f"{at}.attn.c_attn")
    found = fused_attention(
        context, fused, heads=config["n_head"], dropout=context.probability("attn_pdrop")
    )
    value = tape.add(value, tape.dropout(tape.linear(found, f"{at}.attn.c_proj"), spread))
    inner = tape.linear(tape.layer_norm(value, f"{at}.ln_2"), f"{at}.mlp.c_fc")
    inner = tape.activation(inner, config["activation_function"] or "gelu_new")
    return tape.add(value, tape.dropout(tape.linear(inner, f"{at}.mlp.c_proj"), spread))


def gpt_neox(context: Context, number: int, value: Value) -> Value:
    """GPT-NeoX: attention and feed-forward side by side."""
    tape, config, at = context.tape, context.config, f"gpt_neox.layers.{number}"
    spread = context.probability("hidden_dropout")
    fused = tape.linear(
        tape.layer_norm(value, f"{at}.input_layernorm"), f"{at}.attention.query_key_value"
    )
    found = turned_attention(
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
    found = fused_attention(
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
        inner = gate(tape, one, two, both, act)
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
    inner = gate(tape, one, two, both, act)
    made = _expert_product(tape, inner, f"{at}.experts.down_proj")
    if made.grad:
        tape.keep(made)
    found = tape.new(value.elements, grad=made.grad, width=value.width)
    if f"{at}.shared_expert_gate" in tape.tuned.by_name:
        shared = _gated(context, f"{at}.shared_expert", value, act)
        share = tape.linear(value, f"{at}.shared_expert_gate")
        tape.product(share, shared)
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
