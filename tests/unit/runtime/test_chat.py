"""Chats as token ids: which tokens the assistant says; what is refused, with the row's number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recipec_runtime import chat
from recipec_runtime.errors import TrainingFailed
from tests.support import models

CHAT = [
    {"role": "system", "content": "please is the charge"},
    {"role": "user", "content": "my card is locked"},
    {"role": "assistant", "content": "reset the account"},
    {"role": "user", "content": "and the parcel"},
    {"role": "assistant", "content": "late  today"},
]
MARKED = (
    "{% for message in messages %}<|im_start|>{{ message.role }} "
    "{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


@pytest.fixture(scope="module")
def tokenizers() -> Callable[..., Any]:
    def make(template: str | None = None, model_type: str = "llama") -> Any:
        tokenizer = models.make_tokenizer(model_type)
        if template is not None:
            tokenizer.chat_template = template
        return tokenizer

    return make


def said(tokenizer: Any, messages: Any = CHAT, **options: Any) -> str:
    """The tokens that count, one text for each run of them."""
    ids, own = chat.encode(tokenizer, messages, where="row 1", **options)
    assert len(ids) == len(own)
    runs: list[list[int]] = [[]]
    for token, counts in zip(ids, own, strict=True):
        if counts:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return "|".join(tokenizer.decode(run) for run in runs if run)


def test_the_models_own_template_counts_every_answer_and_its_end(
    tokenizers: Callable[..., Any],
) -> None:
    tokenizer = tokenizers()
    ids, own = chat.encode(tokenizer, CHAT, where="row 1")
    whole = tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=True)["input_ids"]
    assert ids == whole
    ends = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert [counts for token, counts in zip(ids, own, strict=True) if token == ends] == [
        *(False, False, True, False, True)
    ]
    texts = said(tokenizer).replace("<|im_end|>", "#").replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
    assert [text.split() for text in texts.split("|")] == [
        ["reset", "the", "account", "#"],
        ["late", "today", "#"],
    ]


def test_a_template_that_marks_the_answers_is_believed(tokenizers: Callable[..., Any]) -> None:
    marked, plain = tokenizers(MARKED), tokenizers()
    assert chat.encode(marked, CHAT, where="") == chat.encode(plain, CHAT, where="")


@pytest.mark.parametrize("name", sorted(chat.TEMPLATES))
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen2"])
def test_named_templates(name: str, model_type: str, tokenizers: Callable[..., Any]) -> None:
    tokenizer = tokenizers(chat.TEMPLATES[name], model_type)
    ids, own = chat.encode(tokenizer, CHAT, where="row 1")
    ends = [n for n, token in enumerate(ids) if token == tokenizer.eos_token_id]
    assert len(ends) == 2
    assert all(own[end] for end in ends), "the model must learn to stop"
    assert not any(own[: len(ids) // 3])
    assert "account" in said(tokenizer)
    assert "card" not in said(tokenizer)
    assert "charge" not in said(tokenizer)


def test_every_token_counts_if_asked(tokenizers: Callable[..., Any]) -> None:
    ids, own = chat.encode(tokenizers(), CHAT, where="row 1", every_token=True)
    assert all(own)
    assert ids == chat.encode(tokenizers(), CHAT, where="row 1")[0]


def test_labels_are_the_next_tokens(tokenizers: Callable[..., Any]) -> None:
    tokenizer = tokenizers()
    ids, own = chat.encode(tokenizer, CHAT, where="row 1")
    cut, labels = chat.chat_tokens(tokenizer, CHAT, len(ids) - 3)
    assert cut == ids[:-3]
    assert len(labels) == len(cut)
    assert labels[-1] == chat.IGNORED
    for place, label in enumerate(labels[:-1]):
        assert label == (ids[place + 1] if own[place + 1] else chat.IGNORED)


def test_a_template_that_looks_ahead_is_refused(tokenizers: Callable[..., Any]) -> None:
    """As Qwen3's does, which drops what was thought in earlier turns."""
    ahead = (
        "{% for message in messages %}{{ message.role }}: "
        "{% if loop.last %}(last) {% endif %}{{ message.content }}\n{% endfor %}"
    )
    tokenizer = tokenizers(ahead)
    with pytest.raises(TrainingFailed) as caught:
        chat.encode(tokenizer, CHAT, where="train row 7")
    assert caught.value.message == (
        "train row 7: the chat template renders an earlier message differently once a later one is"
        " there, so the answer of message 3 cannot be found in the text"
    )
    assert caught.value.hint == (
        "set `task.chat_template` to chatml, alpaca or plain, or `task.train_on: all`"
    )
    assert all(chat.encode(tokenizer, CHAT, where="", every_token=True)[1])


def test_a_template_that_fails_names_the_row_and_says_why(tokenizers: Callable[..., Any]) -> None:
    strict = tokenizers("{{ raise_exception('roles must alternate') }}")
    rows = [CHAT]
    with pytest.raises(TrainingFailed) as caught:
        chat.check_chats(strict, rows, split="train", max_length=48, max_lost=0.1)
    assert caught.value.message == (
        "train row 1: the chat template cannot render this chat: roles must alternate"
    )


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "train row 2: not a chat"),
        ([{"role": "user"}], "train row 2: not a chat"),
        ([{"role": "user", "content": 3}], "train row 2: not a chat"),
        (CHAT[:2], "train row 2: the chat has no turn of the assistant"),
        ([], "train row 2: the chat has no turn of the assistant"),
    ],
)
def test_what_is_no_chat(messages: Any, message: str, tokenizers: Callable[..., Any]) -> None:
    with pytest.raises(TrainingFailed) as caught:
        chat.check_chats(tokenizers(), [CHAT, messages], split="train", max_length=48, max_lost=0.1)
    assert caught.value.message == message


def test_rows_that_lose_their_answers_are_counted(
    tokenizers: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    long = [{"role": "user", "content": "please " * 100}, CHAT[2]]
    chats = [CHAT, long, CHAT, CHAT]
    chat.check_chats(tokenizers(), chats, split="train", max_length=90, max_lost=0.25)
    assert capsys.readouterr().err == (
        "note: 1 of 4 train rows do not count: nothing to learn is left of them in 90 tokens"
        " (the first is row 2)\n"
    )
    _, labels = chat.chat_tokens(tokenizers(), long, 48)
    assert set(labels) == {chat.IGNORED}
    with pytest.raises(TrainingFailed) as caught:
        chat.check_chats(tokenizers(), chats, split="train", max_length=90, max_lost=0.2)
    assert caught.value.message.startswith("1 of 4 train rows are lost: ")


def test_answers_are_greedy_and_bounded(tokenizers: Callable[..., Any]) -> None:
    import torch

    tokenizer = tokenizers()
    torch.manual_seed(0)
    model = models.make_model("llama", len(tokenizer))
    long = [{"role": "user", "content": "please " * 100}, CHAT[2]]
    options = {"max_new_tokens": 5, "max_length": 48}
    first = chat.answer(model, tokenizer, [CHAT, long], **options)
    assert first == chat.answer(model, tokenizer, [CHAT, long], **options)
    shorter = chat.answer(model, tokenizer, [CHAT, long], **options | {"max_new_tokens": 2})
    assert first[0].startswith(shorter[0])
    assert len(shorter[0]) < len(first[0])
