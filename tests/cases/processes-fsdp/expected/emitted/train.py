"""Tune path:models/tiny for question-answering with full fine-tuning.

recipec wrote this script from the recipe `sixteen-gpus`.
Run it by `python -m recipec_runtime train`: that checks every input's hash, pins what changes
bytes (kernels, threads) as run.json says, and calls main().
It does so in 2 machines with 8 processes each; each has a shard of the model (FSDP2)
and its share of every batch.
"""

import math

import torch
from recipec_runtime.cuda import RandomState, apart, to_device
from recipec_runtime.data import epoch_order
from recipec_runtime.loop import Loop
from recipec_runtime.metrics import answers
from recipec_runtime.modeling import decay_groups
from recipec_runtime.run import Run
from recipec_runtime.spans import (
    answer_span,
    best_answers,
    context_offsets,
    questions,
    window_parts,
)
from recipec_runtime.together import (
    Shared,
    clip_gradients,
    equally_many,
    own_parts,
    sharded,
    summed,
    whole_weights,
)
from recipec_runtime.trainable import announce
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoTokenizer

# The data: columns of a row
QUESTION = "question"  # what is asked
CONTEXT = "context"  # the text that holds the answer
ANSWERS = "answers"  # right answers and where they begin, in characters
MAX_LENGTH = 384  # tokens of a window: the question and a part of the context
DOC_STRIDE = 96  # tokens that two windows of one context share
MAX_QUESTION_LENGTH = (MAX_LENGTH - DOC_STRIDE) // 2  # tokens; longer questions are cut
MAX_ANSWER_LENGTH = 30  # tokens of the longest answer that is looked for
METRICS = ["exact_match", "f1"]  # beside the loss

# The model
ATTENTION = "sdpa"  # kernel of the attention layers, by transformers' name

# The machine
DEVICE = "cuda"  # what the model and its batches lie on

# Training
SEED = 0  # every random choice follows from it
TOTAL_STEPS = 48  # optimizer steps
STEPS_PER_EPOCH = 16  # 1000 training rows, seen 3 times at most
BATCH_SIZE = 64  # rows per optimizer step
MICRO_BATCH_SIZE = 2  # rows per forward pass of one process, as many as fit
LEARNING_RATE = 5e-05  # peak, reached after the warmup
WARMUP_STEPS = 3  # steps in which it rises from zero
WEIGHT_DECAY = 0.01  # AdamW's, on matrices; biases and norms are exempt
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm at most
LOG_EVERY = 1  # steps between two lines of the history
CHECKPOINT_EVERY = 9  # steps that a kill can cost at most
EVALUATION_BATCH_SIZE = 4  # rows per forward pass without gradients

IGNORED = -100  # label of a position that does not count, as cross_entropy knows it


def load_tokenizer(folder):
    """The tokenizer, as it lies in the model's folder."""
    return AutoTokenizer.from_pretrained(folder)


def load_base(folder):
    """The model in 32-bit floats, with a start and end per token; new where files lack it."""
    config = AutoConfig.from_pretrained(folder, num_labels=2)  # a start and an end
    model, loading = AutoModelForQuestionAnswering.from_pretrained(
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
    """Rows as windows over their contexts: tensors of shape (windows, tokens), padded.

    labels (windows, 2): the answer's first and last token; where a window does not hold all of it,
    twice the position in nothing (windows,): the first token, CLS. row (windows,): the row that a
    window is of. offsets (windows, tokens, 2): a context token's characters; -1 for others.
    """
    asked = questions(tokenizer, [row[QUESTION] for row in rows], MAX_QUESTION_LENGTH)
    batch = tokenizer(
        asked,
        [row[CONTEXT] for row in rows],
        truncation="only_second",
        max_length=MAX_LENGTH,
        stride=DOC_STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    offsets = context_offsets(batch)
    nothing = torch.zeros(len(offsets), dtype=torch.long)
    row_of = batch.overflow_to_sample_mapping
    labels = [
        answer_span(rows[row][ANSWERS], window) or (position, position)
        for row, window, position in zip(row_of.tolist(), offsets, nothing.tolist(), strict=True)
    ]
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,  # 0 in the question, 1 in the context
        "labels": torch.tensor(labels),
        "nothing": nothing,
        "offsets": torch.tensor(offsets),
        "row": row_of,
    }


def span_logits(model, batch):
    """Of each token, a number as the answer's first and one as its last: (windows, tokens, 2)."""
    found = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        token_type_ids=batch["token_type_ids"],
    )
    logits = torch.stack([found.start_logits, found.end_logits], -1)
    # padding is never the answer, so a window's loss does not depend on how long the others are
    padding = batch["attention_mask"].eq(0).unsqueeze(-1)
    return logits.masked_fill(padding, torch.finfo(logits.dtype).min)


def loss_of(logits, labels):
    """Cross-entropy in nats over the tokens of a window, summed over first and last tokens."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")


def summed_loss(model, batch):
    """The batch's loss in nats, summed over all windows."""
    return loss_of(span_logits(model, batch), batch["labels"])


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
    loss = torch.zeros((), dtype=torch.float64, device=DEVICE)
    for number, (part, weight) in enumerate(parts, 1):
        model.set_requires_gradient_sync(number == len(parts))  # gradients are summed up once
        with torch.autocast(DEVICE, dtype=torch.bfloat16):  # the weights stay as they are
            total = summed_loss(model, to_device(part, DEVICE))
        mean = weight * total / (count or 1)
        mean.backward()
        loss += mean.detach()
    norm = clip_gradients(model, MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return summed(loss.item()), norm


def evaluate(model, tokenizer, rows):
    """Loss per first or last token, the metrics, and the answer that the model finds to each row.

    An answer is the best span over all windows of a row; it is empty where "nothing" scores higher.
    """
    loss, count, texts = 0.0, 0, []
    shared = Shared(rows, EVALUATION_BATCH_SIZE)
    with apart(model):
        for some in shared:  # this process's
            batch = collate(tokenizer, some)
            # a long context has many windows: no more of them at once than rows otherwise
            parts = window_parts(batch, EVALUATION_BATCH_SIZE)
            passes = equally_many(parts)  # the processes gather the model together
            scored = [span_logits(model, to_device(part, DEVICE)).cpu() for part in passes]
            logits = torch.cat(scored[: len(parts)])
            loss += loss_of(logits, batch["labels"]).item()
            count += batch["labels"].numel()
            contexts = [row[CONTEXT] for row in some]
            texts += best_answers(contexts, batch, logits, MAX_ANSWER_LENGTH)
    loss, count, texts = shared.together(loss, count, texts)
    found = answers(texts, [row[ANSWERS]["text"] for row in rows])
    metrics = {"loss": loss / count} | {name: found[name] for name in METRICS}
    return metrics, [{"prediction": text} for text in texts]


def main(run: Run):
    """Train from the start, or from the checkpoint that a killed run left; then save."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", QUESTION, CONTEXT, ANSWERS)
    validation = run.rows("validation", QUESTION, CONTEXT, ANSWERS)

    torch.manual_seed(SEED)  # before the model is made: new layers start from it
    model = sharded(announce(load_base(run.model)), DEVICE)
    model.train()
    torch.manual_seed(SEED + (run.ranks.rank << 32))  # each process draws its own dropout
    groups = decay_groups(model, WEIGHT_DECAY)
    # one kernel for all weights: the fastest; it rounds otherwise than the others
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)

    loop = Loop(
        run,
        model,
        optimizer,
        steps=TOTAL_STEPS,
        log_every=LOG_EVERY,
        checkpoint_every=CHECKPOINT_EVERY,
        random=RandomState(DEVICE),
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
    weights = whole_weights(model)  # gathered by the first process
    if run.first:
        with run.new_model() as folder:
            model.save_pretrained(folder, state_dict=weights)
    loop.finish()


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["train"]))
