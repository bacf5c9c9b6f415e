"""Tune path:models/tiny for summarization with LoRA.

recipec wrote this script from the recipe `two-processes`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
It does so in 2 processes; each has the whole model (DDP)
and its share of every batch.
"""

import math

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from recipec_runtime.data import epoch_order
from recipec_runtime.lengths import fitting
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import rouge
from recipec_runtime.modeling import apart, clip_gradients, decay_groups
from recipec_runtime.run import Run
from recipec_runtime.together import Shared, own_parts, replicated, summed
from recipec_runtime.trainable import announce
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

# The data: columns of a row
SOURCE = "clause"  # the text to read
TARGET = "summary"  # the text to write
MAX_SOURCE_LENGTH = 512  # tokens; longer sources are cut
MAX_TARGET_LENGTH = 128  # tokens; longer targets are cut
MAX_NEW_TOKENS = 128  # longest text that is generated
NUM_BEAMS = 1  # always the likeliest next token (greedy)
METRICS = ["rouge1", "rouge2", "rougeL"]  # beside the loss

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name
RANK = 8  # of the update of each adapted matrix
ALPHA = 16  # the update is multiplied by ALPHA / RANK
ADAPTER_DROPOUT = 0.0  # probability, before the update
# names of the linear layers that are adapted
TARGET_MODULES = ["k", "o", "q", "v", "wi", "wo"]
BASE_MODEL = "path:models/tiny"  # what the saved adapter says it belongs to

# Training
SEED = 0  # every random choice follows from it
TOTAL_STEPS = 189  # optimizer steps
STEPS_PER_EPOCH = 63  # 1000 training rows, seen 3 times at most
BATCH_SIZE = 16  # rows per optimizer step
MICRO_BATCH_SIZE = 4  # rows per forward pass of one process, as many as fit
LEARNING_RATE = 0.0003  # peak, reached after the warmup
WARMUP_STEPS = 12  # steps in which it rises from zero
WEIGHT_DECAY = 0.01  # AdamW's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm at most
MAX_LOST = 0.1  # share of the rows that may be empty
LOG_EVERY = 1  # steps between two lines of the history
CHECKPOINT_EVERY = 37  # steps that a kill can cost at most
EVALUATION_BATCH_SIZE = 8  # rows per forward pass without gradients

IGNORED = -100  # label of a position that does not count, as cross_entropy knows it


def load_tokenizer(folder):
    """The tokenizer, as it lies in the model's folder."""
    return AutoTokenizer.from_pretrained(folder)


def load_base(folder):
    """The model in 32-bit floats."""
    return AutoModelForSeq2SeqLM.from_pretrained(
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


def collate(tokenizer, rows):
    """Rows as tensors of shape (rows, tokens), padded to the longest; padding does not count."""
    batch = tokenizer(
        [row[SOURCE] for row in rows],
        truncation=True,
        max_length=MAX_SOURCE_LENGTH,
        padding=True,
        return_tensors="pt",
    )
    target = tokenizer(
        text_target=[row[TARGET] for row in rows],
        truncation=True,
        max_length=MAX_TARGET_LENGTH,
        padding=True,
        return_tensors="pt",
    )
    labels = target.input_ids.masked_fill(target.attention_mask == 0, IGNORED)
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "labels": labels,
    }


def summed_loss(model, batch):
    """Cross-entropy in nats, summed over all target tokens."""
    labels = batch["labels"]
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels),
        use_cache=False,
    ).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def token_counts(tokenizer, rows):
    """Tokens of each row's source and of its target, and the most that are taken."""
    sources = tokenizer([row[SOURCE] for row in rows]).input_ids
    targets = tokenizer(text_target=[row[TARGET] for row in rows]).input_ids
    return [
        [(len(source), MAX_SOURCE_LENGTH), (len(target), MAX_TARGET_LENGTH)]
        for source, target in zip(sources, targets, strict=True)
    ]


def learning_rate(step):
    """Learning rate of step 0, 1, ...: up on a line, then down to zero along half a cosine."""
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, TOTAL_STEPS - WARMUP_STEPS)
    # rounded, so that the last bit of a C library's cosine never reaches the weights
    return LEARNING_RATE * round(0.5 * (1.0 + math.cos(math.pi * done)), 12)


def train_step(model, optimizer, tokenizer, rows, rate):
    """One optimizer step, shared by the processes; the loss before it and the gradient's norm."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    shares = own_parts(rows, MICRO_BATCH_SIZE)
    parts = [(collate(tokenizer, some), weight) for some, weight in shares]
    # the mean is over the whole batch, however its rows fall to processes and micro-batches
    count = summed(sum(weight * int(batch["labels"].ne(IGNORED).sum()) for batch, weight in parts))
    loss = 0.0
    for number, (part, weight) in enumerate(parts, 1):
        model.set_requires_gradient_sync(number == len(parts))  # gradients are summed up once
        mean = weight * summed_loss(model, part) / (count or 1)
        mean.backward()
        loss += mean.item()
    norm = clip_gradients(model, MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return summed(loss), norm


def evaluate(model, tokenizer, rows, generate=True):
    """Loss per target token and, if texts are generated, the metrics and the texts."""
    loss, count, texts = 0.0, 0, []
    shared = Shared(rows, EVALUATION_BATCH_SIZE)
    with apart(model):
        for some in shared:  # this process's
            batch = collate(tokenizer, some)
            loss += summed_loss(model, batch).item()
            count += int(batch["labels"].ne(IGNORED).sum())
            if generate:
                written = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=MAX_NEW_TOKENS,
                    num_beams=NUM_BEAMS,
                    do_sample=False,
                )
                texts += tokenizer.batch_decode(written, skip_special_tokens=True)
    loss, count, texts = shared.together(loss, count, texts)
    metrics = {"loss": loss / max(1, count)}
    if generate:
        metrics |= rouge(texts, [row[TARGET] for row in rows], METRICS)
    return metrics, [{"prediction": text} for text in texts]


def main(run: Run):
    """Train from the start, or from the checkpoint that a killed run left; then save."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", SOURCE, TARGET)
    validation = run.rows("validation", SOURCE, TARGET)
    rows, lost = fitting(tokenizer, rows, token_counts, max_lost=MAX_LOST)

    torch.manual_seed(SEED)  # before the model is made: new layers start from it
    model = replicated(trainable(load_base(run.model)))
    model.train()
    torch.manual_seed(SEED + (run.ranks.rank << 32))  # each process draws its own dropout
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
        lost=lost,
    )
    for step in loop.steps():
        epoch, position = divmod(step, STEPS_PER_EPOCH)
        if position == 0:
            loop.checkpoint(step)  # measuring takes a while; a kill meanwhile costs no step
            # generating is slow, so between the first evaluation and the last the loss has to do
            metrics, _ = evaluate(model, tokenizer, validation, generate=step == 0)
            loop.record(step, metrics)
        order = epoch_order(SEED, epoch, len(rows))
        chosen = order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE]
        rate = learning_rate(step)
        loss, norm = train_step(model, optimizer, tokenizer, [rows[i] for i in chosen], rate)
        loop.log(step, loss=loss, learning_rate=rate, grad_norm=norm, examples=len(chosen))

    loop.checkpoint(TOTAL_STEPS)
    metrics, _ = evaluate(model, tokenizer, validation)
    loop.record(TOTAL_STEPS, metrics)
    if run.first:
        with run.new_model() as folder:
            model.save_pretrained(folder)
    loop.finish()


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["train"]))
