"""Pass: plan. A recipe, its lock and the model's facts in; every number with its reason out.

Pure: it reads no file and asks no machine, so the same inputs plan the same everywhere. A module
for each section of the recipe decides what that section left open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipec.pins.lockfile import Lock
from recipec.plan.batches import guessed_blocks, reads_blocks
from recipec.plan.corpus import corpus_recipe
from recipec.plan.evaluation import plan_evaluation, plan_hardware
from recipec.plan.image import plan_image
from recipec.plan.ledger import Ledger
from recipec.plan.method import plan_method
from recipec.plan.model import plan_model
from recipec.plan.plan import Plan, Settings
from recipec.plan.task import plan_task
from recipec.plan.training import plan_training
from recipec.recipe.schema import Recipe


def make_plan(
    recipe: Recipe, lock: Lock, *, family: str, model_type: str, config: Mapping[str, Any]
) -> Plan:
    """Decide everything that the recipe left open; `config` is the model's config.json.

    Raises DoesNotFit where a GPU has too little memory for the run.
    """

    def decide(one: Recipe) -> Plan:
        return _decided(one, lock, family=family, model_type=model_type, config=config)

    if recipe.hardware.accelerator == "cpu":
        return decide(recipe)
    from recipec.plan.room import with_room

    return with_room(recipe, decide, config)


def _decided(
    recipe: Recipe, lock: Lock, *, family: str, model_type: str, config: Mapping[str, Any]
) -> Plan:
    ledger = Ledger()
    rows = {file.split: file.rows for file in lock.data}
    task = plan_task(recipe, lock, config, ledger)
    model = plan_model(recipe, lock, ledger, family=family, model_type=model_type, config=config)
    method = plan_method(recipe, ledger, model_type=model_type, config=config)
    if reads_blocks(recipe):
        size = next(file.size for file in lock.data if file.split == "train")
        count = guessed_blocks(recipe, size, config)
    else:
        count = rows["train"]
    training = plan_training(recipe, count, config, ledger)
    evaluation = plan_evaluation(recipe, training, ledger)
    hardware = plan_hardware(recipe, ledger)
    if recipe.domain.corpus is not None:
        plain = corpus_recipe(recipe, family)
        ledger.note(
            "domain.corpus",
            f"{plain['name']} ({plain['task']['type']})",
            "a recipe of its own reads the text before the task; `recipec plan` shows it too",
        )
    plan_image(recipe, lock, ledger)
    settings = Settings(
        name=recipe.name,
        domain=recipe.domain.name,
        task=task,
        model=model,
        method=method,
        training=training,
        evaluation=evaluation,
        hardware=hardware,
        train_rows=rows["train"],
        validation_rows=rows.get("validation", 0),
        test_rows=rows.get("test", 0),
    )
    return Plan(settings=settings, decisions=tuple(ledger.decisions))
