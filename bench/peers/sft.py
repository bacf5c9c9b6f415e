"""TRL's SFTTrainer on a job: python -m bench.peers.sft JOB RESULT.

It gets texts and a LoRA config, and tokenizes, adapts and collates by itself, as its guide shows.
What it turns on by itself and the others do not (bfloat16, gradient checkpointing) is off.
"""

from __future__ import annotations

import sys

from bench.peers.job import Job, Result
from bench.peers.trainer import adapter, arguments, clock, load


def main() -> None:
    """Train, save the model as a user would, and save the result."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    job, result = Job.read(sys.argv[1:2]), Result()
    model, tokenizer = load(job)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments(job), max_length=job.max_length),
        train_dataset=Dataset.from_list([{"text": text} for text in job.texts]),
        processing_class=tokenizer,
        peft_config=adapter(job),
        callbacks=[clock(result)],
    )
    done = trainer.train()
    trainer.save_model(job.output)
    result.losses.append(done.training_loss)
    result.save(sys.argv[2])


if __name__ == "__main__":
    main()
