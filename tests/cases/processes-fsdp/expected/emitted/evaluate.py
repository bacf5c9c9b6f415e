"""Measure the tuned model of the recipe `sixteen-gpus` on its validation rows.

recipec wrote this script too. Run it by `python -m recipec_runtime evaluate`: that
checks every input's hash and the tuned model's, and calls main(). Batches, loss and metrics are
those of train.py, beside the same numbers for the model as it was before.
"""

import torch
from recipec_runtime.metrics import answers, lead_sentence
from recipec_runtime.run import Run
from recipec_runtime.together import sharded
from train import (
    ANSWERS,
    CONTEXT,
    DEVICE,
    QUESTION,
    SEED,
    evaluate,
    load_base,
    load_tokenizer,
    load_tuned,
)


def main(run: Run):
    """Measure before and after, write what the tuned model says to every row, check the gates."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("validation", QUESTION, CONTEXT, ANSWERS)

    torch.manual_seed(SEED)  # layers that the model's files lack start as they did in training
    untuned, _ = evaluate(sharded(load_base(run.model), DEVICE), tokenizer, rows)
    tuned, predictions = evaluate(sharded(load_tuned(run), DEVICE), tokenizer, rows)
    metrics = {"tuned": tuned, "untuned": untuned}
    # what the first sentence of the context would reach
    leads = [lead_sentence(row[CONTEXT]) for row in rows]
    metrics["lead_sentence"] = answers(leads, [row[ANSWERS]["text"] for row in rows])

    table = [{**row, **prediction} for row, prediction in zip(rows, predictions, strict=True)]
    run.finish("validation", metrics, table)


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["evaluate"]))
