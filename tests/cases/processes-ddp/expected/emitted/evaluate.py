"""Measure the tuned model of the recipe `two-processes` on its validation rows.

recipec wrote this script too. Run it by `python -m recipec_runtime evaluate`: that
checks every input's hash and the tuned model's, and calls main(). Batches, loss and metrics are
those of train.py, beside the same numbers for the model as it was before.
"""

import torch
from recipec_runtime.metrics import lead_sentence, rouge
from recipec_runtime.run import Run
from train import METRICS, SEED, SOURCE, TARGET, evaluate, load_base, load_tokenizer, load_tuned


def main(run: Run):
    """Measure before and after, write what the tuned model says to every row, check the gates."""
    tokenizer = load_tokenizer(run.model)
    rows = run.rows("validation", SOURCE, TARGET)

    torch.manual_seed(SEED)  # layers that the model's files lack start as they did in training
    untuned, _ = evaluate(load_base(run.model), tokenizer, rows)
    tuned, predictions = evaluate(load_tuned(run), tokenizer, rows)
    metrics = {"tuned": tuned, "untuned": untuned}
    # the first sentence of the source is what any summary must beat
    leads = [lead_sentence(row[SOURCE]) for row in rows]
    metrics["lead_sentence"] = rouge(leads, [row[TARGET] for row in rows], METRICS)

    table = [{**row, **prediction} for row, prediction in zip(rows, predictions, strict=True)]
    run.finish("validation", metrics, table)


if __name__ == "__main__":
    from recipec_runtime.launch import main as launch

    raise SystemExit(launch(["evaluate"]))
