"""What each part of a row must be: a text, a label, words and their tags, a chat, answers.

In: values as they were read. Out: the value that training reads, or what is wrong with it. It looks
at one value at a time; what must hold between a row's parts or between rows is in `check`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from recipec.pins.data.faults import Fault, counted, kind_of

Value = object
_ROLES = ("system", "user", "assistant", "tool")
_CALLS = ("tool_calls", "function_call")


def text(name: str, value: object) -> Value | Fault:
    """A string."""
    if not isinstance(value, str):
        hint = "put the value in quotes"
        if value is None:
            hint = 'write "" for an empty text'
        return Fault(message=f"`{name}` must be a string, not {kind_of(value)}", hint=hint)
    if "\0" in value:
        return Fault(
            message=f"`{name}` holds a NUL character",
            hint="remove it: it is no text, and often a sign of damage",
        )
    return value


def label(name: str, value: object) -> Value | Fault:
    """A label: a string, or a number or truth value, which becomes its JSON text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) >= 1 << 63:
            return Fault(message=f"`{name}` is a number of more than 64 bits", hint="name it")
        return str(value)
    if not isinstance(value, str):
        return Fault(
            message=f"`{name}` must be a string, not {kind_of(value)}",
            hint="a label is a name, a whole number, or true or false",
        )
    if not value.strip():
        return Fault(message=f"`{name}` is empty", hint="every row needs its label")
    return text(name, value)


def labels(name: str, value: object) -> Value | Fault:
    """Any number of labels, each once."""
    found = _texts(name, value, label, "with `task.multi_label` a row has a list of labels")
    if isinstance(found, list) and len(found) != len(set(found)):
        twice = next(item for item in found if found.count(item) > 1)
        return Fault(message=f"`{name}` has {twice!r} twice", hint="remove one of them")
    return found


def texts(name: str, value: object) -> Value | Fault:
    """Words, or their tags."""
    return _texts(name, value, text, 'write a list of strings: ["a", "b"]')


def _texts(
    name: str, value: object, one: Callable[[str, object], Value | Fault], hint: str
) -> Value | Fault:
    if not isinstance(value, list):
        return Fault(message=f"`{name}` must be a list, not {kind_of(value)}", hint=hint)
    if one is text and all(isinstance(item, str) and "\0" not in item for item in value):
        return value
    found = [one(f"{name}[{number}]", item) for number, item in enumerate(value)]
    return next((item for item in found if isinstance(item, Fault)), found)


def messages(name: str, value: object) -> Value | Fault:
    """A chat: turns of {role, content}, of which an assistant has one; other keys are dropped."""
    if not isinstance(value, list):
        return Fault(
            message=f"`{name}` must be a list of turns, not {kind_of(value)}",
            hint='write [{"role": "user", "content": "..."}, ...]',
        )
    turns = []
    for number, turn in enumerate(value):
        found = _turn(f"{name}[{number}]", number, turn)
        if isinstance(found, Fault):
            return found
        turns.append(found)
    order = [turn["role"] for turn in turns if turn["role"] != "system"]
    if order and order[0] != "user":
        return Fault(
            message=f"`{name}` begins with a turn of the {order[0]}",
            hint="a chat begins with the user, or with a system prompt and then the user",
        )
    if not any(turn["role"] == "assistant" and turn["content"].strip() for turn in turns):
        return Fault(
            message=f"`{name}` has no turn of the assistant with text",
            hint="without one there is nothing to learn from the chat",
        )
    return turns


def _turn(name: str, number: int, turn: object) -> dict[str, str] | Fault:
    if not isinstance(turn, Mapping):
        return Fault(
            message=f"`{name}` must be an object, not {kind_of(turn)}",
            hint='a turn is {"role": "user", "content": "..."}',
        )
    for key in ("role", "content"):
        if key not in turn:
            has = ", ".join(f"`{other}`" for other in list(turn)[:8]) or "nothing"
            return Fault(message=f"`{name}` has no `{key}`", hint=f"it has {has}")
    role, content = turn["role"], text(f"{name}.content", turn["content"])
    calls = next((key for key in _CALLS if turn.get(key)), None)
    if calls:
        return Fault(
            message=f"`{name}` has `{calls}`, which this version does not train on",
            hint="write the call as text in `content`, or leave the row out",
        )
    if not isinstance(role, str) or role not in _ROLES:
        return Fault(message=f"`{name}.role` is {role!r}", hint=f"roles are {', '.join(_ROLES)}")
    if role == "system" and number:
        return Fault(
            message=f"`{name}` is a system prompt after the chat began", hint="put it first"
        )
    return content if isinstance(content, Fault) else {"role": role, "content": str(content)}


def answers(name: str, value: object) -> Value | Fault:
    """Answers as SQuAD has them: texts and where each begins; none for an unanswerable question."""
    if not isinstance(value, Mapping):
        return Fault(
            message=f"`{name}` must be an object, not {kind_of(value)}",
            hint='write {"text": ["..."], "answer_start": [0]}',
        )
    for key in ("text", "answer_start"):
        if not isinstance(value.get(key), list):
            return Fault(
                message=f"`{name}.{key}` must be a list, not {kind_of(value.get(key))}",
                hint='write {"text": ["..."], "answer_start": [0]}',
            )
    found = texts(f"{name}.text", value["text"])
    if isinstance(found, Fault):
        return found
    starts = value["answer_start"]
    wrong = [start for start in starts if type(start) is not int or start < 0]
    if wrong:
        return Fault(
            message=f"`{name}.answer_start` holds {wrong[0]!r}",
            hint="it counts characters from the context's first, which is 0",
        )
    assert isinstance(found, list)
    if len(found) != len(starts):
        words = f"{counted(len(found), 'text')} and {counted(len(starts), 'start')}"
        return Fault(message=f"`{name}` has {words}", hint="each text has its start")
    if not all(found):
        return Fault(
            message=f"`{name}` has an empty text",
            hint='an unanswerable question has {"text": [], "answer_start": []}',
        )
    return {"text": found, "answer_start": starts}


def reader(part: str, name: str, *, multi_label: bool) -> Callable[[object], Value | Fault]:
    """The function that reads the values of a part; `name` is its column."""
    of_part: dict[str, Callable[[str, object], Value | Fault]] = {
        "label": labels if multi_label else label,
        "words": texts,
        "tags": texts,
        "messages": messages,
        "answers": answers,
    }
    return partial(of_part.get(part, text), name)


def place_fault(context: str, found: Mapping[str, list[object]]) -> Fault | None:
    """What is wrong with where a question's answers stand in its context."""
    for answer, start in zip(found["text"], found["answer_start"], strict=True):
        assert isinstance(answer, str)
        assert isinstance(start, int)
        if context[start : start + len(answer)] == answer:
            continue
        shown = answer if len(answer) <= 40 else answer[:37] + "..."
        elsewhere = context.find(answer)
        if elsewhere < 0:
            return Fault(
                message=f"the answer {shown!r} is not in the context",
                hint="an answer is a part of the context, letter by letter",
            )
        hint = f"it begins at character {elsewhere}"
        if len(context[:elsewhere].encode()) == start != elsewhere:
            hint += "; answer_start counts characters, not bytes"
        elif context.find(answer, elsewhere + 1) >= 0:
            hint += ", and once more after that"
        return Fault(message=f"the answer {shown!r} does not begin at character {start}", hint=hint)
    return None
