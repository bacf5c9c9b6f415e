"""What torch itself says of weights, trained weights and what autograd keeps, as JSON.

Run as a program (`python weights.py < questions.json`): torch must not be imported by the tests
themselves. Weights and trained weights are counted on torch's meta device; what is kept is what
autograd's own hooks see while a tiny model computes.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.models import DECODERS, ENCODERS, SEQ2SEQ
from tests.support.modules import KINDS

NEW = ("question-answering", "sequence-classification", "token-classification")
PEFT = {
    "causal-lm": "CAUSAL_LM",
    "seq2seq-lm": "SEQ_2_SEQ_LM",
    "question-answering": "QUESTION_ANS",
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
}
ROWS, LENGTH, TARGET, WORDS, LABELS = 3, 20, 14, 301, 3
DEPTHS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
DEPTHS_OF_BOTH = ("encoder_layers", "decoder_layers")


def config_of(model_type: str, head: str, more: Mapping[str, Any]) -> Any:
    """The config of a tiny model."""
    import transformers as hf

    shape = {**(ENCODERS | DECODERS | SEQ2SEQ)[model_type], **more}
    config = hf.AutoConfig.for_model(model_type, **{"vocab_size": WORDS, **shape})
    if head != "causal-lm" and config.pad_token_id is None:
        config.pad_token_id = 0
    config.num_labels = LABELS if head != "question-answering" else 2
    return config


def model_of(config: Any, head: str, **more: Any) -> Any:
    """The model with that head."""
    import transformers as hf

    return getattr(hf, f"AutoModelFor{KINDS[head]}").from_config(config, **more)


def weights(question: Mapping[str, Any]) -> dict[str, Any]:
    """config.json, and every parameter's shape by name."""
    import torch

    config = config_of(question["type"], question["head"], question.get("config", {}))
    with torch.device("meta"):
        model = model_of(config, question["head"])
    return {
        "config": json.loads(config.to_json_string()),
        "parameters": {name: list(p.shape) for name, p in model.named_parameters()},
    }


def trained(question: Mapping[str, Any]) -> dict[str, Any]:
    """How many weights a method trains."""
    import torch

    config = config_of(question["type"], question["head"], {})
    with torch.device("meta"):
        model = model_of(config, question["head"])
    model = tuned(model, question["head"], question["method"])
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"config": json.loads(config.to_json_string()), "trained": count}


def tuned(model: Any, head: str, method: Mapping[str, Any]) -> Any:
    """The model as the emitted script would tune it."""
    import peft

    from recipec_runtime import bottleneck
    from recipec_runtime.modeling import head_layers
    from recipec_runtime.trainable import freeze, layers_to_train, train_only

    base = f"{model.base_model_prefix}."
    names = [name for name, _ in model.named_parameters()] if head in NEW else []
    missing = [n for n in names if not n.startswith(base) or "pooler.dense" in n]
    kind, also = method["type"], method.get("also_train", [])
    if kind in ("full", "layernorm"):
        if kind == "layernorm":
            train_only(model, ["norms", *also], new=missing)
        freeze(model, method.get("freeze", []))
        return model
    if kind == "bottleneck":
        factor = method["reduction_factor"]
        layers = method["adapted_layers"]
        bottleneck.add(model, layers, reduction_factor=factor, also_train=also, new=missing)
        return model
    whole = head_layers(model, missing) if missing else None
    if also:
        whole = layers_to_train(model, also, new=missing)
    tokens = {"task_type": PEFT.get(head), "num_virtual_tokens": method.get("virtual_tokens")}
    if kind == "lora":
        config: Any = peft.LoraConfig(
            r=method["rank"],
            rank_pattern=dict(method.get("ranks", [])),
            target_modules=method["target_modules"],
            target_parameters=method.get("target_parameters") or None,
            use_dora=method.get("dora", False),
            modules_to_save=whole,
        )
    elif kind == "ia3":
        config = peft.IA3Config(
            target_modules=method["target_modules"],
            feedforward_modules=method["feedforward_modules"],
            modules_to_save=whole,
        )
    elif kind == "prefix":
        projects = method.get("projection", False)
        config = peft.PrefixTuningConfig(
            **tokens, prefix_projection=projects, modules_to_save=whole
        )
    else:
        config = peft.PromptTuningConfig(
            **tokens,
            num_transformer_submodules=1,
            token_dim=model.get_input_embeddings().embedding_dim,
            num_attention_heads=model.config.num_attention_heads,
            modules_to_save=whole,
        )
    return peft.get_peft_model(model, config)


def kept(question: Mapping[str, Any]) -> dict[str, Any]:
    """Bytes that a model of four layers keeps for its backward pass over one of two layers."""
    found = {layers: _kept(question, layers) for layers in (2, 4)}
    config, more = found[4]
    more.subtract(found[2][1])
    assert all(count >= 0 for count in more.values()), more
    tensors = sorted((size, shape, count) for (size, shape), count in more.items() if count)
    return {
        "config": config,
        "bytes": sum(size * count for size, _, count in tensors),
        "tensors": [list(row) for row in tensors],
    }


def _kept(question: Mapping[str, Any], layers: int) -> tuple[Any, Counter[tuple[int, str]]]:
    import torch

    from recipec_runtime.modeling import set_dropout

    model_type, head = question["type"], question["head"]
    shape = (ENCODERS | DECODERS | SEQ2SEQ)[model_type]
    both = DEPTHS_OF_BOTH if "encoder_layers" in shape else ()
    deep = {key: layers for key in (*DEPTHS, *both) if key in shape}
    config = config_of(model_type, head, deep)
    if question["dropout"] is not None:
        set_dropout(config, question["dropout"])
    plain = json.loads(config.to_json_string())
    dtype = getattr(torch, question["dtype"])
    model = model_of(config, head, attn_implementation=question["attention"], dtype=dtype)
    model = tuned(model, head, question["method"]).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, tuple[int, str]] = {}
    alive = []

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            words = f"{list(tensor.shape)} {tensor.dtype}"
            seen.setdefault(storage.data_ptr(), (storage.nbytes(), words))
            alive.append(storage)  # else its memory could be another tensor's soon
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**_batch(head))
    return plain, Counter(seen.values())


def _batch(head: str) -> dict[str, Any]:
    """Rows of which one is padded."""
    import torch

    ids = torch.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) + 3
    mask = torch.ones_like(ids)
    mask[0, -3:] = 0
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if head == "seq2seq-lm":
        batch["decoder_input_ids"] = torch.arange(ROWS * TARGET).reshape(ROWS, TARGET) + 3
    if head in ("seq2seq-lm", "causal-lm"):
        batch["use_cache"] = False
    return batch


def main() -> None:
    """Answer every question, in order."""
    import torch

    torch.set_num_threads(1)
    asked: Sequence[Mapping[str, Any]] = json.load(sys.stdin)
    kinds = {"weights": weights, "trained": trained, "kept": kept}
    print(json.dumps([kinds[one["ask"]](one) for one in asked]))


if __name__ == "__main__":
    main()
