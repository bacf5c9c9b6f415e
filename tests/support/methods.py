"""Settings with a method as the plan makes it, for any of the tiny models."""

from __future__ import annotations

from typing import Any

from recipec.catalog import support
from recipec.plan.ledger import Ledger
from recipec.plan.method import plan_method
from recipec.plan.plan import Settings
from recipec.plan.training import RATES
from recipec.recipe.schema import Recipe
from recipec.recipe.schema.architecture import Architecture
from recipec.recipe.schema.domain import Data, Domain
from recipec.recipe.schema.method import Method
from recipec.recipe.schema.task import Task
from tests.support.settings import vary


def recipe_of(method: Method, **architecture: Any) -> Recipe:
    """A recipe with this method and no other choice."""
    return Recipe(
        name="methods",
        task=Task(type="text-to-text"),
        domain=Domain(data=Data(train="data/train.jsonl")),
        architecture=Architecture(model="path:models/tiny", **architecture),
        method=method,
    )


def config_of(model_type: str) -> dict[str, Any]:
    """What the plan reads of a tiny model's config.json."""
    config: dict[str, Any] = {"model_type": model_type}
    if model_type == "mt5":
        config["feed_forward_proj"] = "gated-gelu"
    if model_type == "mixtral":
        config["num_local_experts"] = 4
    if model_type.endswith("_moe"):
        config["num_experts"] = 4
    return config


def with_method(
    settings: Settings, model_type: str, method: Method, **architecture: Any
) -> Settings:
    """The settings for a tiny model of this type, with the plan's choices for the method."""
    config, names = config_of(model_type), support.models()[model_type]
    planned = plan_method(
        recipe_of(method, **architecture), Ledger(), model_type=model_type, config=config
    )
    return vary(
        settings,
        method=planned,
        model__type=model_type,
        model__family=names.family,
        model__attention="sdpa" if "sdpa" in names.attention else "eager",
        model__experts=config.get("num_local_experts", config.get("num_experts", 0)),
        training__learning_rate=RATES[method.type][0],
    )
