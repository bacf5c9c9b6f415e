"""A tokenizer that does not fit its model is found before anything is trained."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recipec.errors import RecipeError
from recipec.pins.tokenizer import check_tokenizer


def tokenizer(vocabulary: Any, added: dict[str, int] | None = None) -> bytes:
    listed = [{"content": token, "id": number} for token, number in (added or {}).items()]
    return json.dumps({"model": {"vocab": vocabulary}, "added_tokens": listed}).encode()


def check(files: dict[str, bytes], config: dict[str, Any]) -> None:
    check_tokenizer(files.get, files.keys(), config, where="m")


def refusal(files: dict[str, bytes], rows: int) -> str:
    with pytest.raises(RecipeError) as caught:
        check(files, {"vocab_size": rows})
    return caught.value.diagnostics[0].render()


@pytest.mark.parametrize("vocabulary", [{"a": 0, "b": 1, "c": 2}, [["a", 0.0], ["b", 0], ["c", 0]]])
def test_more_tokens_than_rows(vocabulary: Any) -> None:
    files = {"tokenizer.json": tokenizer(vocabulary)}
    check(files, {"vocab_size": 3})
    check(files, {"vocab_size": 99})
    check(files, {})
    assert refusal(files, 2) == (
        "m/tokenizer.json: error: 1 of its tokens has no row in the model's embedding: 'c' is"
        " number 2, and config.json says vocab_size 2\n"
        "  hint: use the tokenizer that the model came with, or call"
        " `model.resize_token_embeddings(len(tokenizer))` and save both"
    )
    assert "2 of its tokens have no row in the model's embedding: 'b' is number 1," in refusal(
        files, 1
    )


@pytest.mark.parametrize(
    "user",
    [
        {"tokenizer_config.json": b'{"pad_token": "<pad>"}'},
        {"tokenizer_config.json": b'{"pad_token": {"content": "<pad>"}}'},
        {"tokenizer_config.json": b'{"chat_template": "{{ x }}<pad>"}'},
        {"chat_template.jinja": b"<pad>{{ x }}"},
    ],
)
def test_added_tokens_matter_when_something_uses_them(user: dict[str, bytes]) -> None:
    files = {"tokenizer.json": tokenizer({"a": 0}, {"<pad>": 1})}
    check(files, {"vocab_size": 1})
    check(files | user, {"vocab_size": 2})
    assert "'<pad>' is number 1, and config.json says vocab_size 1" in refusal(files | user, 1)


def test_no_tokenizer() -> None:
    assert refusal({"config.json": b"{}", "tokenizer_config.json": b"{}"}, 1) == (
        "m: error: the model has no tokenizer\n"
        "  hint: save it beside the model with `tokenizer.save_pretrained(...)`: tokenizer.json and"
        " tokenizer_config.json"
    )


@pytest.mark.parametrize("name", ["vocab.txt", "spiece.model", "tokenizer.model", "vocab.json"])
def test_other_kinds_of_tokenizers_are_not_opened(name: str) -> None:
    check({name: b"\xff"}, {"vocab_size": 1})


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b'{"added_tokens": [{}]}', b'{"model": {"vocab": {"a": "x"}}}', b"\xff"]
)
def test_a_broken_file(data: bytes) -> None:
    assert refusal({"tokenizer.json": data}, 1) == (
        "m/tokenizer.json: error: not a tokenizer of the tokenizers library\n  hint: save it anew"
    )
