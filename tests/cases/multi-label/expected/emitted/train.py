"""Tune path:models/tiny for sequence-classification with full fine-tuning.

recipec wrote this script from the recipe `topics`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
"""

import math

import torch
from recipec_runtime.data import batches, epoch_order
from recipec_runtime.lengths import fitting
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import label_sets
from recipec_runtime.modeling import apart, clip_gradients, decay_groups
from recipec_runtime.run import Run
from recipec_runtime.trainable import announce
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

# The data: columns of a row
TEXT = "text"  # the text to read
LABEL = "topics"  # the names of its labels, any number of them
# the labels; their order is that of the model's outputs
LABELS = ["billing", "delivery"]
THRESHOLD = 0.5  # a label is named from this probability on
# weight of a row that has the label, beside 1 for one that has not
CLASS_WEIGHTS = [0.666667, 2.333333]
MAX_LENGTH = 512  # tokens; longer texts are cut
METRICS = ["accuracy", "f1"]  # beside the loss

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name

# Training
SEED = 0  # every random choice follows from it
TOTAL_STEPS = 189  # optimizer steps
STEPS_PER_EPOCH = 63  # 1000 training rows, seen 3 times at most
BATCH_SIZE = 16  # rows per optimizer step
LEARNING_RATE = 5e-05  # peak, reached after the warmup
WARMUP_STEPS = 12  # steps in which it rises from zero
WEIGHT_DECAY = 0.01  # AdamW's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm at most
MAX_LOST = 0.1  # share of the rows that may be empty
LOG_EVERY = 1  # steps between two lines of the history
CHECKPOINT_EVERY = 37  # steps that a kill can cost at most
EVALUATION_BATCH_SIZE = 32  # rows per forward pass without gradients

IGNORED = -100  # label of a position that does not count, as cross_entropy knows it


def load_tokenizer(folder):
    """The tokenizer, as it lies in the model's folder; padding goes on the right."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # any token does: padding never counts
    return tokenizer


def load_base(folder):
    """The model in 32-bit floats, with an output per class; what its files lack is made new."""
    config = AutoConfig.from_pretrained(
        folder,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
        problem_type="multi_label_classification",
    )
    config.pad_token_id = load_tokenizer(folder).pad_token_id  # what comes after is no text
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        attn_implementation=ATTENTION,
        ignore_mismatched_sizes=True,  # the files may hold a head for another task
        output_loading_info=True,
    )
    model.missing = sorted(loading["missing_keys"])
    return model


def load_tuned(run):
    """The tuned model: it was saved whole, so it stands alone."""
    return load_base(run.trained_model)


def collate(tokenizer, rows):
    """Rows as tensors: texts of shape (rows, tokens), padded to the longest; labels, which are 0.0
    or 1.0, (rows, classes).
    """
    batch = tokenizer(
        [row[TEXT] for row in rows],
        truncation=True,
        max_length=MAX_LENGTH,
        padding=True,
        return_tensors="pt",
    )
    labels = torch.tensor([[float(label in row[LABEL]) for label in LABELS] for row in rows])
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "labels": labels,
    }


def class_logits(model, batch):
    """One number per row and class; shape (rows, classes)."""
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def loss_of(logits, labels):
    """Binary cross-entropy in nats, summed over rows and classes."""
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits,
        labels,
        pos_weight=torch.tensor(CLASS_WEIGHTS),
        reduction="sum",
    )


def summed_loss(model, batch):
    """The batch's loss in nats, summed."""
    return loss_of(class_logits(model, batch), batch["labels"])


def token_counts(tokenizer, rows):
    """Tokens of each row's text, and the most that are taken."""
    texts = tokenizer([row[TEXT] for row in rows]).input_ids
    return [[(len(text), MAX_LENGTH)] for text in texts]


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
    """Loss per row and class, the metrics, and the labels that the model names for each row."""
    loss, count, named = 0.0, 0, []
    with apart(model):
        for some in batches(rows, EVALUATION_BATCH_SIZE):
            batch = collate(tokenizer, some)
            logits = class_logits(model, batch)
            loss += loss_of(logits, batch["labels"]).item()
            count += batch["labels"].numel()
            likely = logits.sigmoid().ge(THRESHOLD).tolist()
            named += [
                [label for label, yes in zip(LABELS, row, strict=True) if yes] for row in likely
            ]
    found = label_sets(named, [row[LABEL] for row in rows], LABELS)
    metrics = {"loss": loss / count} | {name: found[name] for name in METRICS}
    return metrics, [{"prediction": names} for names in named]


def main(run: Run):
    """Train from the start, or from the checkpoint that a killed run left; then save."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", TEXT, LABEL)
    validation = run.rows("validation", TEXT, LABEL)
    rows, lost = fitting(tokenizer, rows, token_counts, max_lost=MAX_LOST)

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
        steps=TOTAL_STEPS,
        log_every=LOG_EVERY,
        checkpoint_every=CHECKPOINT_EVERY,
        lost=lost,
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
