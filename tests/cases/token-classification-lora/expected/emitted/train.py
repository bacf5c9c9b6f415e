"""Tune path:models/tiny for token-classification with LoRA.

recipec wrote this script from the recipe `clauses`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
"""

import math

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from recipec_runtime.data import batches, epoch_order
from recipec_runtime.lengths import fitting
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import tagging
from recipec_runtime.modeling import apart, clip_gradients, decay_groups, head_layers
from recipec_runtime.run import Run
from recipec_runtime.tags import OUTSIDE, sentence, word_starts
from recipec_runtime.trainable import announce
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

# The data: columns of a row
WORDS = "tokens"  # the words of a text
TAGS = "ner_tags"  # the tag of each word
# the tags; their order is that of the model's outputs
LABELS = ["O", "B-PARTY", "I-PARTY", "B-DATE", "I-DATE"]
# weight of each tag in the loss
CLASS_WEIGHTS = [0.2, 1.0, 1.0, 1.0, 1.0]
MAX_LENGTH = 512  # tokens; of longer texts the last words are not seen
METRICS = ["f1", "accuracy"]  # beside the loss

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name
RANK = 8  # of the update of each adapted matrix
ALPHA = 16  # the update is multiplied by ALPHA / RANK
ADAPTER_DROPOUT = 0.0  # probability, before the update
# names of the linear layers that are adapted
TARGET_MODULES = ["c_attn", "c_fc", "c_proj"]
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
LABEL_SMOOTHING = 0.1  # share of the probability spread over all classes
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
    )
    config.pad_token_id = load_tokenizer(folder).pad_token_id  # what comes after is no text
    model, loading = AutoModelForTokenClassification.from_pretrained(
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
    """Rows as tensors of shape (rows, tokens), padded to the longest.

    labels holds a word's tag at the word's first token, and IGNORED at every other token. starts,
    of shape (rows, words), holds the position of that token; -1 for a word that has none.
    """
    batch = tokenizer(
        [sentence(row[WORDS]) for row in rows],
        truncation=True,
        max_length=MAX_LENGTH,
        padding=True,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    labels = torch.full_like(batch.input_ids, IGNORED)
    starts = torch.full((len(rows), max(len(row[WORDS]) for row in rows)), -1)
    for number, (row, offsets) in enumerate(zip(rows, batch.offset_mapping.tolist(), strict=True)):
        positions = word_starts(row[WORDS], offsets)
        starts[number, : len(positions)] = torch.tensor(positions, dtype=torch.long)
        for position, tag in zip(positions, row[TAGS], strict=True):
            if position >= 0:
                labels[number, position] = LABELS.index(tag)
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "labels": labels,
        "starts": starts,
    }


def tag_logits(model, batch):
    """One number per token and tag; shape (rows, tokens, tags)."""
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def loss_of(logits, labels, smoothing=0.0):
    """Cross-entropy in nats, summed over words, each by its tag's weight."""
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        weight=torch.tensor(CLASS_WEIGHTS),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=smoothing,
    )


def summed_loss(model, batch, smoothing=0.0):
    """The batch's loss in nats, summed over all words."""
    return loss_of(tag_logits(model, batch), batch["labels"], smoothing)


def weight_of(batch):
    """Weights of the tags of the batch's words, summed: what the loss is divided by."""
    labels = batch["labels"]
    return torch.tensor(CLASS_WEIGHTS)[labels[labels.ne(IGNORED)]].sum().item()


def token_counts(tokenizer, rows):
    """Tokens of each row's words, and the most that are taken."""
    texts = tokenizer([sentence(row[WORDS]) for row in rows]).input_ids
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
    count = weight_of(batch)
    mean = summed_loss(model, batch, LABEL_SMOOTHING) / (count or 1)
    mean.backward()
    loss = mean.item()
    norm = clip_gradients(model, MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss, norm


def evaluate(model, tokenizer, rows):
    """Loss per word, the metrics, and the tag that the model gives to each word.

    A word that the model does not see, because its text was cut before it, is tagged O: its entity
    counts as missed. If there are such words, the metrics tell how many (unseen_words).
    """
    loss, count, unseen, tagged = 0.0, 0, 0, []
    with apart(model):
        for some in batches(rows, EVALUATION_BATCH_SIZE):
            batch = collate(tokenizer, some)
            logits = tag_logits(model, batch)
            loss += loss_of(logits, batch["labels"]).item()
            count += weight_of(batch)
            likeliest = logits.argmax(2).tolist()
            for row, best, starts in zip(some, likeliest, batch["starts"].tolist(), strict=True):
                seen = starts[: len(row[WORDS])]
                unseen += seen.count(-1)
                tagged.append([LABELS[best[at]] if at >= 0 else OUTSIDE for at in seen])
    found = tagging(tagged, [row[TAGS] for row in rows])
    metrics = {"loss": loss / (count or 1)} | {name: found[name] for name in METRICS}
    if unseen:
        metrics["unseen_words"] = unseen
    return metrics, [{"prediction": tags} for tags in tagged]


def main(run: Run):
    """Train from the start, or from the checkpoint that a killed run left; then save."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", WORDS, TAGS)
    validation = run.rows("validation", WORDS, TAGS)
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
