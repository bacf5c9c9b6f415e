"""train.py, evaluate.py, run.json and the model card of one recipe.

In: `Settings` and `Lock`. Out: a `Bundle`. Everything that a template needs beyond the settings is
worded here, so the templates hold no logic past if and for over ready fields.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

from recipec.emit.bundle import Bundle
from recipec.emit.card import front_matter
from recipec.emit.literal import assignment, from_import, literal, markdown, prose
from recipec.emit.run_json import run_json
from recipec.pins.lockfile import Lock
from recipec.plan.plan import Settings

if TYPE_CHECKING:
    from jinja2 import Environment

KINDS = {
    "summarization": "text_to_text",
    "text-to-text": "text_to_text",
    "causal-lm": "causal_lm",
    "sequence-classification": "sequence_classification",
}
"""Task of the recipe to the folder of templates that trains it."""

MODEL_CLASSES = {
    "text_to_text": "AutoModelForSeq2SeqLM",
    "causal_lm": "AutoModelForCausalLM",
    "sequence_classification": "AutoModelForSequenceClassification",
}
ROW_FIELDS = {
    "text_to_text": ("SOURCE", "TARGET"),
    "causal_lm": ("TEXT",),
    "sequence_classification": ("TEXT", "LABEL"),
}
METHOD_WORDS = {"full": "full fine-tuning", "lora": "LoRA"}
SCHEDULE_WORDS = {
    "cosine": "down to zero along half a cosine",
    "linear": "down to zero on a line",
    "constant": "always the same",
}


def emit_bundle(settings: Settings, lock: Lock) -> Bundle:
    """The scripts, run.json and model card of a recipe: the same bytes for the same arguments."""
    context = _context(settings)
    files = {
        name: _render(f"{name}.j2", context).encode("ascii") for name in ("train.py", "evaluate.py")
    }
    card = front_matter(settings) + _render("card.md.j2", context)
    files["README.md"] = card.encode("utf-8")
    files["run.json"] = run_json(settings, lock, files)
    return Bundle.of(files)


def _render(template: str, context: dict[str, Any]) -> str:
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("recipec_templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "py": literal,
        "assign": assignment,
        "prose": prose,
        "md": markdown,
    }
    return environment


def _context(settings: Settings) -> dict[str, Any]:
    kind = KINDS[settings.task]
    smooth = settings.label_smoothing > 0
    lora = settings.method == "lora"
    has_head = kind == "sequence_classification"
    never_clips = settings.max_grad_norm == 0
    return {
        **{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)},
        "kind": kind,
        "row_fields": ", ".join(ROW_FIELDS[kind]),
        "split": measured_split(settings),
        "method_words": METHOD_WORDS[settings.method],
        "schedule_words": _schedule_words(settings),
        "beams_words": _beams_words(settings.num_beams),
        "perplexity_words": " and its exponential" if "perplexity" in settings.metrics else "",
        "max_grad_norm_text": "math.inf  # gradients are never scaled down"
        if never_clips
        else f"{literal(settings.max_grad_norm)}  # gradients are scaled down to this norm at most",
        "smoothing_parameter": ", smoothing=0.0" if smooth else "",
        "smoothing_argument": ", LABEL_SMOOTHING" if smooth else "",
        "smoothing_pass": ", smoothing" if smooth else "",
        "imports_math": never_clips or settings.schedule == "cosine",
        "imports": _train_imports(settings, kind),
        "evaluate_imports": _evaluate_imports(settings, kind),
        "has_head": has_head,
        "make_model": "add_adapter(load_base(run.model))" if lora else "load_base(run.model)",
        **_base(settings),
    }


def measured_split(settings: Settings) -> str:
    """The split that evaluate.py reads: the best that the recipe has."""
    if settings.test_rows:
        return "test"
    return "validation" if settings.validation_rows else "train"


def _base(settings: Settings) -> dict[str, str | None]:
    """What a saved adapter says it belongs to: a name that holds on every machine."""
    scheme, _, rest = settings.model_source.partition(":")
    if scheme == "hub":
        return {"base_model": rest.partition("@")[0], "base_revision": settings.model_commit}
    return {"base_model": settings.model_source, "base_revision": None}


def _schedule_words(settings: Settings) -> str:
    words = SCHEDULE_WORDS[settings.schedule]
    return f"up on a line, then {words}" if settings.warmup_steps else words


def _beams_words(beams: int) -> str:
    if beams == 1:
        return "always the likeliest next token (greedy)"
    return "texts that are kept in view while generating"


def _train_imports(settings: Settings, kind: str) -> list[str]:
    modeling = ["apart", "decay_groups"]
    transformers = ["AutoTokenizer", MODEL_CLASSES[kind]]
    if settings.dropout is not None:
        modeling.append("set_dropout")
    if settings.dropout is not None or kind == "sequence_classification":
        transformers.append("AutoConfig")
    if settings.method == "lora" and kind == "sequence_classification":
        modeling.append("head_layers")
    metrics = {
        "text_to_text": ["rouge"],
        "causal_lm": ["perplexity"] if "perplexity" in settings.metrics else [],
        "sequence_classification": ["classification"],
    }[kind]
    peft = ["LoraConfig", "PeftModel", "get_peft_model"] if settings.method == "lora" else []
    return _imports(
        {
            "peft": peft,
            "recipec_runtime.data": [
                "batches",
                "epoch_order",
                *(["split_rows"] if settings.accumulation > 1 else []),
            ],
            "recipec_runtime.loop": ["Loop"],
            "recipec_runtime.metrics": metrics,
            "recipec_runtime.modeling": modeling,
            "recipec_runtime.run": ["Run"],
            "transformers": transformers,
        }
    )


def _evaluate_imports(settings: Settings, kind: str) -> list[str]:
    train = ["SEED", "evaluate", "load_base", "load_tokenizer", "load_tuned", *ROW_FIELDS[kind]]
    metrics: list[str] = []
    if settings.task == "summarization":
        metrics = ["lead_sentence", "rouge"]
        train.append("METRICS")
    if kind == "sequence_classification":
        metrics = ["classification"]
        train.append("LABELS")
    return _imports(
        {
            "recipec_runtime.metrics": metrics,
            "recipec_runtime.run": ["Run"],
            "train": train,
        }
    )


def _imports(modules: dict[str, list[str]]) -> list[str]:
    return [from_import(module, names) for module, names in sorted(modules.items()) if names]
