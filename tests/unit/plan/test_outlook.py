"""cost and outlook: hours and dollars of a run, on a device and on the clouds' machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recipec.catalog.efficiency import cpu_flops, efficiency_of, launch_seconds
from recipec.catalog.hardware import Accelerator, accelerators, machines
from recipec.catalog.prices import Offer, Price, list_prices, with_own
from recipec.plan.cost import Duration, cost_of, duration_on, precision_of, run_work
from recipec.plan.lengths import RowText
from recipec.plan.outlook import Outlook, Outlooks, Run
from recipec.plan.quotes import Quote, best_of_each, compared, quotes
from tests.unit.plan.test_layout import LLAMA_8B, OTHER, chat
from tests.unit.plan.test_make_plan import plan


def outlook_on(given: Run, one: Accelerator) -> Outlook:
    return Outlooks(given).on(one)


SAMPLE = (RowText(source=2000),) * 8
"""500 tokens a row, at four bytes each."""


def run(rows: int = 1000, method: str = "lora", **sections: Any) -> Run:
    training = {"batch_size": 8, "epochs": 2, **sections.pop("training", {})}
    made = chat(method, training=training, **sections)
    config: dict[str, Any] = sections.pop("config", LLAMA_8B)
    settings = plan(made, rows=rows, family="decoder-only", config=config).settings
    return Run(recipe=made, settings=settings, config=config, sample=SAMPLE)


HALF: dict[str, Any] = {"training": {"mixed_precision": "bf16"}}
EVERYWHERE = compared(Outlooks(run(**HALF)), list_prices())


def test_every_device_has_a_range_with_a_source() -> None:
    for one in accelerators().values():
        if one.kind != "cpu":
            found = efficiency_of(one, tensor=True)
            assert 0 < found.low < found.high < 1, one.name
            assert found.source, one.name
    assert cpu_flops(portable=True).high < cpu_flops(portable=False).high
    assert launch_seconds().low < launch_seconds().high


def test_an_eight_billion_lora_takes_two_forwards_of_its_weights() -> None:
    given = run()
    work = run_work(given.settings, LLAMA_8B, SAMPLE, head="causal-lm", trainable=42_000_000)
    # 7.5e9 weights that multiply, without the embedding; attention and adapters add some
    assert work.per_token == pytest.approx(2 * 2 * 7.5e9, rel=0.05)
    assert work.tokens[1] == 2 * 1000 * 502
    assert work.tokens[0] < work.tokens[1] < work.tokens[2]
    assert work.flops[1] == pytest.approx(work.per_token * work.tokens[1])


def test_validation_is_counted_and_checkpointing_too() -> None:
    def flops(**changes: Any) -> float:
        settings = run().settings
        for name, values in changes.items():
            settings = (
                replace(settings, **{name: replace(getattr(settings, name), **values)})
                if isinstance(values, dict)
                else replace(settings, **{name: values})
            )
        return run_work(settings, LLAMA_8B, SAMPLE, head="causal-lm", trainable=0).flops[1]

    forward = flops() / 4  # two epochs of two passes
    assert flops(validation_rows=100) == pytest.approx(flops() + 3 * 0.1 * forward)
    checkpointed = flops(model={"gradient_checkpointing": True})
    assert checkpointed == pytest.approx(6 * forward)


@pytest.mark.parametrize(
    ("device", "sections", "precision"),
    [
        ("nvidia-l4", {}, "fp32"),
        ("nvidia-l4", HALF, "bf16"),
        ("nvidia-l4", {"training": {"mixed_precision": "fp16"}}, "fp16"),
        ("nvidia-l4", {"architecture": {"dtype": "bfloat16"}}, "bf16"),
        ("nvidia-l4", {"reproducibility": "seeded"}, "tf32"),
        ("nvidia-l4", {"reproducibility": "seeded", **HALF}, "bf16"),
        ("nvidia-t4", {"reproducibility": "seeded"}, "fp32"),
        ("cpu", {"reproducibility": "seeded"}, "fp32"),
    ],
)
def test_the_precision_of_the_products(
    device: str, sections: dict[str, Any], precision: str
) -> None:
    assert precision_of(run(**sections).settings, accelerators()[device]) == precision


def test_time_is_work_by_peak_and_share() -> None:
    given = run(rows=100_000, **HALF)
    outlook = outlook_on(given, accelerators()["nvidia-h100-80gb"])
    assert outlook.work is not None
    assert outlook.duration is not None
    took, share = outlook.duration, efficiency_of(outlook.accelerator, tensor=True)
    assert took.peak == 989.5e12
    assert took.low == outlook.work.flops[0] / (989.5e12 * share.high)
    assert took.high > outlook.work.flops[2] / (989.5e12 * share.low)
    # 100 million tokens of 3e10 FLOPs at 0.13 to 0.46 of a petaflop
    assert 1.5 * 3600 < took.low < took.high < 12 * 3600


def test_a_tiny_model_is_bound_by_its_kernels() -> None:
    tiny = {**LLAMA_8B, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4}
    tiny |= {"num_key_value_heads": 4, "num_hidden_layers": 2, "vocab_size": 100}
    given = replace(run(**HALF), config=tiny)
    outlook = outlook_on(given, accelerators()["nvidia-h100-80gb"])
    assert outlook.work is not None
    assert outlook.duration is not None
    assert outlook.duration.low == outlook.work.launches * launch_seconds().low


def test_threads_share_the_work_of_a_cpu() -> None:
    given = run(hardware={"threads": 4}, reproducibility="portable")
    outlook = outlook_on(given, accelerators()["cpu"])
    assert outlook.duration is not None
    assert outlook.work is not None
    assert outlook.duration.low == outlook.work.flops[0] / (4 * 30e9)
    assert outlook.layout is None
    assert outlook.memory is not None


def test_money_is_hours_times_price() -> None:
    one = accelerators()["nvidia-t4"]
    share = efficiency_of(one, tensor=True)
    took = Duration(low=1800, high=7200, peak=1.0, efficiency=share, precision="bf16")
    cost = cost_of(took, Price(dollars=3.0, region="here", date="2026-11-01", source="x"))
    assert (cost.low, cost.high) == (1.5, 6.0)


def test_a_peak_that_is_not_known_gives_no_time() -> None:
    one = accelerators()["nvidia-rtx-pro-6000-server"]
    outlook = outlook_on(run(**HALF), one)
    assert outlook.duration is None
    assert outlook.unknown == "the catalogue has no bf16 peak of it"
    assert outlook.fits is True


def test_a_model_that_is_not_known_gives_nothing() -> None:
    given = replace(run(), config=OTHER)
    outlook = outlook_on(given, accelerators()["nvidia-t4"])
    assert outlook.unknown.startswith("the memory of a something-new model is not known")
    assert (outlook.memory, outlook.duration, outlook.fits) == (None, None, None)


def names(found: tuple[Quote, ...]) -> list[str]:
    return [quote.machine.name for quote in found]


def test_machines_come_in_the_order_of_their_cost_and_refused_ones_last() -> None:
    found = EVERYWHERE
    assert {quote.machine.name for quote in found} == set(machines())
    able = [quote for quote in found if not quote.refused]
    priced = [q.on_demand for q in able if q.on_demand is not None]
    middles = [(cost.low * cost.high) ** 0.5 for cost in priced]
    assert middles == sorted(middles)
    assert names(tuple(able)) == names(found)[: len(able)]
    assert [q.on_demand is None for q in able] == sorted(q.on_demand is None for q in able)
    refused = {quote.machine.accelerator: quote.refused for quote in found if quote.refused}
    assert refused["nvidia-t4"].startswith("an NVIDIA T4 does not compute in bfloat16: ")
    assert "has no code for an NVIDIA V100" in refused["nvidia-v100-16gb"]
    assert refused["nvidia-l4"] == "it has too little memory"
    assert refused["google-tpu-v5e"] == "this version does not train on TPUs"
    assert "nvidia-h100-80gb" not in refused
    for quote in found:
        assert not quote.refused or quote.on_demand is quote.spot is None


def test_a_cpu_must_have_the_threads_and_the_memory() -> None:
    cpus = [machine for machine in machines().values() if machine.accelerator == "cpu"]
    found = {q.machine.name: q for q in quotes(Outlooks(run(hardware={"threads": 16})), {}, cpus)}
    assert found["c7i.xlarge"].refused == "it has 4 vCPUs"
    assert found["c7i.4xlarge"].refused == "it has too little memory"
    assert found["c7i.16xlarge"].refused == ""


def test_own_prices_change_the_order() -> None:
    own = with_own('[aws.on_demand]\n"p4de.24xlarge" = 0.01', "recipec-prices.toml")
    able = [machines()[name] for name in ("p5.4xlarge", "p4de.24xlarge", "g6e.xlarge")]
    assert names(quotes(Outlooks(run(**HALF)), list_prices(), able))[0] != "p4de.24xlarge"
    assert names(quotes(Outlooks(run(**HALF)), own, able))[0] == "p4de.24xlarge"


def test_spot_is_cheaper_and_the_whole_machine_is_paid() -> None:
    found = {quote.machine.name: quote for quote in EVERYWHERE}
    one, eight = found["a3-highgpu-1g"], found["a3-highgpu-8g"]
    for quote in (one, eight):
        assert quote.on_demand is not None
        assert quote.spot is not None
        assert quote.spot.high < quote.on_demand.high
    assert one.on_demand is not None
    assert eight.on_demand is not None
    # eight GPUs cost eight times as much, and at best take an eighth of the time
    assert (one.count, eight.count) == (1, 8)
    assert eight.on_demand.low == pytest.approx(one.on_demand.low, rel=0.01)
    assert one.outlook.duration is not None
    assert eight.outlook.duration is not None
    assert eight.outlook.duration.low == pytest.approx(one.outlook.duration.low / 8, rel=0.01)
    assert eight.outlook.duration.high > one.outlook.duration.high / 8


def test_without_a_price_there_is_a_time_and_no_cost() -> None:
    (quote,) = quotes(Outlooks(run(**HALF)), {}, [machines()["p5.4xlarge"]])
    assert (quote.on_demand, quote.spot, quote.refused) == (None, None, "")
    assert quote.outlook.duration is not None
    assert Offer() == Offer(on_demand=None, spot=None)


def test_the_best_of_each_device_and_cloud() -> None:
    kept = best_of_each(EVERYWHERE)
    keys = [(quote.machine.cloud, quote.machine.accelerator) for quote in kept]
    assert len(keys) == len(set(keys))
    assert "p5.4xlarge" in names(kept)
    assert "p5.48xlarge" not in names(kept)


def test_a_device_is_asked_without_a_machine() -> None:
    given = run(**HALF)
    work = outlook_on(given, accelerators()["nvidia-rtx-4090"]).work
    assert work is not None
    assert duration_on(work, given.settings, accelerators()["nvidia-rtx-4090"]) is not None
