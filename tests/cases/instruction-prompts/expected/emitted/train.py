"""Tune path:models/tiny for instruction with full fine-tuning.

recipec wrote this script from the recipe `prompts`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
"""

import math
import sys

import torch
from recipec_runtime.chat import TEMPLATES, chat_tokens, check_chats, keep_template
from recipec_runtime.data import batches, epoch_order, split_rows
from recipec_runtime.lengths import fitting
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import perplexity
from recipec_runtime.modeling import apart, clip_gradients, decay_groups
from recipec_runtime.packing import padded
from recipec_runtime.run import Run
from recipec_runtime.trainable import announce
from transformers import AutoModelForCausalLM, AutoTokenizer

# The data: columns of a row
SOURCE = "question"  # what the user says
TARGET = "answer"  # what the assistant must answer
SYSTEM = "role"  # what both are told first
MAX_LENGTH = 128  # tokens of a chat; longer ones are cut
MAX_LOST = 0.1  # share of the rows that may lose their whole answer to that
MAX_NEW_TOKENS = 32  # longest answer that is generated

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name

# Training
SEED = 0  # every random choice follows from it
EPOCHS = 3  # passes over the training rows that are short enough
BATCH_SIZE = 8  # rows per optimizer step
MICRO_BATCH_SIZE = 4  # rows per forward pass, as many as fit; 2 make a step
LEARNING_RATE = 5e-05  # peak, reached after the warmup
WARMUP_STEPS = 23  # steps in which it rises from zero
WEIGHT_DECAY = 0.01  # AdamW's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm at most
LOG_EVERY = 3  # steps between two lines of the history
CHECKPOINT_EVERY = 75  # steps that a kill can cost at most
EVALUATION_BATCH_SIZE = 8  # rows per forward pass without gradients

IGNORED = -100  # label of a position that does not count, as cross_entropy knows it


def load_tokenizer(folder):
    """The tokenizer, with the chat template alpaca; padding goes on the right."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # any token does: padding never counts
    tokenizer.chat_template = TEMPLATES["alpaca"]
    return tokenizer


def load_base(folder):
    """The model in 32-bit floats."""
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=ATTENTION,
    )


def load_tuned(run):
    """The tuned model: it was saved whole, so it stands alone."""
    return load_base(run.trained_model)


def conversation(row):
    """The row as a chat: a list of {role, content}."""
    return [
        {"role": "system", "content": row[SYSTEM]},
        {"role": "user", "content": row[SOURCE]},
        {"role": "assistant", "content": row[TARGET]},
    ]


def collate(tokenizer, rows):
    """Rows as tensors of shape (rows, tokens), padded to the longest.

    labels[i] is the token that position i must predict: the next one.
    """
    chats = [
        chat_tokens(tokenizer, conversation(row), MAX_LENGTH, every_token=True) for row in rows
    ]
    ids, labels = zip(*chats, strict=True)
    return {
        "input_ids": padded(ids, tokenizer.pad_token_id),
        "attention_mask": padded([[1] * len(row) for row in ids], 0),
        "labels": padded(labels, IGNORED),
    }


def row_losses(model, batch):
    """Cross-entropy in nats, summed over the tokens of each row; shape (rows,)."""
    labels = batch["labels"]
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
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


def token_counts(tokenizer, rows):
    """Tokens of each row's whole chat, and the most that are taken."""
    chats = [chat_tokens(tokenizer, conversation(row), sys.maxsize) for row in rows]
    return [[(len(ids), MAX_LENGTH)] for ids, _ in chats]


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
    parts = [collate(tokenizer, some) for some in split_rows(rows, MICRO_BATCH_SIZE)]
    # the mean is over the whole batch, however its rows fall into micro-batches
    count = sum(int(batch["labels"].ne(IGNORED).sum()) for batch in parts)
    loss = 0.0
    for part in parts:
        mean = summed_loss(model, part) / (count or 1)
        mean.backward()
        loss += mean.item()
    norm = clip_gradients(model, MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss, norm


def evaluate(model, tokenizer, rows):
    """Loss per token and its exponential; and the loss of each row."""
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
    rows = run.rows("train", SOURCE, TARGET, SYSTEM)
    check_chats(
        tokenizer,
        map(conversation, rows),
        split="train",
        max_length=MAX_LENGTH,
        max_lost=MAX_LOST,
        every_token=True,
    )
    rows, lost = fitting(tokenizer, rows, token_counts, max_lost=MAX_LOST, drop=True)
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
        lost=lost,
    )
    for step in loop.steps():
        epoch, position = divmod(step, steps_per_epoch)
        order = epoch_order(SEED, epoch, len(rows))
        chosen = order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE]
        rate = learning_rate(step, total_steps)
        loss, norm = train_step(model, optimizer, tokenizer, [rows[i] for i in chosen], rate)
        loop.log(step, loss=loss, learning_rate=rate, grad_norm=norm, examples=len(chosen))

    with run.new_model() as folder:
        model.save_pretrained(folder)
        keep_template(tokenizer, folder)
    loop.finish()


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["train"]))
