#!/usr/bin/env python3
"""Pre-trains models/tiny-t5: a tokenizer and a small T5, from nothing, on generated clauses.

In: the endless clauses of data/legal/generate.py (never a summary, never a clause of the three data
files) and a seed. Out: a directory that transformers' Auto classes load offline, with a model card.

The tasks are those of models/denoising.py. Run it from the project root:
``python -m models.pretrain_t5``.

Never: sees a summary, or leaves a half-written file. The bytes of the result depend on the CPU's
instruction set: the committed files are the model, and this is how such a model comes to be.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from models.denoising import Tasks, batches, clauses, collate, echoes, make_tokenizer

HERE = Path(__file__).resolve().parent

PROBE = 128  # fresh clauses for the losses of the model card
CROSS_STD = 0.04  # a token's own kind then scores e^6.5 times a mean one in cross-attention
NEIGHBOUR_BIAS = 6.0

ARCHITECTURE: dict[str, Any] = {
    "d_model": 128,
    "d_kv": 32,
    "d_ff": 512,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 96,
    "dropout_rate": 0.0,
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One run of the optimizer over one mixture of tasks (denoising.LESSONS)."""

    number: int
    steps: int
    echoes: int  # of the steps, those that come first and have short echoes only
    learning_rate: float  # the highest


LESSONS = [
    Lesson(number=1, steps=4000, echoes=200, learning_rate=3e-3),
    Lesson(number=2, steps=2400, echoes=0, learning_rate=2e-3),
    Lesson(number=3, steps=3000, echoes=0, learning_rate=2e-3),
]
BATCH = 16  # examples


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line decides."""

    seed: int
    out: Path
    start: Path | None
    lesson: int
    save_every: int


def make_model(tokenizer: Any) -> Any:
    """A T5 of ARCHITECTURE with random weights (from torch's global generator), ready to copy."""
    config = T5Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        **ARCHITECTURE,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        lean_towards_copying(model)
    return model


def lean_towards_copying(model: Any) -> None:
    """Starts attention near what copying needs, after Trockman and Kolter 2023 (arXiv 2305.09828).

    Without this and the echoes that come first, the decoder ignores its source for thousands of
    steps.

    In cross-attention equal query and key maps make a token attend to its own kind; in
    self-attention a bias lets one head see the next token and another the previous one.
    """
    for block in model.decoder.block:
        cross = block.layer[1].EncDecAttention
        cross.q.weight.normal_(0.0, CROSS_STD)
        cross.k.weight.copy_(cross.q.weight)
    encoder_bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    buckets = ARCHITECTURE["relative_attention_num_buckets"]
    encoder_bias[buckets // 2 + 1, 0] += NEIGHBOUR_BIAS  # one token ahead
    encoder_bias[1, 1] += NEIGHBOUR_BIAS  # one token back
    decoder_bias = model.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    decoder_bias[1, 0] += NEIGHBOUR_BIAS


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: 2% warm-up, then half a cosine down to 2%."""
    warmup = max(1, steps // 50)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Writes beside `out` first, then moves file by file."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(temporary.iterdir()):
        path.chmod(0o644)
        path.replace(out / path.name)
    temporary.rmdir()


def task_losses(model: Any, tasks: Tasks, text: Iterator[str]) -> dict[str, float]:
    """Loss of each task on PROBE fresh clauses, in nats a token."""
    sample = list(itertools.islice(text, PROBE))
    model.eval()
    losses = {}
    for task, _ in tasks.shares:
        batch = collate([tasks.finish(task(clause)) for clause in sample])
        with torch.no_grad():
            losses[task.__name__] = model(**batch).loss.item()
    return losses


def card(model: Any, seed: int, losses: dict[str, float], last: float) -> str:
    """The model card: card.md with the numbers of this training."""
    text = (HERE / "card.md").read_text(encoding="utf-8")
    return text.format(
        parameters=model.num_parameters(),
        size=model.num_parameters() * 4 / 1e6,
        vocabulary=model.config.vocab_size,
        layers=model.config.num_layers,
        width=model.config.d_model,
        heads=model.config.num_heads,
        seed=seed,
        steps=", ".join(str(lesson.steps) for lesson in LESSONS),
        batch=BATCH,
        last=last,
        probe=PROBE,
        table="\n".join(f"| {task} | {loss:.3f} |" for task, loss in losses.items()),
    )


def teach(model: Any, tokenizer: Any, lesson: Lesson, settings: Settings) -> float:
    """Trains for one lesson, saving as it goes. Returns the mean loss of its last 200 steps."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=lesson.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, lesson.steps))
    seed = settings.seed + 10 * (lesson.number - 1)
    tasks = Tasks(tokenizer, seed, lesson.number)
    text = clauses(seed + 1)
    source = itertools.chain(
        itertools.islice(echoes(tasks, text), lesson.echoes), batches(tasks, text, BATCH)
    )
    model.train()
    losses: list[float] = []
    start = time.perf_counter()
    for step in range(1, lesson.steps + 1):
        loss = model(**next(source)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 50 == 0:
            recent = sum(losses[-50:]) / 50
            seconds = time.perf_counter() - start
            print(f"lesson {lesson.number}: {step} loss {recent:.4f} {seconds:.0f}s", flush=True)
        if step % settings.save_every == 0 or step == lesson.steps:
            save(model, tokenizer, settings.out)
    return sum(losses[-200:]) / len(losses[-200:])


def pretrain(settings: Settings) -> None:
    """All lessons, or those from `settings.lesson` on with the model at `settings.start`."""
    torch.manual_seed(settings.seed)
    if settings.start is None:
        tokenizer = make_tokenizer(clauses(settings.seed))
        model = make_model(tokenizer)
    else:
        tokenizer = T5Tokenizer.from_pretrained(settings.start)
        model = T5ForConditionalGeneration.from_pretrained(settings.start)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    last = 0.0
    for lesson in LESSONS[settings.lesson - 1 :]:
        last = teach(model, tokenizer, lesson, settings)
    seed = settings.seed + 100
    losses = task_losses(model, Tasks(tokenizer, seed, LESSONS[-1].number), clauses(seed))
    words = card(model, settings.seed, losses, last)
    (settings.out / "README.md").write_text(words, encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> Settings:
    """Settings from the command line; also sets the number of threads."""
    parser = argparse.ArgumentParser(description="Pre-train the small T5 of the legal recipe.")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=500, help="steps between saves")
    parser.add_argument("--start", type=Path, help="model to go on with")
    parser.add_argument("--lesson", type=int, default=1, help="first lesson to give")
    parser.add_argument("--out", type=Path, default=HERE / "tiny-t5")
    known = parser.parse_args(arguments)
    torch.set_num_threads(known.threads)
    return Settings(
        seed=known.seed,
        out=known.out,
        start=known.start,
        lesson=known.lesson,
        save_every=known.save_every,
    )


if __name__ == "__main__":
    pretrain(parse(None))
