"""Tune path:models/tiny for sequence-classification with LoRA.

recipec wrote this script from the recipe `same-clause`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
"""

import math

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from recipec_runtime.data import batches, epoch_order
from recipec_runtime.lengths import fitting
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import classification
from recipec_runtime.modeling import apart, clip_gradients, decay_groups, head_layers
from recipec_runtime.run import Run
from recipec_runtime.trainable import announce
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

# The data: columns of a row
TEXT = "first"  # the text to read
PAIR = "second"  # the text to read after it
LABEL = "verdict"  # the name of its class
# the classes; their order is that of the model's outputs
LABELS = ["billing", "delivery"]
# weight of each class in the loss
CLASS_WEIGHTS = [0.75, 1.5]
MAX_LENGTH = 128  # tokens; longer pairs are cut
METRICS = ["accuracy", "f1"]  # beside the loss

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name
RANK = 16  # of the update of each adapted matrix
ALPHA = 32  # the update is multiplied by ALPHA / RANK
ADAPTER_DROPOUT = 0.0  # probability, before the update
# names of the linear layers that are adapted
TARGET_MODULES = [
    "attention.output.dense",
    "intermediate.dense",
    "key",
    "output.dense",
    "query",
    "value",
]
BASE_MODEL = "path:models/tiny"  # what the saved adapter says it belongs to

# Training
SEED = 0  # every random choice follows from it
TOTAL_STEPS = 189  # optimizer steps
STEPS_PER_EPOCH = 63  # 1000 training rows, seen 3 times at most
BATCH_SIZE = 16  # rows per optimizer step
LEARNING_RATE = 0.001  # peak, reached after the warmup
WARMUP_STEPS = 12  # steps in which it rises from zero
WEIGHT_DECAY = 0.01  # AdamW's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm at most
MAX_LOST = 0.1  # share of the rows that may be empty
LOG_EVERY = 1  # steps between two lines of the history
CHECKPOINT_EVERY = 37  # steps that a kill can cost at most
EVALUATION_BATCH_SIZE = 32  # rows per forward pass without gradients

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


def trainable(model):
    """The model with its weights frozen and a trainable low-rank update beside each matrix.

    Hu et al. (2021), LoRA: the update starts at zero, so the model begins as it was.
    Trained whole beside it: the new head.
    """
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=ADAPTER_DROPOUT,
        target_modules=TARGET_MODULES,
        modules_to_save=head_layers(model, model.missing),
    )
    model = get_peft_model(model, config)
    config.base_model_name_or_path = BASE_MODEL  # not a folder of this machine
    return announce(model)


def load_tuned(run):
    """The model to tune with the trained adapter on it."""
    return PeftModel.from_pretrained(load_base(run.model), run.trained_model)


def collate(tokenizer, rows):
    """Rows as tensors: texts of shape (rows, tokens), padded to the longest; labels (rows,)."""
    batch = tokenizer(
        [row[TEXT] for row in rows],
        [row[PAIR] for row in rows],
        truncation=True,
        max_length=MAX_LENGTH,
        padding=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    labels = torch.tensor([LABELS.index(row[LABEL]) for row in rows])
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,  # 0 in the first text, 1 in the second
        "labels": labels,
    }


def class_logits(model, batch):
    """One number per row and class; shape (rows, classes)."""
    return model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        token_type_ids=batch["token_type_ids"],
    ).logits


def loss_of(logits, labels):
    """Cross-entropy in nats, summed over rows, each by its class's weight."""
    return torch.nn.functional.cross_entropy(
        logits,
        labels,
        weight=torch.tensor(CLASS_WEIGHTS),
        reduction="sum",
    )


def summed_loss(model, batch):
    """The batch's loss in nats, summed over all rows."""
    return loss_of(class_logits(model, batch), batch["labels"])


def weight_of(batch):
    """Weights of the batch's classes, summed: what the loss is divided by."""
    return torch.tensor(CLASS_WEIGHTS)[batch["labels"]].sum().item()


def token_counts(tokenizer, rows):
    """Tokens of each row's two texts together, and the most that are taken."""
    pairs = [(row[TEXT], row[PAIR]) for row in rows]
    return [[(len(pair), MAX_LENGTH)] for pair in tokenizer(pairs).input_ids]


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
    count = weight_of(batch)
    mean = summed_loss(model, batch) / (count or 1)
    mean.backward()
    loss = mean.item()
    norm = clip_gradients(model, MAX_GRAD_NORM)
    optimizer.step()
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
            count += weight_of(batch)
            named += [LABELS[number] for number in logits.argmax(1).tolist()]
    found = classification(named, [row[LABEL] for row in rows], LABELS)
    metrics = {"loss": loss / count} | {name: found[name] for name in METRICS}
    return metrics, [{"prediction": name} for name in named]


def main(run: Run):
    """Train from the start, or from the checkpoint that a killed run left; then save."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", TEXT, PAIR, LABEL)
    rows, lost = fitting(tokenizer, rows, token_counts, max_lost=MAX_LOST)

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
        lost=lost,
    )
    for step in loop.steps():
        epoch, position = divmod(step, STEPS_PER_EPOCH)
        order = epoch_order(SEED, epoch, len(rows))
        chosen = order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE]
        rate = learning_rate(step)
        loss, norm = train_step(model, optimizer, tokenizer, [rows[i] for i in chosen], rate)
        loop.log(step, loss=loss, learning_rate=rate, grad_norm=norm, examples=len(chosen))

    with run.new_model() as folder:
        model.save_pretrained(folder)
    loop.finish()


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["train"]))
