"""How long a run takes on an accelerator and what that costs, as ranges.

In: a plan's settings, the model's layers, a sample of the rows; accelerators and prices of
the catalogue. Out: `RunWork`, `Duration`, `Cost`. Time is work by peak and efficiency, and at least
what it takes to start the kernels and to send what processes exchange: at best all of it at once,
at worst one after the other. Not counted: renting, pulling the image, loading the model, writing
text in `evaluate`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipec.catalog.efficiency import Range, cpu_flops, efficiency_of, launch_seconds
from recipec.catalog.hardware import Accelerator
from recipec.catalog.prices import Price
from recipec.plan.lengths import LONGEST, SHORTEST, USUAL, RowText, Tokens, tokens_of
from recipec.plan.memory.architectures import configured, layers_of
from recipec.plan.memory.encoders import Head
from recipec.plan.plan import Settings
from recipec.plan.work import Work, matrices, work_of

PASSES = 3
"""Of a step that kernels are started for: forward, and backward, which has two for each matrix."""


@dataclass(frozen=True, kw_only=True)
class RunWork:
    """What a whole run computes."""

    epochs: float
    """Passes over the training rows; less than 1 where `training.steps` ends before."""
    tokens: tuple[float, float, float]
    """Of all epochs, padding counted: the fewest, a guess, the most."""
    flops: tuple[float, float, float]
    """Of the run, validation counted: the same."""
    per_token: float
    """FLOPs of a trained token, by the guess."""
    formula: str
    launches: int
    """Matrices times passes times forward passes of one process in the run."""


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Seconds of training, from `low` to `high`."""

    low: float
    high: float
    peak: float
    """FLOP/s that the efficiency is a share of; of CPUs what all threads reach at best."""
    efficiency: Range
    precision: str
    exchange: tuple[float, float] = (0.0, 0.0)
    """Of it, seconds in which processes exchange gradients or weights."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """US dollars, from `low` to `high`."""

    low: float
    high: float
    price: Price


def run_work(
    settings: Settings,
    config: Mapping[str, Any],
    sample: Sequence[RowText],
    *,
    head: Head,
    trainable: int,
) -> RunWork:
    """The work of a run. Raises CannotEstimate for a model whose layers are not known.

    `sample` are some training rows, in the file's order; `trainable` weights are trained.
    """
    model, values = layers_of(config, head, max(2, len(settings.task.labels))), configured(config)
    found: list[tuple[Tokens, Work]] = []
    for length in (LONGEST, USUAL, SHORTEST):
        tokens = tokens_of(sample, settings, bytes_of_token=length)
        work = work_of(
            model,
            values,
            tokens,
            trains_all=settings.method.type == "full",
            trainable=trainable,
            checkpointing=settings.model.gradient_checkpointing,
        )
        found.append((tokens, work))
    training = settings.training
    epochs = training.total_steps / training.steps_per_epoch
    validated = _validations(settings) * settings.validation_rows / max(1, settings.train_rows)
    few, some, many = (
        (
            epochs * (tokens.source + tokens.target),
            epochs * work.epoch + validated * work.forward,
        )
        for tokens, work in found
    )
    forwards = training.total_steps * training.accumulation
    return RunWork(
        epochs=epochs,
        tokens=(few[0], some[0], many[0]),
        flops=(few[1], some[1], many[1]),
        per_token=found[1][1].per_token,
        formula=found[1][1].formula,
        launches=matrices(model) * PASSES * forwards,
    )


def _validations(settings: Settings) -> int:
    """Passes over the validation rows."""
    training = settings.training
    if not settings.validation_rows:
        return 0
    if training.evaluate_every:
        return training.total_steps // training.evaluate_every + 1
    return training.epochs + 1


def precision_of(settings: Settings, accelerator: Accelerator) -> str:
    """What the products are computed in: bf16, fp16, tf32 or fp32.

    Tensor cores take float32 as tf32 only for `seeded` runs: the other promises turn that off.
    """
    if settings.training.mixed_precision != "none":
        return settings.training.mixed_precision
    found = {"bfloat16": "bf16", "float16": "fp16"}.get(settings.model.dtype, "fp32")
    seeded = settings.hardware.reproducibility == "seeded"
    return "tf32" if found == "fp32" and seeded and accelerator.tf32_flops else found


def peak_of(accelerator: Accelerator, precision: str) -> float | None:
    """FLOP/s in a precision; None where the catalogue has no figure or the device cannot."""
    peaks = {
        "bf16": accelerator.bf16_flops,
        "fp16": accelerator.fp16_flops,
        "tf32": accelerator.tf32_flops,
        "fp32": accelerator.fp32_flops,
    }
    return peaks[precision]


def duration_on(
    work: RunWork,
    settings: Settings,
    accelerator: Accelerator,
    exchange: tuple[float, float] = (0.0, 0.0),
) -> Duration | None:
    """How long the run takes on such devices, one for each process; None where no peak is known.

    `exchange` are the fewest and the most seconds of a step in which processes talk.
    """
    steps, many = settings.training.total_steps, settings.hardware.world_size
    talk = (exchange[0] * steps, exchange[1] * steps)
    if accelerator.kind == "cpu":
        return _on_threads(work, settings, talk)
    precision = precision_of(settings, accelerator)
    peak = peak_of(accelerator, precision)
    if peak is None:
        return None
    share, launch = efficiency_of(accelerator, tensor=precision != "fp32"), launch_seconds()
    fastest = work.flops[0] / (peak * share.high * many)
    slowest = work.flops[2] / (peak * share.low * many)
    return Duration(
        low=max(fastest, work.launches * launch.low, talk[0]),
        high=slowest + work.launches * launch.high + talk[1],
        peak=peak,
        efficiency=share,
        precision=precision,
        exchange=talk,
    )


def _on_threads(work: RunWork, settings: Settings, talk: tuple[float, float]) -> Duration:
    threads = settings.hardware.threads * settings.hardware.world_size
    found = cpu_flops(portable=settings.hardware.reproducibility == "portable")
    return Duration(
        low=max(work.flops[0] / (found.high * threads), talk[0]),
        high=work.flops[2] / (found.low * threads) + talk[1],
        peak=found.high * threads,
        efficiency=Range(low=found.low / found.high, high=1.0, source=found.source),
        precision="fp32",
        exchange=talk,
    )


def cost_of(duration: Duration, price: Price, machines: int = 1) -> Cost:
    """What so many machines cost while they train."""
    return Cost(
        low=duration.low / 3600 * price.dollars * machines,
        high=duration.high / 3600 * price.dollars * machines,
        price=price,
    )
