"""What the plan decides of `evaluation`, `hardware` and `reproducibility`."""

from __future__ import annotations

from typing import Any, Literal

from recipec.catalog import support
from recipec.plan.determinism import environment_of, hardware_class_of
from recipec.plan.ledger import Ledger
from recipec.plan.plan import EvaluationSettings, HardwareSettings, TrainingSettings
from recipec.recipe.processes import world_size
from recipec.recipe.promise import on_cpus, promise_of
from recipec.recipe.schema import Recipe

_ON_CPUS = "on CPUs the same bytes everywhere are possible; `bitwise` is about twice as fast"
_ON_GPUS = "the same bytes on every GPU of one model; `seeded` is faster"
_WHOLE = "each process has the whole model, and gradients alone go between them"
_ANSWER = "a quarter of max_length, 128 at most: enough to read how the model answers"


def plan_evaluation(
    recipe: Recipe, training: TrainingSettings, ledger: Ledger
) -> EvaluationSettings:
    """The evaluation's settings."""
    evaluation = recipe.evaluation
    facts = support.tasks()[recipe.task.type]
    generates = "evaluation.max_new_tokens" in facts.knobs
    beams = "evaluation.num_beams" in facts.knobs
    return EvaluationSettings(
        max_new_tokens=ledger.choose(
            "evaluation.max_new_tokens",
            evaluation.max_new_tokens,
            training.max_target_length or max(1, min(128, training.max_length // 4)),
            "as long as the longest target" if training.max_target_length else _ANSWER,
            "tokens",
        )
        if generates
        else 0,
        metrics=tuple(
            ledger.choose(
                "evaluation.metrics",
                evaluation.metrics,
                [str(metric) for metric in facts.metrics],
                f"the usual ones for {recipe.task.type}; the loss is always measured",
            )
        ),
        batch_size=ledger.choose(
            "evaluation.batch_size",
            evaluation.batch_size,
            min(2 * training.micro_batch_size, 64),
            "no gradients: twice the rows of training fit",
            "rows",
        ),
        num_beams=ledger.keep("evaluation", evaluation, "num_beams", "greedy, the fastest")
        if beams
        else evaluation.num_beams,
        at_least=tuple(sorted(evaluation.at_least.items())),
        at_most=tuple(sorted(evaluation.at_most.items())),
    )


def plan_hardware(recipe: Recipe, ledger: Ledger) -> HardwareSettings:
    """The hardware's settings, and the variables that pin the bytes."""
    threads = recipe.hardware.threads
    mode = ledger.choose(
        "reproducibility",
        recipe.reproducibility,
        promise_of(recipe),
        _ON_CPUS if on_cpus(recipe) else _ON_GPUS,
    )
    device, accelerator, capability = _device(recipe, ledger)
    return HardwareSettings(
        reproducibility=mode,
        device=device,
        accelerator=accelerator,
        capability=capability,
        threads=ledger.keep(
            "hardware", recipe.hardware, "threads", "it changes the bytes, so it is pinned"
        ),
        **_processes(recipe, ledger),
        hardware_class=ledger.note(
            "hardware.class",
            hardware_class_of(mode, accelerator, capability),
            "the same class gives the same bytes",
        ),
        environment=environment_of(
            mode,
            threads,
            device,
            flash=(recipe.architecture.attention or "").startswith("flash_attention"),
            world_size=world_size(recipe),
        ),
    )


def _processes(recipe: Recipe, ledger: Ledger) -> dict[str, Any]:
    """How many processes there are, where, and how they train one model. One says nothing."""
    hardware, many = recipe.hardware, world_size(recipe)
    if many == 1:
        return {"world_size": 1}
    ledger.keep("hardware", hardware, "count", "one process on each machine")
    ledger.keep("hardware", hardware, "nodes", "one machine")
    ledger.note(
        "hardware.world_size",
        many,
        "nodes x count; it changes the bytes, so it is in the run id",
        "processes",
    )
    return {
        "world_size": many,
        "nodes": hardware.nodes,
        "processes": hardware.count,
        "parallelism": ledger.choose("hardware.parallelism", hardware.parallelism, "ddp", _WHOLE),
    }


def _device(recipe: Recipe, ledger: Ledger) -> tuple[Literal["cpu", "cuda"], str, str]:
    """torch's word for the device, the catalogue's, and a GPU's compute capability."""
    if on_cpus(recipe):
        return "cpu", "cpu", ""
    from recipec.catalog.hardware import find_accelerator

    gpu = find_accelerator(recipe.hardware.accelerator)
    assert gpu is not None, "the rules have seen to it"
    major, minor = gpu.compute_capability or (0, 0)
    said = f"{gpu.title}, compute capability {major}.{minor}"
    ledger.note("hardware.accelerator", gpu.name, said, origin="recipe")
    return "cuda", gpu.name, f"{major}.{minor}"
