"""Tune path:models/tiny for instruction with LoRA.

recipec wrote this script from the recipe `chat`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
"""

import math

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from recipec_runtime.chat import chat_tokens, check_chats
from recipec_runtime.data import batches, epoch_order
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import perplexity
from recipec_runtime.modeling import apart, clip_gradients, decay_groups
from recipec_runtime.packing import packed, padded
from recipec_runtime.run import Run
from recipec_runtime.trainable import announce
from transformers import AutoModelForCausalLM, AutoTokenizer

# The data: columns of a row
MESSAGES = "turns"  # a chat: a list of {role, content}
MAX_LENGTH = 200  # tokens of a chat; longer ones are cut
MAX_LOST = 0.1  # share of the rows that may lose their whole answer to that
MAX_NEW_TOKENS = 50  # longest answer that is generated

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name
RANK = 4  # of the update of each adapted matrix
ALPHA = 8  # the update is multiplied by ALPHA / RANK
ADAPTER_DROPOUT = 0.0  # probability, before the update
# names of the linear layers that are adapted
TARGET_MODULES = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
BASE_MODEL = "path:models/tiny"  # what the saved adapter says it belongs to

# Training
SEED = 0  # every random choice follows from it
TOTAL_STEPS = 63  # optimizer steps
STEPS_PER_EPOCH = 63  # 1000 training rows, seen 1 times at most
BATCH_SIZE = 16  # rows per optimizer step
LEARNING_RATE = 0.0003  # peak, reached after the warmup
WARMUP_STEPS = 4  # steps in which it rises from zero
WEIGHT_DECAY = 0.01  # AdamW's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm at most
LOG_EVERY = 1  # steps between two lines of the history
CHECKPOINT_EVERY = 12  # steps that a kill can cost at most
EVALUATION_BATCH_SIZE = 32  # rows per forward pass without gradients

IGNORED = -100  # label of a position that does not count, as cross_entropy knows it


def load_tokenizer(folder):
    """The tokenizer, with the model's own chat template; padding goes on the right."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # any token does: padding never counts
    return tokenizer


def load_base(folder):
    """The model in 32-bit floats."""
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=ATTENTION,
    )


def trainable(model):
    """The model with its weights frozen and a trainable low-rank update beside each matrix.

    Hu et al. (2021), LoRA: the update starts at zero, so the model begins as it was.
    """
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=ADAPTER_DROPOUT,
        target_modules=TARGET_MODULES,
    )
    model = get_peft_model(model, config)
    config.base_model_name_or_path = BASE_MODEL  # not a folder of this machine
    return announce(model)


def load_tuned(run):
    """The model to tune with the trained adapter on it."""
    return PeftModel.from_pretrained(load_base(run.model), run.trained_model)


def conversation(row):
    """The row as a chat: a list of {role, content}."""
    return row[MESSAGES]


def collate(tokenizer, rows):
    """Rows as tensors of shape (rows, tokens), padded to the longest.

    labels[i] is the token that position i must predict: the next one,
    if the assistant says it.
    """
    chats = [chat_tokens(tokenizer, conversation(row), MAX_LENGTH) for row in rows]
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
    """Cross-entropy in nats, summed over all tokens; the texts lie end to end, without padding.

    Where positions begin anew, another text begins: no text sees another.
    """
    batch = packed(batch)
    logits = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        use_cache=False,  # with a cache, or a mask, texts would see each other
    ).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        batch["labels"].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def learning_rate(step):
    """Learning rate of step 0, 1, ...: up on a line, then down to zero along half a cosine."""
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, TOTAL_STEPS - WARMUP_STEPS)
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
    rows = run.rows("train", MESSAGES)
    validation = run.rows("validation", MESSAGES)
    check_chats(
        tokenizer,
        map(conversation, rows),
        split="train",
        max_length=MAX_LENGTH,
        max_lost=MAX_LOST,
    )

    torch.manual_seed(SEED)  # before the model is made: new layers start from it
    model = trainable(load_base(run.model))
    model.train()
    groups = decay_groups(model, WEIGHT_DECAY)
    # the fused kernel gives the same bytes on every CPU; the others do not
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)

    loop = Loop(
        run,
        model,
        optimizer,
        steps=TOTAL_STEPS,
        log_every=LOG_EVERY,
        checkpoint_every=CHECKPOINT_EVERY,
    )
    for step in loop.steps():
        epoch, position = divmod(step, STEPS_PER_EPOCH)
        if position == 0:
            loop.checkpoint(step)  # measuring takes a while; a kill meanwhile costs no step
            metrics, _ = evaluate(model, tokenizer, validation)
            loop.record(step, metrics)
        order = epoch_order(SEED, epoch, len(rows))
        chosen = order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE]
        rate = learning_rate(step)
        loss, norm = train_step(model, optimizer, tokenizer, [rows[i] for i in chosen], rate)
        loop.log(step, loss=loss, learning_rate=rate, grad_norm=norm, examples=len(chosen))

    loop.checkpoint(TOTAL_STEPS)
    metrics, _ = evaluate(model, tokenizer, validation)
    loop.record(TOTAL_STEPS, metrics)
    with run.new_model() as folder:
        model.save_pretrained(folder)
    loop.finish()


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["train"]))
