"""What transformers itself says of every tiny model of tests/support/models.py, as JSON.

Run as a program (`python modules.py`): torch must not be imported by the tests themselves. Names
come from models on torch's meta device, so that no weight is ever computed.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

KINDS = {
    "causal-lm": "CausalLM",
    "masked-lm": "MaskedLM",
    "question-answering": "QuestionAnswering",
    "seq2seq-lm": "Seq2SeqLM",
    "sequence-classification": "SequenceClassification",
    "token-classification": "TokenClassification",
}
"""Kinds of head to the ends of transformers' auto classes."""


def facts(config: Any) -> dict[str, Any]:
    """Of one architecture: flags, modules and parameters by name, and every head it has."""
    import torch
    import transformers as hf

    with torch.device("meta"):
        base = hf.AutoModel.from_config(config)
        heads = {}
        for kind, end in KINDS.items():
            auto = getattr(hf, f"AutoModelFor{end}")
            if type(config) in auto._model_mapping:
                heads[kind] = head_of(auto.from_config(config), base)
    return {
        "flags": {
            name: bool(getattr(base, f"_supports_{name}"))
            for name in ("sdpa", "flex_attn", "flash_attn")
        },
        "modules": {
            name: {
                "kind": type(module).__name__,
                "bases": [kind.__name__ for kind in type(module).__mro__],
                "length": len(module) if isinstance(module, torch.nn.ModuleList) else 0,
                "trained": any(True for _ in module.parameters(recurse=False)),
            }
            for name, module in base.named_modules()
        },
        "parameters": [name for name, _ in base.named_parameters()],
        "heads": heads,
    }


def head_of(model: Any, base: Any) -> dict[str, Any]:
    """What the class has beside the base model, and what it calls that."""
    inside = {name for name, _ in base.named_children()}
    return {
        "class": type(model).__name__,
        "base": model.base_model_prefix,
        "names": [
            name
            for name, child in model.named_children()
            if name != model.base_model_prefix
            and name not in inside  # T5 has its base model's parts beside its head
            and any(True for _ in child.parameters())
        ],
    }


def packing_error(model: Any) -> float:
    """How far logits of two documents in one row are from those of each alone, over the largest."""
    import inspect

    import torch

    documents = [torch.randint(3, 170, (1, length)) for length in (9, 13)]
    positions = torch.cat([torch.arange(9), torch.arange(13)])[None]
    takes = "position_ids" in inspect.signature(model.forward).parameters
    with torch.no_grad():
        alone = torch.cat([model(input_ids=ids, use_cache=False).logits for ids in documents], 1)
        packed = model(
            input_ids=torch.cat(documents, 1),
            use_cache=False,
            **({"position_ids": positions} if takes else {}),
        ).logits
    return float((packed - alone).abs().max() / alone.abs().max())


def _models() -> ModuleType:
    """The module beside this one, which is no package when this one is run as a program."""
    path = Path(__file__).with_name("models.py")
    spec = importlib.util.spec_from_file_location("models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print the facts of every type."""
    models = _models()
    shapes = models.ENCODERS | models.DECODERS | models.SEQ2SEQ
    import torch
    import transformers as hf

    found = {}
    for name, shape in shapes.items():
        config = hf.AutoConfig.for_model(name, vocab_size=180, **shape)
        found[name] = facts(config)
        if name in models.DECODERS:
            torch.manual_seed(0)
            model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
            found[name]["packing_error"] = packing_error(model.eval())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
