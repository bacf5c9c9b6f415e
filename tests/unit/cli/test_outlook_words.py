"""outlook: how times and sums of money read."""

from __future__ import annotations

import pytest

from recipec.catalog.efficiency import Range
from recipec.catalog.hardware import accelerators, machines
from recipec.catalog.prices import Price
from recipec.cli.outlook import compare_table
from recipec.plan.cost import Cost, Duration
from recipec.plan.outlook import Outlook
from recipec.plan.quotes import Quote


def row(seconds: tuple[float, float], dollars: tuple[float, float] | None, name: str) -> list[str]:
    """The cells of one machine, two blanks apart."""
    machine, share = machines()[name], Range(low=0.1, high=0.5, source="a bench")
    took = Duration(low=seconds[0], high=seconds[1], peak=1e12, efficiency=share, precision="bf16")
    price = Price(dollars=1.0, region="here", date="2026-11-01", source="a list")
    quote = Quote(
        machine=machine,
        outlook=Outlook(accelerator=accelerators()[machine.accelerator], duration=took),
        on_demand=Cost(low=dollars[0], high=dollars[1], price=price) if dollars else None,
    )
    lines = compare_table("a", [quote]).splitlines()
    assert (lines[-1] == "  prices: a list, here, 2026-11-01") == (dollars is not None)
    return [cell.strip() for cell in lines[3].split("  ") if cell.strip()]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ((0.2, 0.9), "under 1 s"),
        ((0.2, 1.0), "under 1 s to 1 s"),
        ((12, 89), "12 s to 89 s"),
        ((91, 5399), "1.52 min to 90 min"),
        ((5400, 86400 * 2.9), "1.5 h to 69.6 h"),
        ((86400 * 3, 86400 * 100), "3 days to 100 days"),
        ((40, 40.1), "40 s"),
    ],
)
def test_times(seconds: tuple[float, float], words: str) -> None:
    assert row(seconds, (1, 2), "p5.4xlarge")[4] == words


@pytest.mark.parametrize(
    ("dollars", "words"),
    [
        ((0.001, 0.004), "under $0.01"),
        ((0.001, 0.2), "$0.00 to 0.20"),
        ((3, 3.001), "$3.00"),
        ((1200, 4800.5), "$1,200.00 to 4,800.50"),
        (None, "-"),
    ],
)
def test_money(dollars: tuple[float, float] | None, words: str) -> None:
    assert row((1, 2), dollars, "p5.4xlarge")[5] == words


def test_only_one_of_several_devices_is_used() -> None:
    assert row((1, 2), None, "p5.4xlarge")[:4] == ["p5.4xlarge", "aws", "h100-80gb", "?"]
    assert row((1, 2), None, "p5.48xlarge")[2] == "1 of 8 h100-80gb"
