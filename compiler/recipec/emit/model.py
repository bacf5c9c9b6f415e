"""What the model adds to the scripts: how its folder becomes a model in memory."""

from __future__ import annotations

from recipec.catalog import support
from recipec.emit.part import Part
from recipec.emit.tasks import kind_of
from recipec.plan.fit import HEADS
from recipec.plan.plan import Settings

DTYPES = {"float32": "32-bit floats", "bfloat16": "bfloat16", "float16": "16-bit floats"}
"""Types of weights in a sentence."""


def model_part(settings: Settings) -> Part:
    """The words and imports of the settings' model and of the task's head on it."""
    model, kind = settings.model, kind_of(settings)
    pads = kind.has_head and model.family == "decoder-only"
    changes = {
        "set_dropout": model.dropout is not None,
        "set_rope": model.rope is not None,
    }
    needs_config = kind.has_head or any(changes.values())
    names = support.models().get(model.type)
    base = names.renamed.get(HEADS[settings.task.type]) if names is not None else None
    return Part(
        words={
            "head": kind.head,
            "renamed_to": f"{base}." if base else "",
            "has_head": kind.has_head,
            "needs_config": needs_config,
            "pads_with_end": pads,
            "model_class": kind.model_class,
            "problem_type": _problem_type(settings),
            "base_words": _base_words(settings),
            "balances_experts": _balances(settings),
            "routers_argument": ", routers" if _balances(settings) else "",
        },
        train={
            "recipec_runtime.experts": ["Routers"] if model.experts else [],
            "recipec_runtime.modeling": [name for name, used in changes.items() if used],
            "transformers": [
                "AutoTokenizer",
                kind.model_class,
                *(["AutoConfig"] if needs_config else []),
            ],
        },
    )


def _balances(settings: Settings) -> bool:
    """Whether the routers' loss is added to the task's."""
    return settings.model.experts > 0 and settings.model.router_loss > 0


def _problem_type(settings: Settings) -> str:
    if settings.task.type != "sequence-classification":
        return ""
    many = settings.task.multi_label
    return "multi_label_classification" if many else "single_label_classification"


def _base_words(settings: Settings) -> str:
    words = f"The model in {DTYPES[settings.model.dtype]}"
    match kind_of(settings).head:
        case "labels":
            return f"{words}, with an output per class; what its files lack is made new."
        case "span":
            return f"{words}, with a start and end per token; new where files lack it."
    return f"{words}."
