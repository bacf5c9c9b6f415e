"""prices.toml, and a user's own prices over it."""

from __future__ import annotations

import datetime

import pytest

from recipec.catalog.hardware import accelerators, machines
from recipec.catalog.prices import KINDS, Offer, list_prices, with_own
from recipec.errors import RecipeError

OWN = """
[aws]
region = "eu-central-1"
date = 2026-11-01
source = "our contract"
[aws.on_demand]
"p5.48xlarge" = 40
[google.spot]
"a2-highgpu-1g" = 1.5
"""


def test_list_prices_are_of_known_machines_and_dated() -> None:
    assert len(list_prices()) == 104
    for name, offer in list_prices().items():
        assert name in machines(), name
        for kind in KINDS:
            price = getattr(offer, kind)
            if price is not None:
                assert 0.01 < price.dollars < 200, name
                assert price.region, name
                assert price.source, name
                assert datetime.date.fromisoformat(price.date) >= datetime.date(2026, 6, 1), name
        if offer.spot is not None and offer.on_demand is not None:
            assert offer.spot.dollars < offer.on_demand.dollars, name


def test_the_same_card_costs_about_the_same_everywhere() -> None:
    """A price per card that is far from the others' is a slip of the pen."""
    for accelerator in accelerators():
        cards = [
            offer.on_demand.dollars / machines()[name].count
            for name, offer in list_prices().items()
            if machines()[name].accelerator == accelerator and machines()[name].count
            if offer.on_demand is not None
        ]
        assert not cards or max(cards) / min(cards) < 9, (accelerator, sorted(cards))


def test_own_prices_override_the_list() -> None:
    merged = with_own(OWN, "recipec-prices.toml")
    own = merged["p5.48xlarge"].on_demand
    assert own is not None
    assert (own.dollars, own.region, own.date, own.source) == (
        40.0,
        "eu-central-1",
        "2026-11-01",
        "our contract",
    )
    mixed = merged["a2-highgpu-1g"]
    assert mixed.spot is not None
    assert (mixed.spot.dollars, mixed.spot.date, mixed.spot.source) == (
        1.5,
        "",
        "recipec-prices.toml",
    )
    assert mixed.on_demand == list_prices()["a2-highgpu-1g"].on_demand
    changed = {name for name in merged if merged[name] != list_prices().get(name, Offer())}
    assert changed == {"p5.48xlarge", "a2-highgpu-1g"}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[aws", "not TOML: Expected ']' at the end of a table declaration", ""),
        ("[oracle]", "`oracle` is no cloud's table", "the tables are aws, google, azure, ibm"),
        ("aws = 3", "`aws` is no cloud's table", "the tables are aws, google, azure, ibm"),
        (
            "[aws]\nprices = {}",
            "`aws.prices` is not known",
            "known keys: region, date, source, on_demand, spot",
        ),
        ('[aws]\ndate = "May"', "`aws.date` must be a date such as 2026-11-01", ""),
        ("[aws]\nregion = 3", "`aws.region` must be text", ""),
        (
            '[aws.spot]\n"p5.48xlagre" = 3',
            "`aws.spot`: aws has no machine p5.48xlagre",
            "did you mean `p5.48xlarge`?",
        ),
        (
            '[aws.spot]\n"a2-highgpu-1g" = 3',
            "`aws.spot`: aws has no machine a2-highgpu-1g",
            "it is a machine of google",
        ),
        (
            '[aws.spot]\n"p5.48xlarge" = "3"',
            "`aws.spot.p5.48xlarge` must be a number of US dollars an hour",
            "",
        ),
        (
            '[aws.spot]\n"p5.48xlarge" = nan',
            "`aws.spot.p5.48xlarge` must be a number of US dollars an hour",
            "",
        ),
    ],
)
def test_faults_of_own_prices(text: str, message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_own(text, "recipec-prices.toml")
    (fault,) = caught.value.diagnostics
    assert fault.file == "recipec-prices.toml"
    assert fault.message.startswith(message)
    assert fault.hint == hint


def test_all_faults_come_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        with_own("[oracle]\n[aws]\nx = 1\n[aws.spot]\ny = 2", "p.toml")
    assert len(caught.value.diagnostics) == 3
