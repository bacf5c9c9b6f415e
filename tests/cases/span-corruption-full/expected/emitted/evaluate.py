"""Measure the tuned model of the recipe `spans` on its train rows.

recipec wrote this script too. Run it by `python -m recipec_runtime evaluate`: that
checks every input's hash and the tuned model's, and calls main(). Batches, loss and metrics are
those of train.py, beside the same numbers for the model as it was before.
"""

import torch
from recipec_runtime.corruption import blocks
from recipec_runtime.run import Run
from train import MAX_LENGTH, SEED, TEXT, evaluate, load_base, load_tokenizer, load_tuned


def main(run: Run):
    """Measure before and after, write what the tuned model says to every row, check the gates."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("train", TEXT)
    rows = blocks(tokenizer, [row[TEXT] for row in rows], MAX_LENGTH)

    torch.manual_seed(SEED)  # layers that the model's files lack start as they did in training
    untuned, _ = evaluate(load_base(run.model), tokenizer, rows)
    tuned, predictions = evaluate(load_tuned(run), tokenizer, rows)
    metrics = {"tuned": tuned, "untuned": untuned}

    texts = [{"text": tokenizer.decode(row["input_ids"])} for row in rows]
    table = [{**text, **found} for text, found in zip(texts, predictions, strict=True)]
    run.finish("train", metrics, table)


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["evaluate"]))
