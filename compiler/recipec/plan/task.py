"""What the plan decides of `task`: columns, labels, how text is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipec.catalog import support
from recipec.errors import Diagnostic, RecipeError
from recipec.pins.lockfile import Lock
from recipec.plan.batches import usual_length
from recipec.recipe.columns import columns_of
from recipec.recipe.rules.training import OBJECTIVES
from recipec.recipe.schema import Recipe

if TYPE_CHECKING:
    # `recipec check` asks this module about lengths and models, and plans nothing.
    from recipec.plan.ledger import Ledger
    from recipec.plan.plan import TaskSettings


def plan_task(
    recipe: Recipe, lock: Lock, config: Mapping[str, Any], ledger: Ledger
) -> TaskSettings:
    """The task's settings; labels are the lock's, `config` is the model's config.json.

    Raises RecipeError where the recipe and what the lock counted do not fit together.
    """
    from recipec.plan.plan import TaskSettings

    task = recipe.task
    columns = tuple(
        (
            part,
            ledger.choose(
                f"task.fields.{part}",
                getattr(task.fields, part),
                column,
                "the column of that name",
            ),
        )
        for part, column in columns_of(recipe).items()
    )
    return TaskSettings(
        type=task.type,
        columns=columns,
        labels=lock.labels,
        multi_label=task.multi_label,
        class_weights=_class_weights(recipe, lock, ledger),
        segments=_segments(columns, config),
        prefix=task.prefix,
        chat_template=_chat_template(recipe, ledger),
        train_on=task.train_on,
        doc_stride=_doc_stride(recipe, config, ledger),
        source_language=task.source_language,
        target_language=task.target_language,
        **_corruption(recipe, config, ledger),
    )


def _corruption(recipe: Recipe, config: Mapping[str, Any], ledger: Ledger) -> dict[str, float]:
    """How much is hidden of a text, and in how long spans."""
    task = recipe.task
    if task.type not in OBJECTIVES:
        return {}
    t5 = "as T5's authors (arXiv:1910.10683, section 3.3.4)"
    usual, reason = 0.15, "as BERT's authors (arXiv:1810.04805)"
    if task.type == "span-corruption":
        infills = config.get("model_type") in ("bart", "mbart")
        usual, reason = (0.3, "as BART's authors (arXiv:1910.13461)") if infills else (0.15, t5)
    found = {"mask_share": ledger.choose("task.mask_share", task.mask_share, usual, reason)}
    if task.type == "span-corruption":
        found["span_length"] = ledger.choose(
            "task.span_length", task.span_length, 3.0, t5, "tokens"
        )
    return {name: float(value) for name, value in found.items()}


def _chat_template(recipe: Recipe, ledger: Ledger) -> str:
    if "task.chat_template" not in support.tasks()[recipe.task.type].knobs:
        return ""
    return ledger.choose(
        "task.chat_template", recipe.task.chat_template, "model", "the one that it was trained with"
    )


def _segments(columns: tuple[tuple[str, str], ...], config: Mapping[str, Any]) -> bool:
    """Whether the model is told which text of a pair a token is in, as BERT is."""
    parts = {part for part, _ in columns}
    return bool(parts & {"pair", "context"}) and int(config.get("type_vocab_size") or 0) > 1


def _class_weights(recipe: Recipe, lock: Lock, ledger: Ledger) -> tuple[float, ...]:
    given, key = recipe.training.class_weights, "training.class_weights"
    if given is None:
        return ()
    if given != "balanced":
        for label in given:
            if label not in lock.labels:
                raise _refusal(
                    lock,
                    f"`training.class_weights` weighs {label!a}, which is no label of the data",
                    f"labels: {', '.join(lock.labels[:20])}",
                )
        return ledger.note(
            key,
            tuple(float(given.get(label, 1.0)) for label in lock.labels),
            "the recipe says so; labels that it does not name weigh 1",
            origin="recipe",
        )
    counts = dict(zip(lock.labels, lock.label_counts, strict=False))
    for label in lock.labels:
        if not counts.get(label):
            raise _refusal(
                lock,
                f"`training.class_weights: balanced` has no weight for {label!a}:"
                " no training row has it",
                "give weights by label, or take the label out of task.labels",
            )
    if recipe.task.multi_label:
        rows = next(file.rows for file in lock.data if file.split == "train")
        # as torch's pos_weight: both sides of each label then weigh the same
        weights = [(rows - counts[label]) / counts[label] for label in lock.labels]
        reason = "rows without the label / rows with it, on rows that have it"
        weights = [weight or 1.0 for weight in weights]
    else:
        total = sum(counts.values())
        weights = [total / (len(counts) * counts[label]) for label in lock.labels]
        reason = "rows / (classes * rows of the class)"
    return ledger.note(key, tuple(round(weight, 6) for weight in weights), reason)


def _doc_stride(recipe: Recipe, config: Mapping[str, Any], ledger: Ledger) -> int:
    if "task.doc_stride" not in support.tasks()[recipe.task.type].knobs:
        return 0
    return ledger.choose(
        "task.doc_stride",
        recipe.task.doc_stride,
        min(128, window_of(recipe, config) // 4),
        "BERT's authors took 128 on SQuAD (arXiv:1810.04805); a quarter of shorter windows",
        "tokens",
    )


def window_of(recipe: Recipe, config: Mapping[str, Any]) -> int:
    """Tokens of a window of question and context (question-answering)."""
    return recipe.training.max_length or usual_length("max_length", config)


def _refusal(lock: Lock, message: str, hint: str) -> RecipeError:
    return RecipeError([Diagnostic(file=lock.recipe, line=0, column=0, message=message, hint=hint)])
