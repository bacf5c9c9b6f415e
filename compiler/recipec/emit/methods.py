"""What a method adds to the scripts: what makes the model that is trained, and its imports."""

from __future__ import annotations

from typing import Any

from recipec.catalog import support
from recipec.emit.device import on_gpu
from recipec.emit.parallel import many, shards, spread
from recipec.emit.part import Part
from recipec.emit.tasks import kind_of
from recipec.plan.plan import Settings

WORDS = {
    "full": "full fine-tuning",
    "layernorm": "its normalisation layers trained",
    "lora": "LoRA",
    "qlora": "QLoRA",
    "bottleneck": "bottleneck adapters",
    "prefix": "prefix tuning",
    "prompt": "prompt tuning",
    "ia3": "IA3",
}
"""The method's name in a sentence."""

ADAPTERS = ("ia3", "lora", "prefix", "prompt", "qlora")
"""Methods whose weights are saved apart from the model's, by peft."""

_CONFIGS = {
    "ia3": "IA3Config",
    "lora": "LoraConfig",
    "prefix": "PrefixTuningConfig",
    "prompt": "PromptTuningConfig",
    "qlora": "LoraConfig",
}
_TASKS = {
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
}
"""peft's word for a model with such a head, which says how virtual tokens enter it."""

NEVER_QUANTIZED = ("lm_head", "pooler.dense")
"""Layers that stay in full precision beside the heads: a model's files may lack them."""

ROLES = {
    "embeddings": "embeddings",
    "gates": "gates of the experts",
    "head": "head",
    "norms": "normalisation layers",
    "positions": "trained positions",
}


def method_part(settings: Settings) -> Part:
    """The words and imports of the settings' method."""
    method = settings.method
    wraps = method.type != "full" or bool(method.freeze)
    return Part(
        words={
            "method_words": WORDS[method.type],
            "is_adapter": method.type in ADAPTERS,
            "is_apart": method.type in (*ADAPTERS, "bottleneck"),
            "make_model": spread(
                settings,
                f"{'trainable' if wraps else 'announce'}(load_base(run.model))",
                trains=True,
            ),
            "save_model": _save(settings),
            "trained_layers": _trained_layers(settings),
            "also_words": _also_words(settings),
            "peft_task": _TASKS.get(kind_of(settings).model_class, ""),
            "ranks": dict(method.ranks),
            "not_quantized": _not_quantized(settings) if method.quantization else [],
            **_base(settings),
        },
        train=_imports(settings),
    )


def _save(settings: Settings) -> str:
    if settings.method.type == "bottleneck":
        return f"bottleneck.save({_unwrapped(settings)}, folder, BASE_MODEL)"
    weights = ", state_dict=weights" if shards(settings) else ""
    return f"model.save_pretrained(folder{weights})"


def _unwrapped(settings: Settings) -> str:
    """Source of the model with whole weights under their own names."""
    if shards(settings):
        return "gathered(model, weights)"
    return "model.module" if many(settings) else "model"


def _imports(settings: Settings) -> dict[str, list[str]]:
    method = settings.method
    plain = method.quantization == "nf4" and not on_gpu(settings)
    return {
        "peft": [_CONFIGS[method.type], "PeftModel", "get_peft_model"]
        if method.type in ADAPTERS
        else [],
        "recipec_runtime": ["bottleneck"] if method.type == "bottleneck" else [],
        "recipec_runtime.modeling": ["head_layers"]
        if _trained_layers(settings).startswith("head_layers")
        else [],
        "recipec_runtime.quantized": ["plain_kernels"] if plain else [],
        "recipec_runtime.trainable": _helpers(settings),
        "recipec_runtime.virtual": ["without_virtual_tokens"] if method.type == "prompt" else [],
        "transformers": ["BitsAndBytesConfig"] if method.quantization else [],
    }


def _helpers(settings: Settings) -> list[str]:
    method = settings.method
    layered = method.type in ("lora", "qlora", "ia3")
    wanted = {
        "announce": True,
        "check_names": layered and method.targets_given,
        "check_ranks": bool(method.ranks),
        "freeze": bool(method.freeze),
        "layers_to_train": _trained_layers(settings).startswith("layers_to_train"),
        "linear_layers": layered and not method.target_modules,
        "train_only": method.type == "layernorm",
    }
    return [name for name, used in wanted.items() if used]


def _trained_layers(settings: Settings) -> str:
    """What peft trains whole beside its adapter, as source; empty for nothing."""
    if settings.method.type not in ADAPTERS:
        return ""
    head = kind_of(settings).has_head
    if settings.method.also_train:
        return f"layers_to_train(model, ALSO_TRAIN{', new=model.missing' if head else ''})"
    return "head_layers(model, model.missing)" if head else ""


def _also_words(settings: Settings) -> str:
    """What is trained beside the method's own weights, in a sentence; empty for nothing."""
    also, new = settings.method.also_train, kind_of(settings).has_head
    parts = ["the new head"] if new else []
    parts += [
        f"the {ROLES[word]}" for word in also if word in ROLES and not (new and word == "head")
    ]
    if any(word not in ROLES for word in also):
        parts.append("weights chosen by name")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


def _not_quantized(settings: Settings) -> list[str]:
    names = support.models().get(settings.model.type)
    heads = names.heads.values() if names else ()
    return sorted({*NEVER_QUANTIZED, *(name for head in heads for name in head)})


def _base(settings: Settings) -> dict[str, Any]:
    """What a saved adapter says it belongs to: a name that holds on every machine."""
    scheme, _, rest = settings.model.source.partition(":")
    if settings.adapted is not None:
        # not the recipe's model, but the one that came of it when it had read the corpus
        return {
            "base_model": f"path:build/{settings.adapted[0]}/train/model",
            "base_revision": None,
        }
    if scheme == "hub":
        return {"base_model": rest.partition("@")[0], "base_revision": settings.model.commit}
    return {"base_model": settings.model.source, "base_revision": None}
