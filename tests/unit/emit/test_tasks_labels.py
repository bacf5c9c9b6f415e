"""What emitted scripts compute for tasks with labels, tags and spans: batches, losses, answers.

The scripts are imported here and their functions called on tiny models; nothing is trained.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recipec.emit.script import emit_bundle
from recipec.plan.plan import Settings
from recipec_runtime.data import read_rows
from tests.support.settings import CLASSES, MULTI_LABEL, PAIRS, SPANS, TAGS, lock_of, vary
from tests.support.training import base

torch = import_module("torch")

Script = Callable[[Settings], ModuleType]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """The settings' train.py as a module."""

    def load(settings: Settings) -> ModuleType:
        source = dict(emit_bundle(settings, lock_of(base(settings.model.type), settings)))
        path = tmp_path / f"script_{len(list(tmp_path.iterdir()))}.py"
        path.write_bytes(source["train.py"])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def full(settings: Settings, model_type: str, **more: Any) -> Settings:
    """The settings for all weights of another model."""
    decoder = model_type in ("gpt2", "llama", "qwen3")
    return vary(
        settings,
        model__type=model_type,
        model__family="decoder-only" if decoder else "encoder-only",
        **{"method__type": "full", **more},
        task__segments=settings.task.segments and model_type == "bert",
    )


def rows_of(settings: Settings, split: str = "train") -> list[dict[str, Any]]:
    path = base(settings.model.type) / "data" / f"{split}.jsonl"
    return read_rows(path, [column for _, column in settings.task.columns])


def model_of(module: ModuleType, settings: Settings) -> tuple[Any, Any]:
    """Tokenizer and model without dropout."""
    folder = str(base(settings.model.type) / "model")
    torch.manual_seed(0)
    return module.load_tokenizer(folder), module.load_base(folder).eval()


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_a_decoder_judges_by_the_last_token_of_a_text(model_type: str, script: Script) -> None:
    settings = full(CLASSES, model_type)
    module = script(settings)
    tokenizer, model = model_of(module, settings)
    assert model.config.pad_token_id == tokenizer.pad_token_id is not None
    rows = rows_of(settings)[:6]
    assert len({len(tokenizer(row["text"]).input_ids) for row in rows}) > 1
    with torch.no_grad():
        alone = torch.cat(
            [module.class_logits(model, module.collate(tokenizer, [r])) for r in rows]
        )
        together = module.class_logits(model, module.collate(tokenizer, rows))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    if model_type == "llama":  # GPT-2 counts positions from the padding on
        tokenizer.padding_side = "left"
        with torch.no_grad():
            left = module.class_logits(model, module.collate(tokenizer, rows))
        torch.testing.assert_close(left, alone, atol=1e-5, rtol=1e-4)


WEIGHTS = (0.3, 1.0, 2.5)


@pytest.mark.parametrize("micro", [8, 4, 3])
def test_the_weighted_mean_is_torchs_however_rows_are_split(micro: int, script: Script) -> None:
    settings = full(CLASSES, "roberta", task__class_weights=WEIGHTS, training__label_smoothing=0.1)
    settings = vary(settings, training__max_grad_norm=0.0)  # gradients as they are
    if micro < 8:
        settings = vary(settings, training__micro_batch_size=micro, training__accumulation=2)
    module = script(settings)
    tokenizer, model = model_of(module, settings)
    rows = rows_of(settings)[:8]
    batch = module.collate(tokenizer, rows)
    wanted = torch.nn.functional.cross_entropy(
        module.class_logits(model, batch),
        batch["labels"],
        weight=torch.tensor(WEIGHTS),
        label_smoothing=0.1,
    )
    wanted.backward()
    gradient = model.classifier.out_proj.weight.grad.clone()
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    grads = []
    optimizer.register_step_pre_hook(
        lambda *_: grads.append(model.classifier.out_proj.weight.grad.clone())
    )
    loss, _ = module.train_step(model, optimizer, tokenizer, rows, 0.0)
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    torch.testing.assert_close(grads[0], gradient, atol=1e-6, rtol=1e-4)


def test_weights_of_tags_count_words_only(script: Script) -> None:
    weights = (0.1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    settings = full(TAGS, "bert", task__class_weights=weights)
    module = script(settings)
    tokenizer, model = model_of(module, settings)
    rows = rows_of(settings)[:5]
    batch = module.collate(tokenizer, rows)
    chosen = [weights[settings.task.labels.index(tag)] for row in rows for tag in row["tags"]]
    assert module.weight_of(batch) == pytest.approx(sum(chosen))
    logits = module.tag_logits(model, batch)
    wanted = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"].flatten(), weight=torch.tensor(weights)
    )
    mean = module.summed_loss(model, batch) / module.weight_of(batch)
    torch.testing.assert_close(mean, wanted)


def test_label_sets(script: Script) -> None:
    settings = full(MULTI_LABEL, "roberta", task__class_weights=(1.0, 3.0, 0.5))
    module = script(settings)
    tokenizer, model = model_of(module, settings)
    rows = rows_of(settings)[:8]
    batch = module.collate(tokenizer, rows)
    assert batch["labels"].tolist() == [
        [float(label in row["labels"]) for label in settings.task.labels] for row in rows
    ]
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        module.class_logits(model, batch), batch["labels"], pos_weight=torch.tensor([1.0, 3.0, 0.5])
    )
    metrics, predictions = module.evaluate(model, tokenizer, rows)
    assert metrics["loss"] == pytest.approx(wanted.item(), rel=1e-5)
    assert set(metrics) == {"loss", "accuracy", "f1"}
    chosen = [
        [label for label, x in zip(settings.task.labels, row, strict=True) if x >= 0]
        for row in module.class_logits(model, batch).tolist()
    ]
    assert [row["prediction"] for row in predictions] == chosen


def test_pairs_tell_bert_which_text_is_which(script: Script) -> None:
    settings = full(PAIRS, "bert")
    module = script(settings)
    tokenizer, _ = model_of(module, settings)
    row = rows_of(settings)[0]
    batch = module.collate(tokenizer, [row])
    first = len(tokenizer(row["text"]).input_ids)
    kinds = batch["token_type_ids"][0].tolist()
    assert kinds == [0] * first + [1] * (len(kinds) - first)
    assert len(kinds) > first
    assert "token_type_ids" not in script(full(PAIRS, "roberta")).collate(tokenizer, [row])


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama"])
def test_a_tag_stands_at_the_first_token_of_its_word(model_type: str, script: Script) -> None:
    settings = full(TAGS, model_type)
    module = script(settings)
    tokenizer, _ = model_of(module, settings)
    rows = rows_of(settings)[:6]
    batch = module.collate(tokenizer, rows)
    for number, row in enumerate(rows):
        starts = batch["starts"][number, : len(row["words"])].tolist()
        assert sorted(set(starts)) == starts
        for start, end, word, tag in zip(
            starts, [*starts[1:], None], row["words"], row["tags"], strict=True
        ):
            tokens = batch["input_ids"][number, start:end]
            text = tokenizer.decode(tokens, skip_special_tokens=True).replace("\u2581", " ")
            assert text.split() == [word]
            assert settings.task.labels[batch["labels"][number, start]] == tag
        assert int(batch["labels"][number].ne(-100).sum()) == len(row["words"])


def test_words_behind_the_cut_are_missed_and_counted(script: Script) -> None:
    settings = full(TAGS, "roberta", training__max_length=6)
    module = script(settings)
    tokenizer, model = model_of(module, settings)
    rows = rows_of(settings)[:4]
    metrics, predictions = module.evaluate(model, tokenizer, rows)
    unseen = int(metrics["unseen_words"])
    assert 0 < unseen < sum(len(row["words"]) for row in rows)
    for row, prediction in zip(rows, predictions, strict=True):
        assert len(prediction["prediction"]) == len(row["words"])
        assert prediction["prediction"][-1] == "O"


@pytest.mark.parametrize("model_type", ["bert", "roberta", "gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("length", [48, 34])
def test_windows_cover_the_context_and_hold_the_answer(
    model_type: str, length: int, script: Script
) -> None:
    settings = full(SPANS, model_type, training__max_length=length, task__doc_stride=8)
    module = script(settings)
    tokenizer, _ = model_of(module, settings)
    rows = rows_of(settings)[:8]
    filler = "the parcel is late. " * 12
    for row in rows[::2]:  # every second context is long, with the answer in its middle
        row["context"] = f"{filler}{row['context']} {filler}"
        row["answers"] = {
            "text": row["answers"]["text"],
            "answer_start": [row["answers"]["answer_start"][0] + len(filler)],
        }
    batch = module.collate(tokenizer, rows)
    windows = batch["row"].tolist()
    assert sorted(set(windows)) == list(range(8))
    assert len(windows) > 8
    assert batch["input_ids"].shape[1] <= length
    held = set()
    for number, row in enumerate(windows):
        (first, last), nothing = batch["labels"][number].tolist(), int(batch["nothing"][number])
        offsets = batch["offsets"][number].tolist()
        if (first, last) == (nothing, nothing):
            continue
        context, wanted = rows[row]["context"], rows[row]["answers"]["text"][0]
        assert context[offsets[first][0] : offsets[last][1]].strip(" .") == wanted
        held.add(row)
    assert held == set(range(8))
    for which in range(8):
        seen = {
            place
            for number, owner in enumerate(windows)
            if owner == which
            for first, behind in batch["offsets"][number].tolist()
            for place in range(first, behind)
        }
        text = rows[which]["context"]
        assert {p for p, c in enumerate(text) if not c.isspace()} <= seen


def test_a_long_question_is_cut(script: Script) -> None:
    settings = full(SPANS, "bert", training__max_length=40, task__doc_stride=10)
    module = script(settings)
    tokenizer, model = model_of(module, settings)
    row = dict(rows_of(settings)[0], question="is my parcel late again " * 40)
    batch = module.collate(tokenizer, [row, dict(row, context="")])
    assert batch["input_ids"].shape[1] <= 40
    _, predictions = module.evaluate(model, tokenizer, [row, dict(row, context="")])
    assert predictions[1] == {"prediction": ""}


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_the_loss_of_windows_does_not_depend_on_their_neighbours(
    model_type: str, script: Script
) -> None:
    settings = full(SPANS, model_type, training__max_length=64)
    module = script(settings)
    tokenizer, model = model_of(module, settings)
    rows = rows_of(settings)[:4]
    rows[0]["context"] += " the account is locked" * 6
    with torch.no_grad():
        together = module.summed_loss(model, module.collate(tokenizer, rows))
        alone = sum(module.summed_loss(model, module.collate(tokenizer, [row])) for row in rows)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt2", "bert"])
def test_the_body_of_the_model_is_that_of_its_files(model_type: str, script: Script) -> None:
    """transformers' LlamaForQuestionAnswering silently makes the whole model new."""
    for base_settings in (SPANS, TAGS, CLASSES):
        settings = full(base_settings, model_type)
        _, model = model_of(script(settings), settings)
        assert all(
            name.startswith(("qa_outputs", "score", "classifier", "bert.pooler"))
            for name in model.missing
        )
        if settings.model.family == "decoder-only" and base_settings is SPANS:
            assert model.config.num_labels == 2


def test_a_head_for_other_labels_is_not_in_the_way(script: Script, tmp_path: Path) -> None:
    settings = full(SPANS, "bert")
    module = script(settings)
    folder = tmp_path / "model"
    shutil.copytree(base("bert") / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "yes", "1": "no", "2": "maybe"}
    (folder / "config.json").write_text(json.dumps(config))
    model = module.load_base(str(folder))
    assert model.qa_outputs.out_features == 2


def test_a_question_without_an_answer(script: Script) -> None:
    settings = full(SPANS, "gpt2")
    module = script(settings)
    tokenizer, _ = model_of(module, settings)
    row = dict(rows_of(settings)[0], answers={"text": [], "answer_start": []})
    batch = module.collate(tokenizer, [row])
    end = int(batch["nothing"][0])
    assert batch["labels"].tolist() == [[end, end]]
    assert batch["input_ids"][0, end] == tokenizer.eos_token_id
    assert end == int(batch["attention_mask"][0].sum()) - 1
    assert json.dumps(batch["offsets"][0, end].tolist()) == "[-1, -1]"
