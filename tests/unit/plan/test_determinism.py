"""What is refused because its bytes differ between CPUs, as docs/portability.md measured it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recipec.catalog import support
from recipec.plan.refusals import WITH_SQUARE_ROOTS, method_faults
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema.method import Method
from recipec.recipe.schema.values import Reproducibility
from tests.support.methods import recipe_of


def faults(model_type: str, reproducibility: Reproducibility | None) -> list[Broken]:
    recipe = replace(recipe_of(Method(type="full")), reproducibility=reproducibility)
    return list(method_faults(recipe, model_type=model_type, config={}, longest=512))


@pytest.mark.parametrize("reproducibility", [None, "portable"])
def test_square_roots_are_not_portable(reproducibility: Reproducibility | None) -> None:
    (fault,) = faults("deberta", reproducibility)
    assert fault.path == ("architecture", "model")
    assert fault.message == (
        "a deberta model takes square roots, which differ in the last bit between CPUs, so the run"
        " cannot be portable"
    )
    assert fault.hint == "set `reproducibility: bitwise`, or choose another model"


def test_square_roots_repeat_on_one_cpu() -> None:
    assert [f for mode in ("bitwise", "seeded") for f in faults("deberta", mode)] == []


def test_every_model_of_the_catalogue_can_be_portable() -> None:
    assert not set(WITH_SQUARE_ROOTS) & set(support.models())
    assert [fault for name in support.models() for fault in faults(name, "portable")] == []
