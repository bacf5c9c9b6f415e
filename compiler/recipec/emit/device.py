"""What the device adds to the scripts: how batches and the model get to a GPU, and results back.

Scripts for CPUs name no device. On a GPU `DEVICE` stands among the knobs, batches are made on the
CPU and moved as they are needed, and losses are read once a step.
"""

from __future__ import annotations

from recipec.emit.part import Part
from recipec.plan.plan import Settings


def on_gpu(settings: Settings) -> bool:
    """Whether the scripts are for a GPU."""
    return settings.hardware.device != "cpu"


def to_gpu(settings: Settings) -> str:
    """What follows the model so that it lies on its device; quantized ones are loaded there."""
    return ".to(DEVICE)" if on_gpu(settings) and not settings.method.quantization else ""


def device_part(settings: Settings) -> Part:
    """The words and imports of the settings' device."""
    gpu, packs = on_gpu(settings), settings.training.packing

    def there(batch: str) -> str:
        return f"to_device({batch}, DEVICE)" if gpu else batch

    def stepped(batch: str) -> str:
        # on a GPU packing would have to wait for it to count the tokens
        return there(f"packed({batch})" if gpu and packs else batch)

    return Part(
        words={
            "on_gpu": gpu,
            "device": "DEVICE" if gpu else '"cpu"',
            "to_gpu": to_gpu(settings),
            "from_gpu": ".cpu()" if gpu else "",
            "weights_there": ", device=logits.device" if gpu else "",
            "batch_there": stepped("batch"),
            "part_there": stepped("part"),
            "evaluated_there": there("batch"),
            "collated_there": there("collate(tokenizer, some)"),
        },
        train={
            "recipec_runtime.cuda": ["RandomState", "apart", "to_device"] if gpu else [],
            "recipec_runtime.modeling": [] if gpu else ["apart"],
        },
        evaluate={"train": ["DEVICE"] if to_gpu(settings) else []},
    )
