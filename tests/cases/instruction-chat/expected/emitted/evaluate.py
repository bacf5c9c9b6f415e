"""Measure the tuned model of the recipe `chat` on its validation rows.

recipec wrote this script too. Run it by `python -m recipec_runtime evaluate`: that
checks every input's hash and the tuned model's, and calls main(). Batches, loss and metrics are
those of train.py, beside the same numbers for the model as it was before.
"""

import torch
from recipec_runtime.chat import answer
from recipec_runtime.run import Run
from train import (
    MAX_LENGTH,
    MAX_NEW_TOKENS,
    MESSAGES,
    SEED,
    conversation,
    evaluate,
    load_base,
    load_tokenizer,
    load_tuned,
)


def main(run: Run):
    """Measure before and after, write what the tuned model says to every row, check the gates."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("validation", MESSAGES)

    torch.manual_seed(SEED)  # layers that the model's files lack start as they did in training
    untuned, _ = evaluate(load_base(run.model), tokenizer, rows)
    model = load_tuned(run)
    tuned, predictions = evaluate(model, tokenizer, rows)
    # what the first 100 rows are answered, greedily: to be read, not measured
    chats = [conversation(row) for row in rows[:100]]
    lengths = {"max_new_tokens": MAX_NEW_TOKENS, "max_length": MAX_LENGTH}
    for found, text in zip(predictions, answer(model, tokenizer, chats, **lengths), strict=False):
        found["prediction"] = text
    metrics = {"tuned": tuned, "untuned": untuned}

    table = [{**row, **prediction} for row, prediction in zip(rows, predictions, strict=True)]
    run.finish("validation", metrics, table)


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["evaluate"]))
