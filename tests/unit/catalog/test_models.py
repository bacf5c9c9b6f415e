"""models.toml against transformers itself: every name, head, flag and regular expression."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipec.catalog.models import ModelNames, models
from tests.support import models as tiny
from tests.support import modules

Facts = dict[str, Any]
NAMES = models()
KINDS = {
    "encoder-only": {
        "masked-lm",
        "question-answering",
        "sequence-classification",
        "token-classification",
    },
    "decoder-only": {
        "causal-lm",
        "question-answering",
        "sequence-classification",
        "token-classification",
    },
    "encoder-decoder": {"seq2seq-lm"},
}
"""Kinds of head that are used of a family."""
LEAST_PACKING_LEAK = 1e-3
MOST_PACKING_ERROR = 1e-5


@pytest.fixture(scope="session")
def measured() -> dict[str, Facts]:
    """What transformers says, of every type."""
    done = subprocess.run(
        [sys.executable, str(Path(modules.__file__))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Facts] = json.loads(done.stdout)
    # the two shapes that T5's feed-forward network has
    found["t5"]["modules"] |= found["mt5"]["modules"]
    found["mt5"]["modules"] |= found["t5"]["modules"]
    return found


@pytest.fixture(params=sorted(NAMES))
def case(request: pytest.FixtureRequest, measured: dict[str, Facts]) -> tuple[ModelNames, Facts]:
    """A row of the file, and what transformers says."""
    return NAMES[request.param], measured[request.param]


def matching(name: str, names: list[str] | dict[str, Any]) -> list[str]:
    """The dotted names that peft would take for `name`."""
    return [dotted for dotted in names if dotted == name or dotted.endswith(f".{name}")]


def test_every_tiny_model_has_a_row() -> None:
    assert set(NAMES) == set(tiny.TYPES)
    assert len(NAMES) == 29


def test_every_name_is_in_the_model(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    lists = (names.linear, names.norms, names.embeddings, names.gates, names.ia3, names.feedforward)
    for listed in lists:
        assert listed == tuple(sorted(set(listed)))
        for name in listed:
            assert matching(name, facts["modules"]), name
    for name in names.experts:
        assert matching(name, facts["parameters"]), name


def test_linear_layers_are_those_of_the_blocks(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    inside = re.compile("|".join(rf"(^|\.){re.escape(b)}\.\d+\." for b in names.blocks))
    linear = {
        name
        for name, module in facts["modules"].items()
        if module["kind"] in ("Linear", "Conv1D") and inside.search(name)
    }
    gates = {hit for gate in names.gates for hit in matching(gate, facts["modules"])}
    assert {hit for n in names.linear for hit in matching(n, sorted(linear))} == linear - gates


def test_norms_are_all_of_them(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    norms = {
        name.rpartition(".")[2]
        for name, module in facts["modules"].items()
        if module["trained"] and any("Norm" in kind for kind in module["bases"])
    }
    # ModernBERT's first block has no norm before attention
    assert norms == set(names.norms)


def test_embeddings_and_positions_are_all_of_them(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    found = {
        name
        for name, module in facts["modules"].items()
        if "Embedding" in module["bases"] and "Sinusoidal" not in module["kind"]
    }
    listed = (*names.embeddings, *names.position_names)
    hits = {hit for name in listed for hit in matching(name, sorted(found))}
    shared = {name for name in found if name.endswith(".embed_tokens")}  # the same as `shared`
    assert hits | (shared if "shared" in names.embeddings else set()) == found
    learned = any("position_embeddings" in n or "wpe" in n or "embed_positions" in n for n in found)
    assert learned == (names.positions == "learned")
    assert bool(names.position_names) == (names.positions in ("learned", "relative"))


def test_attention_is_what_the_classes_support(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    flags = facts["flags"]
    expected = {"eager"}
    expected |= {"sdpa"} if flags["sdpa"] else set()
    expected |= {"flex_attention"} if flags["flex_attn"] else set()
    expected |= {f"flash_attention_{n}" for n in (2, 3, 4)} if flags["flash_attn"] else set()
    assert set(names.attention) == expected


def test_heads_are_those_of_the_auto_classes(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    kinds = KINDS[names.family]
    assert {kind: list(head) for kind, head in names.heads.items()} == {
        kind: sorted(head["names"]) for kind, head in facts["heads"].items() if kind in kinds
    }


def test_base_models_that_a_head_renames(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    heads = {kind: head["base"] for kind, head in facts["heads"].items() if kind in names.heads}
    pretrained = heads.get("causal-lm") or heads.get("masked-lm") or heads["seq2seq-lm"]
    assert names.renamed == {k: base for k, base in heads.items() if base != pretrained}
    assert not names.renamed or pretrained == "model"


def test_blocks_and_what_they_add(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    lists = [hit for name in names.blocks for hit in matching(name, facts["modules"])]
    assert [facts["modules"][name]["length"] for name in lists] == [2] * len(lists)
    attention = [n for n in facts["modules"] if re.search(names.attention_outputs, n)]
    feedforward = [n for n in facts["modules"] if re.search(names.feedforward_outputs, n)]
    # each of two blocks once; a decoder's blocks also attend to the encoder
    assert len(attention) == (6 if names.family == "encoder-decoder" else 2)
    assert len(feedforward) == 2 * len(lists)


def test_mixtures_of_experts(case: tuple[ModelNames, Facts]) -> None:
    names, facts = case
    routers = {n for n, m in facts["modules"].items() if m["kind"].endswith("Router")}
    hits = {hit for name in names.gates for hit in matching(name, facts["modules"])}
    assert routers <= hits
    assert bool(routers) == bool(names.experts)
    fused = {n for n in facts["parameters"] if ".experts." in n}
    assert {hit for name in names.experts for hit in matching(name, sorted(fused))} == fused


@pytest.mark.parametrize("name", sorted(tiny.DECODERS))
def test_packing_is_exact_or_refused(name: str, measured: dict[str, Facts]) -> None:
    error = measured[name]["packing_error"]
    if NAMES[name].packing:
        assert error < MOST_PACKING_ERROR
    else:
        assert error > LEAST_PACKING_LEAK


def test_only_decoders_are_packed() -> None:
    assert {n.family for n in NAMES.values() if n.packing} == {"decoder-only"}


def test_heads_that_are_made_new() -> None:
    assert NAMES["bert"].head == ("classifier", "qa_outputs")
    assert NAMES["t5"].head == ()
