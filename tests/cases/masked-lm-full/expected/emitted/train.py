"""Tune path:models/tiny for masked-lm with full fine-tuning.

recipec wrote this script from the recipe `masks`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
"""

import math

import torch
from recipec_runtime.corruption import blocks, hide_tokens
from recipec_runtime.data import batches, epoch_order
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import perplexity
from recipec_runtime.modeling import apart, clip_gradients, decay_groups
from recipec_runtime.packing import padded
from recipec_runtime.run import Run
from recipec_runtime.trainable import announce
from transformers import AutoModelForMaskedLM, AutoTokenizer

# The data: column of a row
TEXT = "body"  # the text to learn
MAX_LENGTH = 128  # tokens of a block; all texts are joined and cut into them
MASK_SHARE = 0.2  # of the tokens are hidden, in every epoch others

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name

# Training
SEED = 0  # every random choice follows from it
EPOCHS = 2  # passes over the text
BATCH_SIZE = 16  # rows per optimizer step
LEARNING_RATE = 5e-05  # peak, reached after the warmup
WARMUP_STEPS = 1  # steps in which it rises from zero
WEIGHT_DECAY = 0.01  # AdamW's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm at most
LOG_EVERY = 1  # steps between two lines of the history
CHECKPOINT_EVERY = 1  # steps that a kill can cost at most
EVALUATION_BATCH_SIZE = 32  # rows per forward pass without gradients

IGNORED = -100  # label of a position that does not count, as cross_entropy knows it


def load_tokenizer(folder):
    """The tokenizer, as it lies in the model's folder."""
    return AutoTokenizer.from_pretrained(folder)


def load_base(folder):
    """The model in 32-bit floats."""
    return AutoModelForMaskedLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=ATTENTION,
    )


def load_tuned(run):
    """The tuned model: it was saved whole, so it stands alone."""
    return load_base(run.trained_model)


def hidden(tokenizer, row, epoch, number):
    """Block `number` with some of it hidden: a function of SEED, the epoch and the number."""
    return hide_tokens(tokenizer, row, seed=SEED, epoch=epoch, row=number, share=MASK_SHARE)


def collate(tokenizer, rows):
    """Blocks as tensors of shape (rows, tokens), padded; labels tell the hidden tokens."""
    ids = [row["input_ids"] for row in rows]
    return {
        "input_ids": padded(ids, tokenizer.pad_token_id),
        "attention_mask": padded([[1] * len(row) for row in ids], 0),
        "labels": padded([row["labels"] for row in rows], IGNORED),
    }


def row_losses(model, batch):
    """Cross-entropy in nats, summed over the tokens of each row; shape (rows,)."""
    labels = batch["labels"]
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
    ).logits
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return losses.view_as(labels).sum(1)


def summed_loss(model, batch):
    """Cross-entropy in nats, summed over all tokens."""
    return row_losses(model, batch).sum()


def learning_rate(step, total_steps):
    """Learning rate of step 0, 1, ...: up on a line, then down to zero along half a cosine."""
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, total_steps - WARMUP_STEPS)
    # rounded, so that the last bit of a C library's cosine never reaches the weights
    return LEARNING_RATE * round(0.5 * (1.0 + math.cos(math.pi * done)), 12)


def train_step(model, optimizer, tokenizer, rows, rate):
    """One optimizer step on these rows; the loss before it and the gradient's norm."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    batch = collate(tokenizer, rows)
    count = int(batch["labels"].ne(IGNORED).sum())
    mean = summed_loss(model, batch) / (count or 1)
    mean.backward()
    loss = mean.item()
    norm = clip_gradients(model, MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss, norm


def evaluate(model, tokenizer, rows):
    """Loss per token and its exponential; and the loss of each row."""
    rows = [hidden(tokenizer, row, 0, number) for number, row in enumerate(rows)]
    losses, counts = [], []
    with apart(model):
        for some in batches(rows, EVALUATION_BATCH_SIZE):
            batch = collate(tokenizer, some)
            losses += row_losses(model, batch).tolist()
            counts += batch["labels"].ne(IGNORED).sum(1).tolist()
    loss = sum(losses) / max(1, sum(counts))
    metrics = {"loss": loss, "perplexity": perplexity(loss)}
    means = [total / max(1, count) for total, count in zip(losses, counts, strict=True)]
    return metrics, [{"loss": round(mean, 6)} for mean in means]


def main(run: Run):
    """Train from the start, or from the checkpoint that a killed run left; then save."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", TEXT)
    validation = run.rows("validation", TEXT)
    rows = blocks(tokenizer, [row[TEXT] for row in rows], MAX_LENGTH)
    validation = blocks(tokenizer, [row[TEXT] for row in validation], MAX_LENGTH)
    steps_per_epoch = math.ceil(len(rows) / BATCH_SIZE)
    total_steps = EPOCHS * steps_per_epoch

    torch.manual_seed(SEED)  # before the model is made: new layers start from it
    model = announce(load_base(run.model))
    model.train()
    groups = decay_groups(model, WEIGHT_DECAY)
    # the fused kernel gives the same bytes on every CPU; the others do not
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)

    loop = Loop(
        run,
        model,
        optimizer,
        steps=total_steps,
        log_every=LOG_EVERY,
        checkpoint_every=CHECKPOINT_EVERY,
    )
    for step in loop.steps():
        epoch, position = divmod(step, steps_per_epoch)
        if position == 0:
            loop.checkpoint(step)  # measuring takes a while; a kill meanwhile costs no step
            metrics, _ = evaluate(model, tokenizer, validation)
            loop.record(step, metrics)
        order = epoch_order(SEED, epoch, len(rows))
        chosen = order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE]
        rate = learning_rate(step, total_steps)
        batch = [hidden(tokenizer, rows[i], epoch, i) for i in chosen]
        loss, norm = train_step(model, optimizer, tokenizer, batch, rate)
        loop.log(step, loss=loss, learning_rate=rate, grad_norm=norm, examples=len(chosen))

    loop.checkpoint(total_steps)
    metrics, _ = evaluate(model, tokenizer, validation)
    loop.record(total_steps, metrics)
    with run.new_model() as folder:
        model.save_pretrained(folder)
    loop.finish()


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["train"]))
