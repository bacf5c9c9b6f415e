"""The model card's front matter, as model hubs read it.

In: settings. Out: YAML whose every value is JSON, serialised from data. The prose is a template.
"""

from __future__ import annotations

import json

from recipec.emit.methods import ADAPTERS
from recipec.plan.plan import Settings

PIPELINES = {
    "summarization": "summarization",
    "text-to-text": "text2text-generation",
    "translation": "translation",
    "causal-lm": "text-generation",
    "instruction": "text-generation",
    "masked-lm": "fill-mask",
    "span-corruption": "text2text-generation",
    "sequence-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
}
"""Hub's word for each task."""


def front_matter(settings: Settings) -> str:
    """The block between `---` lines; JSON is YAML, so no string can end it early."""
    scheme, _, rest = settings.model.source.partition(":")
    facts: dict[str, object] = {
        "base_model": rest.partition("@")[0] if scheme == "hub" else settings.model.source,
        "library_name": "peft" if settings.method.type in ADAPTERS else "transformers",
        "license": settings.model.license,
        "pipeline_tag": PIPELINES[settings.task.type],
        "tags": ["recipec", *([settings.domain] if settings.domain else [])],
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in facts.items() if value is not None]
    return "\n".join(["---", *lines, "---", "", ""])
