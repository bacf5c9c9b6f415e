"""What the plan decides of batches, steps and lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipec.catalog import support
from recipec.plan.method import virtual_tokens
from recipec.plan.model import positions
from recipec.recipe.processes import world_size
from recipec.recipe.rules.training import OBJECTIVES
from recipec.recipe.schema import Recipe

if TYPE_CHECKING:
    # `recipec check` asks this module about lengths and models, and plans nothing.
    from recipec.plan.ledger import Ledger

_USUAL = {"max_source_length": 512, "max_target_length": 128, "max_length": 512}
"""Tokens."""
USUAL_BATCH = 16
"""Rows of a step."""
BYTES_OF_TOKEN = 4
"""Of English text, with vocabularies of tens of thousands of tokens."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Rows of a step, and how many steps there are."""

    epochs: int
    batch_size: int
    """Over all processes."""
    micro_batch_size: int
    """Of one process."""
    accumulation: int
    steps_per_epoch: int
    total_steps: int
    open_steps: bool
    """Whether the run has fewer steps if rows are dropped."""


def plan_batches(recipe: Recipe, train_rows: int, ledger: Ledger) -> Batches:
    """The numbers of rows and steps, for `train_rows` rows."""
    training = recipe.training
    blocks = reads_blocks(recipe)
    open_steps = (blocks or training.overlong == "drop") and training.steps is None
    at_most = "; fewer if rows are dropped" if open_steps else ""
    if blocks:
        at_most = "; guessed at 4 bytes a token, counted when training begins"
    many = world_size(recipe)
    size = ledger.choose("training.batch_size", training.batch_size, *_usual_batch(recipe), "rows")
    micro = ledger.choose(
        "training.micro_batch_size",
        training.micro_batch_size,
        size // many,
        "one forward pass a step" if many == 1 else "one forward pass of each process a step",
        "rows",
    )
    per_epoch = ledger.note(
        "training.steps_per_epoch",
        math.ceil(train_rows / size),
        f"{'about ' if blocks else ''}{train_rows:,} {'blocks' if blocks else 'rows'} in batches of"
        f" {size}; the last may be smaller{at_most}",
        "steps",
    )
    if training.steps is not None:
        total = ledger.note(
            "training.steps", training.steps, "the recipe says so", "steps", "recipe"
        )
        epochs = math.ceil(total / per_epoch)
        ledger.note("training.epochs", epochs, f"{total} steps begin the last of them", "epochs")
    else:
        epochs = ledger.choose(
            "training.epochs", training.epochs, 3, "what fine-tuning usually takes", "epochs"
        )
        total = ledger.note(
            "training.steps",
            epochs * per_epoch,
            f"{epochs} epochs of {per_epoch}{at_most}",
            "steps",
        )
    return Batches(
        epochs=epochs,
        batch_size=size,
        micro_batch_size=micro,
        accumulation=ledger.note(
            "training.accumulation",
            size // (micro * many),
            "batch_size / micro_batch_size"
            if many == 1
            else f"batch_size / micro_batch_size, by {many} processes",
        ),
        steps_per_epoch=per_epoch,
        total_steps=total,
        open_steps=open_steps,
    )


def _usual_batch(recipe: Recipe) -> tuple[int, str]:
    """The rows of a step where the recipe leaves them open, and why."""
    many, micro = world_size(recipe), recipe.training.micro_batch_size
    if micro is not None and many > 1:
        return micro * many, f"a micro-batch of each of {many} processes"
    size = micro or USUAL_BATCH
    if size % many:
        return -(-size // many) * many, f"the next to {size} that {many} processes share equally"
    return size, "a common size; small enough for a laptop"


def plan_lengths(recipe: Recipe, config: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
    """max_length, max_source_length and max_target_length; 0 for those that the task lacks."""
    longest = positions(config) - virtual_tokens(recipe)
    own = support.tasks()[recipe.task.type].knobs
    return {
        name: ledger.choose(
            f"training.{name}",
            getattr(recipe.training, name),
            min(usual, longest),
            _reason(usual, longest, windows=recipe.task.type == "question-answering"),
            "tokens",
        )
        if f"training.{name}" in own
        else 0
        for name, usual in _USUAL.items()
    }


def reads_blocks(recipe: Recipe) -> bool:
    """Whether all texts are joined and cut into blocks: how many is known when they are tokens."""
    return recipe.training.overlong == "split" or recipe.task.type in OBJECTIVES


def guessed_blocks(recipe: Recipe, size: int, config: Mapping[str, Any]) -> int:
    """About how many blocks the training texts make; `size` is that of their file in bytes."""
    length = recipe.training.max_length or usual_length("max_length", config)
    return max(1, math.ceil(size / BYTES_OF_TOKEN / length))


def usual_length(name: str, config: Mapping[str, Any]) -> int:
    """The length in tokens that a recipe gets that leaves `training.NAME` open."""
    return min(_USUAL[name], positions(config))


def _reason(usual: int, longest: int, *, windows: bool) -> str:
    if longest < usual:
        return f"the model has {longest} positions"
    if windows:
        return "longer contexts are read in several windows of that length"
    return "longer ones are cut; batches are padded only to their longest row"
