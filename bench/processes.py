"""The memory that one process of several takes, beside what `recipec.plan.memory` says beforehand.

    python -m bench.processes [--only TEXT] [--write]

Each case trains a small Llama a few steps in two processes on this CPU, which talk by gloo: DDP
with its buckets in the gradients' place, or FSDP2 of every block and of the root. They are
forked from one that has imported the libraries. Two peaks of the resident set are the kernel's own
counts, which no load on the machine changes: until the model is loaded and divided, and from then
on. `--write` puts them into docs/memory.processes.json, from which docs/generate.py makes a table.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import measurements
from recipec.plan.memory import MemoryEstimate, MemorySettings, estimate
from recipec.plan.memory.settings import Sharding
from recipec.plan.plan import MethodSettings

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "docs/memory.processes.json"
WORLD = 2
STEPS = 3
VOCABULARY = 8000

SHARDINGS: tuple[Sharding, ...] = ("ddp", "fsdp")
_FULL = MethodSettings(type="full")
_LORA = MethodSettings(
    type="lora",
    rank=16,
    alpha=32,
    target_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
)


def _llama(hidden: int, layers: int, *, words: int = VOCABULARY) -> dict[str, Any]:
    """A Llama's config.json."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": hidden * 11 // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 256,
        "max_position_embeddings": 1024,
        "vocab_size": words,
        "tie_word_embeddings": False,
    }


SMALL, MIDDLING = _llama(512, 8), _llama(1024, 8)
WORDY = _llama(512, 4, words=40_000)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training in two processes."""

    name: str
    config: Mapping[str, Any]
    settings: MemorySettings


def _case(name: str, config: Mapping[str, Any], sharding: Sharding, **settings: Any) -> Case:
    usual: dict[str, Any] = {
        "head": "causal-lm",
        "method": _FULL,
        "micro_batch_size": 2,
        "length": 128,
    }
    made = MemorySettings(**{**usual, **settings}, sharding=sharding, world_size=WORLD)
    return Case(name=f"{name}, {sharding}", config=config, settings=made)


def _both(name: str, config: Mapping[str, Any], **settings: Any) -> list[Case]:
    return [_case(name, config, sharding, **settings) for sharding in SHARDINGS]


CASES: tuple[Case, ...] = (
    *_both("30M, full", SMALL),
    *_both("106M, full", MIDDLING),
    *_both("106M, full, two passes", MIDDLING, accumulation=2),
    *_both("106M, full, bfloat16", MIDDLING, dtype="bfloat16"),
    *_both("106M, full, average", MIDDLING, ema=True),
    *_both("106M, LoRA", MIDDLING, method=_LORA, micro_batch_size=4),
    *_both("52M, 40,000 words", WORDY),
    *_both("30M, full, long", SMALL, micro_batch_size=4, length=512),
    *_both(
        "30M, checkpointing", SMALL, micro_batch_size=8, length=256, gradient_checkpointing=True
    ),
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one process took, with all that the estimate needs."""

    name: str
    config: dict[str, Any]
    settings: MemorySettings
    loading: int
    """The largest resident set until the model was loaded and divided, in bytes."""
    peak: int
    """The same from then on."""

    @property
    def estimate(self) -> MemoryEstimate:
        """What the plan says."""
        return estimate(self.config, self.settings)

    @property
    def error(self) -> float:
        """Of the estimate, as a share of what was measured."""
        return self.estimate.bytes / max(self.peak, self.loading) - 1


def main() -> None:
    """Measure the cases, print a line for each, and write them down if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--write", action="store_true", help="write docs/memory.processes.json")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    import peft  # noqa: F401  # before the fork
    import torch
    import torch.distributed.fsdp  # noqa: F401
    import transformers  # noqa: F401

    known = {one.name: one for one in measured()}
    for case in CASES:
        if options.only in case.name:
            known[case.name] = measure(case)
            print(line(known[case.name]), flush=True)
            if options.write:
                measurements.write(MEASURED, [known[c.name] for c in CASES if c.name in known])


def line(one: Measurement) -> str:
    """Estimate, measurements and error in a line."""
    said = one.estimate
    return (
        f"{one.name:34} {said.bytes / 1e6:7.0f} MB; loading {one.loading / 1e6:6.0f}, then"
        f" {one.peak / 1e6:6.0f} {100 * one.error:+6.1f}%  {said.peak.name}"
    )


def measured() -> list[Measurement]:
    """The measurements that were written down."""
    return measurements.read(MEASURED, Measurement)


def measure(case: Case) -> Measurement:
    """Train a case in processes of its own; the larger peak of the two counts."""
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _joined([fork.Process(target=_write_model, args=(case, folder))])
        ranks = range(WORLD)
        _joined([fork.Process(target=_trained, args=(case, folder, rank)) for rank in ranks])
        found = [json.loads((folder / f"{rank}.json").read_bytes()) for rank in ranks]
    return Measurement(
        name=case.name,
        config=dict(case.config),
        settings=case.settings,
        loading=max(one["loading"] for one in found),
        peak=max(one["peak"] for one in found),
    )


def _joined(processes: Sequence[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            sys.exit(f"a process ended with {process.exitcode}")


def _write_model(case: Case, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    (folder / "config.json").write_text(json.dumps(dict(case.config)))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    model.to(getattr(torch, case.settings.dtype)).save_pretrained(folder)


def _trained(case: Case, folder: Path, rank: int) -> None:
    """One process: load, divide, train; both peaks go into the folder."""
    import torch
    from torch import distributed

    from recipec_runtime.memory import settle

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD
    )
    _forget_peak()
    model = _divided(case, folder)
    settle()
    if case.settings.sharding == "fsdp":
        _give_back()
    loading = _peak()
    _forget_peak()
    _train(case, model)
    found = {"loading": loading, "peak": _peak()}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()


def _give_back() -> None:
    """Large blocks are returned once they are freed: what is gathered would fill the heap with
    holes, and FSDP then takes more than DDP does (106M, full: 2,861 MB, not 1,514)."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(-4, 65536)  # M_MMAP_MAX
    mallopt(-3, 128 << 10)  # M_MMAP_THRESHOLD: fixed, in bytes


def _divided(case: Case, folder: Path) -> Any:
    """The model as the process trains it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel
    from transformers import AutoModelForCausalLM

    settings = case.settings
    dtype = getattr(torch, settings.dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    layers = model.model.layers
    if settings.method.type == "lora":
        method = settings.method
        config = LoraConfig(
            r=method.rank, lora_alpha=method.alpha, target_modules=list(method.target_modules)
        )
        model = get_peft_model(model, config)
    if settings.sharding == "ddp":
        return DistributedDataParallel(model, gradient_as_bucket_view=True)
    for block in layers:
        fully_shard(block, reshard_after_forward=True)
    return fully_shard(model)


def _train(case: Case, model: Any) -> None:
    import torch

    settings = case.settings
    weights = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    averages = [one.detach().clone() for one in weights] if settings.ema else []
    shape = (settings.micro_batch_size, settings.length)
    for _ in range(STEPS):
        for number in range(1, settings.accumulation + 1):
            synchronized = number == settings.accumulation  # gradients are summed up once
            if settings.sharding == "fsdp":
                model.set_requires_gradient_sync(synchronized)
            else:
                model.require_backward_grad_sync = synchronized
            rows = torch.randint(0, case.config["vocab_size"], shape)
            logits = model(input_ids=rows, use_cache=False).logits
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), rows.flatten(), reduction="none"
            )
            del logits
            (losses.sum() / losses.numel()).backward()
            del losses
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for average, weight in zip(averages, weights, strict=bool(averages)):
            average.lerp_(weight.detach(), 0.1)


def _peak() -> int:
    """The largest resident set since the kernel was last told to forget it, in bytes."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith("VmHWM:"):
            return int(text.split()[1]) * 1024
    raise SystemExit("the kernel counts no peak")


def _forget_peak() -> None:
    """See proc(5), clear_refs: the peak becomes what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
