"""transformers' Trainer on a job: python -m bench.peers.trainer JOB RESULT.

Rows are tokenized before training begins and padded to the longest of a batch. Labels are those of
the texts, so that an end token counts even where it is the padding token too.
"""

from __future__ import annotations

import sys
from typing import Any

from bench.peers.job import Job, Result


def arguments(job: Job) -> dict[str, Any]:
    """The job's values by `TrainingArguments`' names; nothing is logged, saved or measured."""
    return {
        "output_dir": job.output,
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch_size,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "optim": "adamw_torch_fused",
        "weight_decay": job.weight_decay,
        "max_grad_norm": job.max_grad_norm,
        "seed": job.seed,
        "train_sampling_strategy": "sequential",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def clock(result: Result) -> Any:
    """A callback that notes when each step ended."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            result.step()

    return Clock()


def load(job: Job) -> tuple[Any, Any]:
    """The model as the emitted script loads it, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="right")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(job.seed)
    model = AutoModelForCausalLM.from_pretrained(
        job.model, dtype=torch.float32, attn_implementation=job.attention
    )
    return model, tokenizer


def adapter(job: Job) -> Any:
    """peft's config of the job's LoRA, or None."""
    from peft import LoraConfig

    if job.adapter is None:
        return None
    return LoraConfig(
        r=job.adapter.rank,
        lora_alpha=job.adapter.alpha,
        lora_dropout=0.0,
        target_modules=list(job.adapter.targets),
        task_type="CAUSAL_LM",
    )


def main() -> None:
    """Train, save the model as a user would, and save the result."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    job, result = Job.read(sys.argv[1:2]), Result()
    model, tokenizer = load(job)
    if job.adapter is not None:
        from peft import get_peft_model

        model = get_peft_model(model, adapter(job))
    end = tokenizer.eos_token or ""
    found = tokenizer(
        [text + end for text in job.texts], truncation=True, max_length=job.max_length
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(job)),
        train_dataset=[{"input_ids": ids, "labels": list(ids)} for ids in found.input_ids],
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=[clock(result)],
    )
    done = trainer.train()
    trainer.save_model(job.output)
    result.losses.append(done.training_loss)
    result.save(sys.argv[2])


if __name__ == "__main__":
    main()
