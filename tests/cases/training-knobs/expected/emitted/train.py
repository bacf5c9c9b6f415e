"""Tune path:models/tiny for sequence-classification with full fine-tuning.

recipec wrote this script from the recipe `every-knob`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
"""

import math

import torch
from pytorch_optimizer import Lion
from recipec_runtime.data import batches, epoch_order, split_rows
from recipec_runtime.ema import MovingAverage
from recipec_runtime.lengths import fitting
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import classification
from recipec_runtime.modeling import apart, clip_gradients, decay_groups
from recipec_runtime.noise import add_noise
from recipec_runtime.run import Run
from recipec_runtime.trainable import announce
from recipec_runtime.watch import Watch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

# The data: columns of a row
TEXT = "text"  # the text to read
LABEL = "label"  # the name of its class
# the classes; their order is that of the model's outputs
LABELS = ["billing", "delivery"]
MAX_LENGTH = 64  # tokens; longer texts are cut
METRICS = ["accuracy", "f1"]  # beside the loss

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name

# Training
SEED = 0  # every random choice follows from it
EPOCHS = 2  # passes over the training rows that are short enough
BATCH_SIZE = 32  # rows per optimizer step
MICRO_BATCH_SIZE = 8  # rows per forward pass, as many as fit; 4 make a step
LEARNING_RATE = 1e-05  # peak, reached after the warmup
WARMUP_STEPS = 5  # steps in which it rises from zero
DECAY_STEPS = 13  # steps in which it falls to zero, at the end
BETAS = [0.9, 0.95]  # decay of the mean gradient, and of its memory
WEIGHT_DECAY = 0.01  # Lion's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 0.5  # gradients are scaled down to this norm at most
LABEL_SMOOTHING = 0.1  # share of the probability spread over all classes
NEFTUNE_ALPHA = 5.0  # size of the noise on the input embeddings
EMA_DECAY = 0.99  # of the moving average of the weights, which is saved
MAX_LOST = 0.2  # share of the rows that may be empty or too long
LOG_EVERY = 1  # steps between two lines of the history
CHECKPOINT_EVERY = 12  # steps that a kill can cost at most
EVALUATE_EVERY = 10  # steps between two evaluations
WATCHED = "f1"  # the validation metric that says which weights are best
PATIENCE = 3  # evaluations without progress after which training ends
MIN_DELTA = 0.001  # least change that counts as progress
EVALUATION_BATCH_SIZE = 16  # rows per forward pass without gradients

IGNORED = -100  # label of a position that does not count, as cross_entropy knows it


def load_tokenizer(folder):
    """The tokenizer, as it lies in the model's folder."""
    return AutoTokenizer.from_pretrained(folder)


def load_base(folder):
    """The model in 32-bit floats, with an output per class; what its files lack is made new."""
    config = AutoConfig.from_pretrained(
        folder,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
        problem_type="single_label_classification",
    )
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
    """Rows as tensors: texts of shape (rows, tokens), padded to the longest; labels (rows,)."""
    batch = tokenizer(
        [row[TEXT] for row in rows],
        truncation=True,
        max_length=MAX_LENGTH,
        padding=True,
        return_tensors="pt",
    )
    labels = torch.tensor([LABELS.index(row[LABEL]) for row in rows])
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "labels": labels,
    }


def class_logits(model, batch):
    """One number per row and class; shape (rows, classes)."""
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def loss_of(logits, labels, smoothing=0.0):
    """Cross-entropy in nats, summed over rows."""
    return torch.nn.functional.cross_entropy(
        logits,
        labels,
        reduction="sum",
        label_smoothing=smoothing,
    )


def summed_loss(model, batch, smoothing=0.0):
    """The batch's loss in nats, summed over all rows."""
    return loss_of(class_logits(model, batch), batch["labels"], smoothing)


def token_counts(tokenizer, rows):
    """Tokens of each row's text, and the most that are taken."""
    texts = tokenizer([row[TEXT] for row in rows]).input_ids
    return [[(len(text), MAX_LENGTH)] for text in texts]


def learning_rate(step, total_steps):
    """Learning rate of step 0, 1, ...: up on a line, then level, and down on a line at the end."""
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    return LEARNING_RATE * min(1.0, (total_steps - step) / DECAY_STEPS)


def train_step(model, optimizer, scaler, tokenizer, rows, rate):
    """One optimizer step on these rows; the loss before it and the gradient's norm."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    parts = [collate(tokenizer, some) for some in split_rows(rows, MICRO_BATCH_SIZE)]
    # the mean is over the whole batch, however its rows fall into micro-batches
    count = sum(int(batch["labels"].ne(IGNORED).sum()) for batch in parts)
    loss = 0.0
    for part in parts:
        with torch.autocast("cpu", dtype=torch.float16):  # the weights stay as they are
            total = summed_loss(model, part, LABEL_SMOOTHING)
        mean = total / (count or 1)
        scaler.scale(mean).backward()
        loss += mean.item()
    scaler.unscale_(optimizer)
    norm = clip_gradients(model, MAX_GRAD_NORM)
    scaler.step(optimizer)  # leaves the step out if 16 bits did not hold a gradient,
    scaler.update()  # and scales less from then on
    optimizer.zero_grad()
    return loss, norm


def evaluate(model, tokenizer, rows):
    """Loss per row, the metrics, and the class that the model names for each row."""
    loss, count, named = 0.0, 0, []
    with apart(model):
        for some in batches(rows, EVALUATION_BATCH_SIZE):
            batch = collate(tokenizer, some)
            logits = class_logits(model, batch)
            loss += loss_of(logits, batch["labels"]).item()
            count += batch["labels"].numel()
            named += [LABELS[number] for number in logits.argmax(1).tolist()]
    found = classification(named, [row[LABEL] for row in rows], LABELS)
    metrics = {"loss": loss / count} | {name: found[name] for name in METRICS}
    return metrics, [{"prediction": name} for name in named]


def main(run: Run):
    """Train from the start, or from the checkpoint that a killed run left; then save."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", TEXT, LABEL)
    validation = run.rows("validation", TEXT, LABEL)
    rows, lost = fitting(tokenizer, rows, token_counts, max_lost=MAX_LOST, drop=True)
    steps_per_epoch = math.ceil(len(rows) / BATCH_SIZE)
    total_steps = EPOCHS * steps_per_epoch

    torch.manual_seed(SEED)  # before the model is made: new layers start from it
    model = announce(load_base(run.model))
    model.train()
    add_noise(model, NEFTUNE_ALPHA)
    groups = decay_groups(model, WEIGHT_DECAY)
    optimizer = Lion(groups, lr=LEARNING_RATE, betas=BETAS)
    scaler = torch.amp.GradScaler("cpu")  # small gradients would be zero in float16
    averages = MovingAverage(model, EMA_DECAY)

    loop = Loop(
        run,
        model,
        optimizer,
        steps=total_steps,
        log_every=LOG_EVERY,
        checkpoint_every=CHECKPOINT_EVERY,
        watch=Watch(metric=WATCHED, patience=PATIENCE, min_delta=MIN_DELTA, keep_best=True),
        averages=averages,
        scaler=scaler,
        lost=lost,
        trackers=["tensorboard", "mlflow"],
    )
    for step in loop.steps():
        epoch, position = divmod(step, steps_per_epoch)
        if step % EVALUATE_EVERY == 0:
            loop.checkpoint(step)  # measuring takes a while; a kill meanwhile costs no step
            with averages.in_place():
                metrics, _ = evaluate(model, tokenizer, validation)
                if loop.record(step, metrics):
                    break
        order = epoch_order(SEED, epoch, len(rows))
        chosen = order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE]
        rate = learning_rate(step, total_steps)
        batch = [rows[i] for i in chosen]
        loss, norm = train_step(model, optimizer, scaler, tokenizer, batch, rate)
        averages.update(step)
        loop.log(step, loss=loss, learning_rate=rate, grad_norm=norm, examples=len(chosen))

    loop.checkpoint(loop.done)
    averages.put()  # they are what is measured and saved
    metrics, _ = evaluate(model, tokenizer, validation)
    loop.record(loop.done, metrics)
    if loop.restore_best():
        metrics, _ = evaluate(model, tokenizer, validation)
    with run.new_model() as folder:
        model.save_pretrained(folder)
    loop.finish(metrics)


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["train"]))
