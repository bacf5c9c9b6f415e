"""What the runtime's methods do to tiny models, as JSON: which weights train, what comes out.

Run as a program (`python parts.py TYPE...`, the models to put bottlenecks into): torch must not be
imported by the tests themselves.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipec_runtime import bottleneck, trainable
from recipec_runtime.errors import RunError
from recipec_runtime.modeling import decay_groups
from tests.support.models import DECODERS, ENCODERS, SEQ2SEQ, make_model

VOCABULARY = 60


def model_of(model_type: str, kind: str = "") -> Any:
    """A tiny random model; with a new head of three classes if `kind` names the auto class's."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    if not kind:
        return make_model(model_type, VOCABULARY).eval()
    shape = (ENCODERS | DECODERS | SEQ2SEQ)[model_type]
    config = hf.AutoConfig.for_model(
        model_type, vocab_size=VOCABULARY, num_labels=3, **{**shape, "pad_token_id": 0}
    )
    model = getattr(hf, f"AutoModelFor{kind}").from_config(config).eval()
    head = ("classifier", "score", "qa_outputs", "pooler")
    model.missing = sorted(n for n, _ in model.named_parameters() if n.split(".")[0] in head)
    return model


def trained(model: Any) -> list[str]:
    """Names of the parameters with a gradient."""
    return [name for name, p in model.named_parameters() if p.requires_grad]


def said(action: Callable[[], Any]) -> str:
    """The error that an action ends with, as a user reads it."""
    try:
        action()
    except RunError as error:
        return error.render()
    return ""


def output(model: Any) -> Any:
    """What the model says to a fixed input, as nested lists."""
    import torch

    inputs = {"input_ids": torch.arange(12).view(2, 6) + 3}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.arange(8).view(2, 4) + 3
    with torch.no_grad():
        return model(**inputs)[0]


def roles() -> dict[str, Any]:
    """Names that each role has in some models; errors for what is not there."""
    models = {
        name: model_of(name) for name in ("gpt2", "mixtral", "qwen2_moe", "t5", "bart", "llama")
    }
    models["bert"] = model_of("bert", "SequenceClassification")
    return {
        name: {role: _found(model, role) for role in trainable.ROLES}
        for name, model in models.items()
    } | {"error": said(lambda: trainable.matching(models["llama"], "positions"))}


def _found(model: Any, role: str) -> list[str]:
    try:
        return trainable.matching(model, role)
    except RunError:
        return []


def choices() -> dict[str, Any]:
    """freeze, train_only, layers_to_train, and what they refuse."""
    found: dict[str, Any] = {}
    model = model_of("bert", "SequenceClassification")
    trainable.freeze(model, ["embeddings", "positions", r"layer\.0\."])
    found["left after freeze"] = trained(model)
    trainable.train_only(model, ["norms"], new=model.missing)
    found["norms and head"] = trained(model)
    found["layers"] = trainable.layers_to_train(model, ["norms"], new=model.missing)
    found["partial"] = said(lambda: trainable.layers_to_train(model, [r"query\.bias"]))
    found["nothing"] = said(lambda: trainable.freeze(model, ["encodr.layer"]))
    gpt2 = model_of("gpt2")
    found["tied"] = said(lambda: trainable.layers_to_train(gpt2, ["embeddings"]))
    found["names"] = said(lambda: trainable.check_names(gpt2, ["c_attn", "c_atn"]))
    found["ranks"] = said(lambda: trainable.check_ranks(gpt2, ["c_fc"], ["c_attn"]))
    found["ranks that fit"] = said(lambda: trainable.check_ranks(gpt2, ["h.0.*c_attn"], ["c_attn"]))
    found["linear"] = {n: trainable.linear_layers(model_of(n)) for n in ("gpt2", "mixtral", "t5")}
    trainable.train_only(gpt2, [])
    found["all frozen"] = said(lambda: trainable.announce(gpt2))
    return found


def announced() -> dict[str, str]:
    """The line before step one, by method."""
    from peft import LoraConfig, get_peft_model

    model = model_of("llama")
    found = {"full": _line(model)}
    trainable.train_only(model, ["norms"])
    found["norms"] = _line(model)
    targets = ["q_proj"]
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    found["lora"] = _line(adapted)
    groups = decay_groups(adapted, 0.1, lora_plus_ratio=16.0)
    found["groups"] = json.dumps(
        [[sum(p.numel() for p in g["params"]), g.get("rate"), g["weight_decay"]] for g in groups]
    )
    return found


def _line(model: Any) -> str:
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        trainable.announce(model)
    return stream.getvalue()


def bottlenecks(patterns: dict[str, list[str]]) -> dict[str, Any]:
    """Of every model type: whether adapters start idle, matter once trained, and load again."""
    return {name: _bottleneck(name, layers) for name, layers in patterns.items()}


def _bottleneck(model_type: str, patterns: list[str]) -> dict[str, Any]:
    import torch

    model, plain = model_of(model_type), output(model_of(model_type))
    bottleneck.add(model, patterns, reduction_factor=4, also_train=["norms"])
    idle = torch.equal(output(model.eval()), plain)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    changed = output(model)
    with tempfile.TemporaryDirectory() as folder:
        bottleneck.save(model, folder, "path:models/tiny")
        again = output(bottleneck.load(model_of(model_type), folder).eval())
        files = sorted(path.name for path in Path(folder).iterdir())
        other = said(
            lambda: bottleneck.load(model_of("gpt2" if model_type != "gpt2" else "bert"), folder)
        )
    return {
        "idle": idle,
        "matters": not torch.equal(changed, plain),
        "loads": torch.equal(changed, again),
        "files": files,
        "layers": len(model.bottleneck["layers"]),
        "other": other,
    }


def main(types: Sequence[str]) -> None:
    """Print everything, with bottlenecks in models of these types."""
    from recipec.catalog import support

    known = support.models()
    patterns = {
        name: [known[name].attention_outputs, known[name].feedforward_outputs] for name in types
    }
    found = {
        "announced": announced(),
        "bottlenecks": bottlenecks(patterns),
        "choices": choices(),
        "idle pattern": said(
            lambda: bottleneck.add(model_of("bert"), [r"\.nowhere$"], reduction_factor=2)
        ),
        "roles": roles(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
