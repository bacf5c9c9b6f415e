"""Chats as token ids: the template's text, and which of its tokens the assistant says.

In: rows with messages, and a tokenizer with a chat template. Out: ids and labels, or an error that
names the row. The tokenizer's template renders; nothing here knows a model's own format.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recipec_runtime import stop
from recipec_runtime.errors import TrainingFailed

IGNORED = -100
"""Label of a token that does not count, as cross_entropy knows it."""

Message = dict[str, str]
MARKED = re.compile(r"\{%-?\s*generation\b")
"""A template that says itself what the assistant says."""
END_OF_TURN = ("<end_of_turn>", "<|end|>", "<|eot_id|>", "<|im_end|>")
"""Names under which vocabularies keep the end of a turn, where it is not the end token."""

TEMPLATES = {
    "chatml": (
        "{% for message in messages %}"
        "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>"
        "{% if message.role == 'assistant' and eos_token != '<|im_end|>' %}{{ eos_token }}"
        "{% endif %}{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "alpaca": (
        "{% for message in messages %}"
        "{% if message.role == 'system' %}{{ message.content }}\n\n"
        "{% elif message.role == 'user' %}### Instruction:\n{{ message.content }}\n\n"
        "{% elif message.role == 'assistant' %}### Response:\n{{ message.content }}{{ eos_token }}"
        "\n\n{% else %}"
        "{{ raise_exception('the alpaca template has no role ' ~ message.role) }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}### Response:\n{% endif %}"
    ),
    "plain": (
        "{% for message in messages %}"
        "{% if message.role == 'assistant' %}{{ message.content }}{{ eos_token }}"
        "{% else %}{{ message.content }}{% endif %}{{ '\n' }}"
        "{% endfor %}"
    ),
}
"""The named templates, as Jinja texts.

chatml is OpenAI's format; alpaca is that of Stanford Alpaca (Taori et al. 2023), whose prompt is in
the `system` message if there is one; plain puts one message after another. In each of them what is
said first does not depend on what comes later, and every answer ends with the end token.
"""


def check_chats(
    tokenizer: Any,
    chats: Iterable[Any],
    *,
    split: str,
    max_length: int,
    max_lost: float,
    every_token: bool = False,
) -> None:
    """Look at every chat before training begins, so that none of them can stop it later.

    Raises TrainingFailed, with the row's number, for what is no chat or cannot be rendered; and
    when in more than the share `max_lost` of the rows nothing to learn is left within `max_length`
    tokens. Such rows count for nothing.
    """
    total, lost = 0, []
    for number, messages in enumerate(chats, 1):
        stop.raise_if_asked()
        _, said = encode(
            tokenizer, messages, where=f"{split} row {number}", every_token=every_token
        )
        total = number
        if not any(said[1:max_length]):
            lost.append(number)
    if not lost:
        return
    found = f"{len(lost):,} of {total:,} {split} rows"
    why = f"nothing to learn is left of them in {max_length} tokens (the first is row {lost[0]})"
    if len(lost) > max_lost * total:
        raise TrainingFailed(
            f"{found} are lost: {why}",
            hint="raise training.max_length, shorten the prompts, or raise training.max_lost",
        )
    print(f"note: {found} do not count: {why}", file=sys.stderr, flush=True)


def chat_tokens(
    tokenizer: Any, messages: Any, max_length: int, *, every_token: bool = False
) -> tuple[list[int], list[int]]:
    """A chat's token ids, at most `max_length`, and for each the token to say after it.

    That label is IGNORED where another than the assistant speaks, unless `every_token` counts.
    """
    where = f"the chat that begins {str(messages)[:60]!a}"
    ids, said = encode(tokenizer, messages, where=where, every_token=every_token)
    labels = [token if own else IGNORED for token, own in zip(ids, said, strict=True)]
    return ids[:max_length], [*labels[1:max_length], IGNORED]


def encode(
    tokenizer: Any, messages: Any, *, where: str, every_token: bool = False
) -> tuple[list[int], list[bool]]:
    """A chat's token ids, and which of them the assistant says, its end of turn included.

    Raises TrainingFailed, naming `where`, if it is no chat with an answer or cannot be rendered.
    """
    check(messages, where=where)
    if not every_token and MARKED.search(str(tokenizer.chat_template)):
        found = _applied(
            tokenizer, messages, where, tokenize=True, return_assistant_tokens_mask=True
        )
        return list(found["input_ids"]), [bool(own) for own in found["assistant_masks"]]
    text = render(tokenizer, messages, where=where)
    if every_token:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return list(ids), [True] * len(ids)
    if not tokenizer.is_fast:
        raise TrainingFailed(
            "this tokenizer does not tell which characters a token stands for",
            hint="set `task.train_on: all`, or use a model with a tokenizer.json",
        )
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = list(answers(tokenizer, messages, text, where=where))
    said = [
        any(start < last and first < end for start, end in spans)
        for first, last in found["offset_mapping"]
    ]
    return list(found["input_ids"]), said


def answers(
    tokenizer: Any, messages: Sequence[Message], text: str, *, where: str
) -> Iterator[tuple[int, int]]:
    """Begin and end, in characters of the whole `text`, of every turn of the assistant.

    A turn begins where the prompt for it ends, and ends where the chat so far does: that holds for
    templates that render what was said the same whatever is said later. Others are refused.
    """
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = messages[:number]
        prompt = render(tokenizer, before, where=where, prompt=True) if before else ""
        so_far = render(tokenizer, messages[: number + 1], where=where)
        if not (text.startswith(so_far) and so_far.startswith(prompt)):
            raise TrainingFailed(
                f"{where}: the chat template renders an earlier message differently once a later"
                f" one is there, so the answer of message {number + 1} cannot be found in the text",
                hint="set `task.chat_template` to chatml, alpaca or plain, or `task.train_on: all`",
            )
        turn = so_far[len(prompt) :]
        closed = turn.rstrip()
        # white space after an end mark only parts the turns; with no mark it is the mark
        ended = closed if not closed.endswith(message["content"].rstrip()) else turn
        yield len(prompt), len(prompt) + len(ended)


def render(tokenizer: Any, messages: Sequence[Message], *, where: str, prompt: bool = False) -> str:
    """The chat as text; with `prompt`, up to where the assistant begins to speak."""
    text: str = _applied(tokenizer, messages, where, tokenize=False, add_generation_prompt=prompt)
    return text


def _applied(tokenizer: Any, messages: Sequence[Message], where: str, **options: Any) -> Any:
    try:
        return tokenizer.apply_chat_template(list(messages), return_dict=True, **options)
    except Exception as error:  # a template is a program: it can fail in any way
        text = " ".join(str(error).split()) or type(error).__name__
        raise TrainingFailed(
            f"{where}: the chat template cannot render this chat: {text}",
            hint="correct the row, or set `task.chat_template` to chatml, alpaca or plain",
        ) from error


def check(messages: Any, *, where: str) -> None:
    """Raise TrainingFailed unless these are messages, and the assistant says something."""
    shaped = isinstance(messages, list) and all(
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
        for message in messages
    )
    if not shaped:
        raise TrainingFailed(
            f"{where}: not a chat", hint="a chat is a list of {role: ..., content: ...}, both texts"
        )
    if not any(message["role"] == "assistant" for message in messages):
        raise TrainingFailed(
            f"{where}: the chat has no turn of the assistant",
            hint="remove the row: there is nothing in it to learn",
        )


def answer(
    model: Any,
    tokenizer: Any,
    chats: Sequence[list[Message]],
    *,
    max_new_tokens: int,
    max_length: int,
) -> list[str]:
    """What the model says, greedily, in place of the last answer of each chat.

    A prompt too long for `max_length` tokens with the answer loses its beginning.
    """
    import torch

    model.eval()
    said = []
    for number, messages in enumerate(chats, 1):
        stop.raise_if_asked()
        ids = _prompt(tokenizer, messages, where=f"row {number}")
        given = torch.tensor([ids[-max(1, max_length - max_new_tokens) :]], device=model.device)
        with torch.no_grad():
            written = model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                eos_token_id=end_tokens(tokenizer) or None,
                pad_token_id=tokenizer.pad_token_id,
            )
        said.append(tokenizer.decode(written[0, given.shape[1] :], skip_special_tokens=True))
    return said


def _prompt(tokenizer: Any, messages: Sequence[Message], *, where: str) -> list[int]:
    """The token ids up to where the assistant gives its last answer."""
    last = max(n for n, message in enumerate(messages) if message["role"] == "assistant")
    text = render(tokenizer, messages[:last], where=where, prompt=True) if last else ""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids or [tokenizer.bos_token_id or tokenizer.eos_token_id or 0]


def keep_template(tokenizer: Any, folder: str) -> None:
    """Put the chat template beside the model: whoever uses it must speak as it was trained."""
    Path(folder, "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")


def end_tokens(tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the end token, and the end of a turn if there is one."""
    known = tokenizer.get_vocab()
    return sorted({known[name] for name in (tokenizer.eos_token, *END_OF_TURN) if name in known})
