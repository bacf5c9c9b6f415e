"""What a method adds to the scripts: what makes the model that is trained, and its imports."""

from __future__ import annotations

from recipec.emit.part import Part
from recipec.emit.tasks import KINDS
from recipec.plan.plan import Settings

WORDS = {"full": "full fine-tuning", "lora": "LoRA"}
"""The method's name in a sentence."""

ADAPTERS = ("lora",)
"""Methods whose weights are saved apart from the model's, by peft."""


def method_part(settings: Settings) -> Part:
    """The words and imports of the settings' method."""
    adapter = settings.method.type in ADAPTERS
    head = KINDS[settings.task.type].has_head
    return Part(
        words={
            "method_words": WORDS[settings.method.type],
            "is_adapter": adapter,
            "make_model": "add_adapter(load_base(run.model))"
            if adapter
            else "load_base(run.model)",
            **_base(settings),
        },
        train={
            "peft": ["LoraConfig", "PeftModel", "get_peft_model"] if adapter else [],
            "recipec_runtime.modeling": ["head_layers"] if adapter and head else [],
        },
    )


def _base(settings: Settings) -> dict[str, str | None]:
    """What a saved adapter says it belongs to: a name that holds on every machine."""
    scheme, _, rest = settings.model.source.partition(":")
    if scheme == "hub":
        return {"base_model": rest.partition("@")[0], "base_revision": settings.model.commit}
    return {"base_model": settings.model.source, "base_revision": None}
