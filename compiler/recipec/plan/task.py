"""What the plan decides of `task`: columns, labels, how text is read."""

from __future__ import annotations

from recipec.catalog import support
from recipec.pins.lockfile import Lock
from recipec.plan.ledger import Ledger
from recipec.plan.plan import TaskSettings
from recipec.recipe.columns import columns_of
from recipec.recipe.schema import Recipe


def plan_task(recipe: Recipe, lock: Lock, ledger: Ledger) -> TaskSettings:
    """The task's settings; labels are the lock's."""
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
        prefix=task.prefix,
        chat_template=_chat_template(recipe, ledger),
        train_on=task.train_on,
        doc_stride=_doc_stride(recipe, ledger),
        source_language=task.source_language,
        target_language=task.target_language,
    )


def _chat_template(recipe: Recipe, ledger: Ledger) -> str:
    if "task.chat_template" not in support.tasks()[recipe.task.type].knobs:
        return ""
    return ledger.choose(
        "task.chat_template", recipe.task.chat_template, "model", "the one that it was trained with"
    )


def _doc_stride(recipe: Recipe, ledger: Ledger) -> int:
    if "task.doc_stride" not in support.tasks()[recipe.task.type].knobs:
        return 0
    return ledger.choose(
        "task.doc_stride",
        recipe.task.doc_stride,
        128,
        "as BERT's authors on SQuAD (arXiv:1810.04805)",
        "tokens",
    )
