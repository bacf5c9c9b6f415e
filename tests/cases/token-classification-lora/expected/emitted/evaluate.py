"""Measure the tuned model of the recipe `clauses` on its test rows.

recipec wrote this script too. Run it by `python -m recipec_runtime evaluate`: that
checks every input's hash and the tuned model's, and calls main(). Batches, loss and metrics are
those of train.py, beside the same numbers for the model as it was before.
"""

import torch
from recipec_runtime.metrics import tagging
from recipec_runtime.run import Run
from recipec_runtime.tags import most_common
from train import LABELS, SEED, TAGS, WORDS, evaluate, load_base, load_tokenizer, load_tuned


def main(run: Run):
    """Measure before and after, write what the tuned model says to every row, check the gates."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("test", WORDS, TAGS)

    torch.manual_seed(SEED)  # layers that the model's files lack start as they did in training
    untuned, _ = evaluate(load_base(run.model), tokenizer, rows)
    tuned, predictions = evaluate(load_tuned(run), tokenizer, rows)
    metrics = {"tuned": tuned, "untuned": untuned}
    # what one and the same tag for every word would reach
    wanted = [row[TAGS] for row in rows]
    usual = most_common((tag for tags in wanted for tag in tags), LABELS)
    metrics["majority_tag"] = tagging([[usual] * len(tags) for tags in wanted], wanted)

    table = [{**row, **prediction} for row, prediction in zip(rows, predictions, strict=True)]
    run.finish("test", metrics, table)


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["evaluate"]))
