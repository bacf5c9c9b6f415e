"""The layers of encoders, by `model_type`: names and shapes as transformers 5.23 has them.

In: a config.json and the kind of head. Out: `Model`. tests/unit/plan/test_memory_weights.py holds
every type and head against transformers' own modules, name by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from recipec.plan.memory.layers import (
    Config,
    Layer,
    Model,
    embedding,
    linear,
    norm,
    positions,
)

Head = Literal[
    "causal-lm",
    "masked-lm",
    "seq2seq-lm",
    "question-answering",
    "sequence-classification",
    "token-classification",
]


def bert(config: Config, head: Head, labels: int) -> Model:
    """BERT, and with other heads RoBERTa and ELECTRA."""
    kind = config["model_type"]
    prefix = {"xlm-roberta": "roberta"}.get(kind, kind)
    pools = kind == "bert" and head == "sequence-classification"
    words = f"{prefix}.embeddings.word_embeddings"
    if kind == "xlm-roberta" and head == "masked-lm" and config["tie_word_embeddings"]:
        words = "lm_head.decoder"  # of the two names of one weight, that which comes first
    layers = [*_bert_embeddings(config, prefix, words), *_bert_blocks(config, prefix)]
    if pools:
        layers.append(linear("bert.pooler.dense", config["hidden_size"], config["hidden_size"]))
    heads = {"bert": _bert_head, "electra": _electra_head}
    layers += heads.get(kind, _roberta_head)(config, head, labels)
    return Model(layers=tuple(layers), prefix=prefix, output=_shared(head, prefix, layers))


def _shared(head: Head, prefix: str, layers: list[Layer]) -> str:
    """What makes the logits of a vocabulary: the word embeddings, unless they are not shared."""
    if head != "masked-lm":
        return ""
    ends = ("decoder", "generator_lm_head", "vocab_projector")
    own = [layer.name for layer in layers if layer.name.endswith(ends)]
    return own[0] if own else f"{prefix}.embeddings.word_embeddings"


def _bert_embeddings(config: Config, prefix: str, name: str) -> Iterator[Layer]:
    at, hidden = f"{prefix}.embeddings", config["hidden_size"]
    size = config.get("embedding_size") or hidden
    yield embedding(name, config["vocab_size"], size)
    yield positions(f"{at}.position_embeddings", config["max_position_embeddings"], size)
    yield embedding(f"{at}.token_type_embeddings", config["type_vocab_size"], size)
    yield norm(f"{at}.LayerNorm", size)
    if size != hidden:
        yield linear(f"{prefix}.embeddings_project", size, hidden)


def _bert_blocks(config: Config, prefix: str) -> Iterator[Layer]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    for number in range(config["num_hidden_layers"]):
        at = f"{prefix}.encoder.layer.{number}"
        for name in ("query", "key", "value"):
            yield linear(f"{at}.attention.self.{name}", hidden, hidden)
        yield linear(f"{at}.attention.output.dense", hidden, hidden)
        yield norm(f"{at}.attention.output.LayerNorm", hidden)
        yield linear(f"{at}.intermediate.dense", hidden, inner)
        yield linear(f"{at}.output.dense", inner, hidden)
        yield norm(f"{at}.output.LayerNorm", hidden)


def _bert_head(config: Config, head: Head, labels: int) -> Iterator[Layer]:
    hidden, words = config["hidden_size"], config["vocab_size"]
    if head == "masked-lm":
        yield Layer("cls.predictions.bias", "bare", (words,))
        yield linear("cls.predictions.transform.dense", hidden, hidden)
        yield norm("cls.predictions.transform.LayerNorm", hidden)
        if not config["tie_word_embeddings"]:
            yield linear("cls.predictions.decoder", hidden, words)
    else:
        yield _last(head, "classifier", hidden, labels)


def _roberta_head(config: Config, head: Head, labels: int) -> Iterator[Layer]:
    hidden, words = config["hidden_size"], config["vocab_size"]
    if head == "masked-lm":
        yield Layer("lm_head.bias", "bare", (words,))
        yield linear("lm_head.dense", hidden, hidden)
        yield norm("lm_head.layer_norm", hidden)
        if not config["tie_word_embeddings"]:
            yield linear("lm_head.decoder", hidden, words)
    elif head == "sequence-classification":
        yield linear("classifier.dense", hidden, hidden)
        yield linear("classifier.out_proj", hidden, labels)
    else:
        yield _last(head, "classifier", hidden, labels)


def _electra_head(config: Config, head: Head, labels: int) -> Iterator[Layer]:
    hidden, size = config["hidden_size"], config["embedding_size"]
    if head == "masked-lm":
        yield norm("generator_predictions.LayerNorm", size)
        yield linear("generator_predictions.dense", hidden, size)
        yield Layer("generator_lm_head.bias", "bare", (config["vocab_size"],))
        if not config["tie_word_embeddings"]:
            yield linear("generator_lm_head", size, config["vocab_size"], bias=False)
    else:
        yield from _roberta_head(config, head, labels)


def _last(head: Head, name: str, inputs: int, labels: int) -> Layer:
    """The only layer of a plain head: an output per label, or a start and an end."""
    if head == "question-answering":
        return linear("qa_outputs", inputs, 2)
    return linear(name, inputs, labels)


def distilbert(config: Config, head: Head, labels: int) -> Model:
    """DistilBERT."""
    dim, words = config["dim"], config["vocab_size"]
    at = "distilbert.embeddings"
    layers = [
        embedding(f"{at}.word_embeddings", words, dim),
        positions(f"{at}.position_embeddings", config["max_position_embeddings"], dim),
        norm(f"{at}.LayerNorm", dim),
    ]
    for number in range(config["n_layers"]):
        at = f"distilbert.transformer.layer.{number}"
        names = ("q_lin", "k_lin", "v_lin", "out_lin")
        layers += [linear(f"{at}.attention.{name}", dim, dim) for name in names]
        layers += [norm(f"{at}.sa_layer_norm", dim)]
        layers += [linear(f"{at}.ffn.lin1", dim, config["hidden_dim"])]
        layers += [linear(f"{at}.ffn.lin2", config["hidden_dim"], dim)]
        layers += [norm(f"{at}.output_layer_norm", dim)]
    if head == "masked-lm":
        layers += [linear("vocab_transform", dim, dim), norm("vocab_layer_norm", dim)]
        if config["tie_word_embeddings"]:
            layers += [Layer("vocab_projector.bias", "bare", (words,))]
        else:
            layers += [linear("vocab_projector", dim, words)]
    else:
        if head == "sequence-classification":
            layers.append(linear("pre_classifier", dim, dim))
        layers.append(_last(head, "classifier", dim, labels))
    output = _shared(head, "distilbert", layers)
    return Model(layers=tuple(layers), prefix="distilbert", output=output)


def deberta(config: Config, head: Head, labels: int) -> Model:
    """DeBERTa v2 and v3."""
    hidden, words = config["hidden_size"], config["vocab_size"]
    layers = [*_deberta_embeddings(config), *_deberta_blocks(config)]
    if head == "sequence-classification":
        layers.append(linear("pooler.dense", hidden, hidden))
    if head == "masked-lm":
        size = config["embedding_size"] or hidden
        layers += [Layer("cls.predictions.bias", "bare", (words,))]
        layers += [linear("cls.predictions.transform.dense", hidden, size)]
        layers += [norm("cls.predictions.transform.LayerNorm", size)]
        if not config["tie_word_embeddings"]:
            layers += [linear("cls.predictions.decoder", size, words)]
    else:
        layers.append(_last(head, "classifier", hidden, labels))
    output = _shared(head, "deberta", layers)
    return Model(layers=tuple(layers), prefix="deberta", output=output)


def _deberta_embeddings(config: Config) -> Iterator[Layer]:
    at, hidden = "deberta.embeddings", config["hidden_size"]
    size = config["embedding_size"] or hidden
    yield embedding(f"{at}.word_embeddings", config["vocab_size"], size)
    if config["position_biased_input"]:
        yield positions(f"{at}.position_embeddings", config["max_position_embeddings"], size)
    if config["type_vocab_size"]:
        yield embedding(f"{at}.token_type_embeddings", config["type_vocab_size"], size)
    if size != hidden:
        yield linear(f"{at}.embed_proj", size, hidden, bias=False)
    yield norm(f"{at}.LayerNorm", hidden)


def _deberta_blocks(config: Config) -> Iterator[Layer]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    wide = config["num_attention_heads"] * (
        config["attention_head_size"] or hidden // config["num_attention_heads"]
    )
    kinds = config["pos_att_type"] or ()
    apart = config["relative_attention"] and not config["share_att_key"]
    for number in range(config["num_hidden_layers"]):
        at = f"deberta.encoder.layer.{number}"
        for name in ("query_proj", "key_proj", "value_proj"):
            yield linear(f"{at}.attention.self.{name}", hidden, wide)
        for kind, name in (("c2p", "pos_key_proj"), ("p2c", "pos_query_proj")):
            if apart and kind in kinds:
                yield linear(f"{at}.attention.self.{name}", hidden, wide)
        yield linear(f"{at}.attention.output.dense", hidden, hidden)
        yield norm(f"{at}.attention.output.LayerNorm", hidden)
        yield linear(f"{at}.intermediate.dense", hidden, inner)
        yield linear(f"{at}.output.dense", inner, hidden)
        yield norm(f"{at}.output.LayerNorm", hidden)
    if config["relative_attention"]:
        yield positions("deberta.encoder.rel_embeddings", 2 * relative_span(config), hidden)
    if "layer_norm" in str(config["norm_rel_ebd"]).lower():
        yield norm("deberta.encoder.LayerNorm", hidden)
    if (width := config["conv_kernel_size"] or 0) > 0:
        shape = (hidden, hidden // (config["conv_groups"] or 1), width)
        yield Layer("deberta.encoder.conv.conv", "conv", shape, hidden)
        yield norm("deberta.encoder.conv.LayerNorm", hidden)


def relative_span(config: Config) -> int:
    """Distances in each direction that DeBERTa tells apart."""
    if (config["position_buckets"] or -1) > 0:
        return int(config["position_buckets"])
    longest = config["max_relative_positions"] or -1
    return int(longest if longest >= 1 else config["max_position_embeddings"])


def modernbert(config: Config, head: Head, labels: int) -> Model:
    """ModernBERT."""
    hidden, inner, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    biased, thick, plain = config["norm_bias"], config["attention_bias"], config["mlp_bias"]
    layers = [
        embedding("model.embeddings.tok_embeddings", words, hidden),
        norm("model.embeddings.norm", hidden, bias=biased),
    ]
    for number in range(config["num_hidden_layers"]):
        at = f"model.layers.{number}"
        if number:
            layers.append(norm(f"{at}.attn_norm", hidden, bias=biased))
        layers += [linear(f"{at}.attn.Wqkv", hidden, 3 * hidden, bias=thick)]
        layers += [linear(f"{at}.attn.Wo", hidden, hidden, bias=thick)]
        layers += [norm(f"{at}.mlp_norm", hidden, bias=biased)]
        layers += [linear(f"{at}.mlp.Wi", hidden, 2 * inner, bias=plain)]
        layers += [linear(f"{at}.mlp.Wo", inner, hidden, bias=plain)]
    layers += [norm("model.final_norm", hidden, bias=biased)]
    layers += [linear("head.dense", hidden, hidden, bias=config["classifier_bias"])]
    layers += [norm("head.norm", hidden, bias=biased)]
    if head != "masked-lm":
        layers.append(linear("classifier", hidden, 2 if head == "question-answering" else labels))
    elif not config["tie_word_embeddings"]:
        layers.append(linear("decoder", hidden, words, bias=config["decoder_bias"]))
    elif config["decoder_bias"]:
        layers.append(Layer("decoder.bias", "bare", (words,)))
    shared = "model.embeddings.tok_embeddings" if head == "masked-lm" else ""
    return Model(layers=tuple(layers), prefix="model", output=shared)
