"""What several processes add to the scripts: their shares, their sums, whole or sharded models.

In: settings. Out: a `Part`. For one process its words are those of the scripts without it.
"""

from __future__ import annotations

from recipec.emit.device import on_gpu, to_gpu
from recipec.emit.part import Part
from recipec.emit.tasks import kind_of
from recipec.plan.plan import Settings


def many(settings: Settings) -> bool:
    """Whether several processes train the model."""
    return settings.hardware.parallelism != "none"


def shards(settings: Settings) -> bool:
    """Whether each process holds only a shard of the model."""
    return settings.hardware.parallelism == "fsdp"


def spread(settings: Settings, model: str, *, trains: bool) -> str:
    """Source of the model as it is spread over devices and processes, from source of the model."""
    if shards(settings):
        return f"sharded({model}, DEVICE)" if on_gpu(settings) else f"sharded({model})"
    placed = model + to_gpu(settings)
    return f"replicated({placed})" if trains and many(settings) else placed


def _words(settings: Settings) -> str:
    """How the processes train one model, in a sentence of the script's docstring."""
    hardware = settings.hardware
    where = f"{hardware.processes} processes"
    if hardware.nodes > 1:
        each = "1 process" if hardware.processes == 1 else f"{hardware.processes} processes"
        where = f"{hardware.nodes} machines with {each} each"
    holds = "a shard of the model (FSDP2)" if shards(settings) else "the whole model (DDP)"
    return f"It does so in {where}; each has {holds}\nand its share of every batch."


def parallel_part(settings: Settings) -> Part:
    """The words and imports of the settings' processes."""
    several, split = many(settings), shards(settings)
    own_clip = split or not on_gpu(settings)
    experts = settings.model.experts > 0
    wanted = {
        "Shared": several,
        "clip_gradients": split,
        "equally_many": split and kind_of(settings).folder == "question_answering",
        "gathered": split and settings.method.type == "bottleneck",
        "mean_of": several and experts,
        "own_parts": several,
        "replicated": several and not split,
        "sharded": split,
        "summed": several,
        "whole_weights": split,
    }
    return Part(
        words={
            "many": several,
            "shards": split,
            "processes_words": _words(settings),
            "clip": "clip_gradients(model, MAX_GRAD_NORM)"
            if own_clip
            else "torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)",
            "norm_value": "norm" if own_clip else "norm.item()",
            "measured_base": spread(settings, "load_base(run.model)", trains=False),
            "measured_tuned": spread(settings, "load_tuned(run)", trains=False),
        },
        train={
            "recipec_runtime.modeling": []
            if (own_clip and split) or on_gpu(settings)
            else ["clip_gradients"],
            "recipec_runtime.data": [] if several else ["batches"],
            "recipec_runtime.together": [name for name, used in wanted.items() if used],
        },
        evaluate={
            "recipec_runtime.together": ["sharded"] if split else [],
            "train": ["DEVICE"] if split and on_gpu(settings) else [],
        },
    )
