"""quotes and exchange: several GPUs and machines, what goes between them, the least that does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recipec.catalog.efficiency import link_share
from recipec.catalog.hardware import accelerators, machines
from recipec.catalog.prices import list_prices
from recipec.plan.exchange import exchange_of, seconds_of
from recipec.plan.outlook import Outlooks, Run, placed
from recipec.plan.plan import Settings
from recipec.plan.quotes import Quote, compared, quotes, smallest
from tests.unit.plan.test_outlook import run

BF16: dict[str, Any] = {"architecture": {"dtype": "bfloat16"}}


def shaped(count: int, nodes: int = 1, method: str = "full", **sections: Any) -> Run:
    training = {"batch_size": 64, **sections.pop("training", {})}
    hardware = {"count": count, "nodes": nodes, **sections.pop("hardware", {})}
    return run(method=method, training=training, hardware=hardware, **BF16, **sections)


def sent(given: Run) -> float:
    outlook = Outlooks(given).on(accelerators()["cpu"])
    assert outlook.exchange is not None
    return outlook.exchange.bytes


def test_one_process_sends_nothing() -> None:
    outlook = Outlooks(shaped(1)).on(accelerators()["cpu"])
    assert (outlook.exchange, outlook.loading_bytes) == (None, 0)
    assert outlook.duration is not None
    assert outlook.duration.exchange == (0.0, 0.0)


def test_what_processes_send() -> None:
    """Twice the gradients; or the weights for two passes, and the gradients into shares."""
    weights = 2 * 8_030_261_248
    assert sent(shaped(8)) == 2 * weights
    assert sent(shaped(8, method="lora")) == 2 * 4 * 41_943_040
    divided: dict[str, Any] = {"hardware": {"parallelism": "fsdp"}}
    assert sent(shaped(8, **divided)) == 3 * weights
    # the weights are gathered for each pass, and the gradients are summed once
    twice: dict[str, Any] = {**divided, "training": {"micro_batch_size": 4}}
    assert sent(shaped(8, **twice)) == 5 * weights


def seconds(settings: Settings, device: str, network: float | None) -> tuple[float, float]:
    memory = Outlooks(shaped(8)).on(accelerators()["cpu"]).memory
    assert memory is not None
    exchange = exchange_of(settings, memory)
    assert exchange is not None
    return seconds_of(exchange, settings, accelerators()[device], network)


def test_how_long_that_takes() -> None:
    within = shaped(8).settings
    weights, share = 2 * 8_030_261_248, link_share("nvlink")
    fast, slow = seconds(within, "nvidia-h100-80gb", None)
    assert fast == pytest.approx(2 * weights * 7 / 8 / (450e9 * share.high))
    assert slow == pytest.approx(2 * weights * 7 / 8 / (450e9 * share.low))
    assert seconds(within, "nvidia-l4", None)[0] > 10 * fast
    between = shaped(8, 2).settings
    more = seconds(between, "nvidia-h100-80gb", 3200)
    network = link_share("network")
    assert more[0] == pytest.approx(fast + 2 * weights / 2 / (400e9 * network.high))
    assert seconds(between, "nvidia-h100-80gb", None)[0] == pytest.approx(fast)
    assert seconds(within, "cpu", None) == (0.0, 0.0)


def test_several_gpus_share_the_work() -> None:
    outlooks = Outlooks(shaped(1, method="lora"))
    device = accelerators()["nvidia-h100-80gb"]
    one, eight = (outlooks.shaped(device, count, 1) for count in (1, 8))
    assert one is not None
    assert eight is not None
    assert one.duration is not None
    assert eight.duration is not None
    assert eight.duration.low == pytest.approx(one.duration.low / 8, rel=0.05)
    assert one.duration.high / 8 < eight.duration.high < one.duration.high
    assert eight.duration.exchange[1] > 0


def test_other_shapes_keep_the_batch() -> None:
    given = shaped(1, training={"micro_batch_size": 24, "batch_size": 48})
    found = placed(given, 8, 1)
    assert found is not None
    training = found.settings.training
    assert (training.batch_size, training.micro_batch_size, training.accumulation) == (48, 6, 1)
    assert found.recipe.training.micro_batch_size == 6
    assert found.settings.hardware.parallelism == "ddp"
    assert placed(given, 5, 1) is None
    assert placed(given, 1, 1) is given


def quoted(found: tuple[Quote, ...]) -> dict[str, Quote]:
    return {quote.machine.name: quote for quote in found}


def test_the_recipe_s_own_shape_is_priced() -> None:
    outlooks = Outlooks(shaped(4, 2, "lora", hardware={"accelerator": "cpu"}))
    names = ("p5.4xlarge", "a3-highgpu-4g", "p5.48xlarge")
    found = quoted(quotes(outlooks, list_prices(), [machines()[name] for name in names]))
    assert found["p5.4xlarge"].refused == "it has 1 of the 4 GPUs"
    for name in names[1:]:
        quote = found[name]
        assert (quote.count, quote.nodes, quote.refused) == (4, 2, "")
        assert quote.on_demand is not None
        assert quote.outlook.duration is not None
        price = quote.on_demand.price.dollars
        hours = quote.outlook.duration.low / 3600
        assert quote.on_demand.low == pytest.approx(2 * price * hours)


def test_compared_machines_use_what_shares_the_batch() -> None:
    given = run(method="lora", training={"batch_size": 12}, **BF16)
    found = quoted(compared(Outlooks(given), list_prices()))
    assert (found["p5.48xlarge"].count, found["p5.48xlarge"].nodes) == (6, 1)
    assert found["g6.12xlarge"].count == 4
    assert found["p5.4xlarge"].count == 1
    assert found["c7i.4xlarge"].count == 1


def test_several_machines_where_one_is_too_small() -> None:
    outlooks = Outlooks(run(method="full", training={"batch_size": 64}))
    found = quoted(compared(outlooks, list_prices()))
    several = found["g5.48xlarge"]
    assert several.nodes > 1
    assert several.outlook.fits
    assert several.outlook.layout is not None
    assert several.outlook.layout.parallelism == "fsdp"
    assert found["a2-ultragpu-8g"].nodes == 1
    undivided = run(method="full", training={"batch_size": 64, "optimizer": "adafactor"})
    found = quoted(compared(Outlooks(undivided), list_prices()))
    assert found["g5.48xlarge"].refused == "it has too little memory"


def test_a_machine_must_hold_the_model_of_all_its_processes() -> None:
    small = replace(machines()["a2-ultragpu-8g"], memory_bytes=200 << 30)
    given = run(method="full", training={"batch_size": 64}, hardware={"count": 8})
    (quote,) = quotes(Outlooks(given), {}, [small])
    assert quote.outlook.loading_bytes == 8 * 4 * 8_030_261_248
    assert quote.refused == (
        "it has 200.0 GiB of memory, which must hold 239.3 GiB while its 8 processes read the model"
    )


@pytest.mark.parametrize(
    ("method", "sections", "least"),
    [
        ("lora", BF16, ("nvidia-a100-40gb", 1, "none")),
        ("full", BF16, ("nvidia-a100-80gb", 1, "none")),
        ("full", {}, ("nvidia-a100-80gb", 4, "fsdp")),
    ],
)
def test_the_smallest_that_takes_it(
    method: str, sections: dict[str, Any], least: tuple[str, int, str]
) -> None:
    outlooks = Outlooks(run(method=method, training={"batch_size": 64}, **sections))
    found = smallest(outlooks)
    assert found is not None
    layout = found.layout
    assert layout.fits
    assert not layout.tight
    assert (found.accelerator.name, found.count, layout.parallelism) == least
    assert (found.machine.accelerator, found.nodes) == (found.accelerator.name, 1)
    assert found.machine.count == found.count


def test_the_smallest_may_be_several_machines_or_none() -> None:
    wide: dict[str, Any] = {"training": {"batch_size": 64}}
    given = run(method="full", **wide)
    large = replace(given, config={**given.config, "num_hidden_layers": 400})
    found = smallest(Outlooks(large))
    assert found is not None
    assert found.nodes > 1
    alone = run(method="full", training={"batch_size": 64, "optimizer": "adafactor"})
    assert smallest(Outlooks(replace(alone, config=large.config))) is None
