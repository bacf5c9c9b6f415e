"""What is shown of a service's words: no secret, no query, one line."""

from __future__ import annotations

import pytest

from recipec.clients.send.call import Refused, Work, place
from recipec.clients.send.once import once
from recipec.clients.send.refusals import refused, safe
from recipec.errors import EnvironmentLacks, UsageError


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("two\n  lines", "two lines"),
        ("\x1b[1mbold\x1b[0m", "bold"),
        ("key hunter2hunter2 was wrong", "key *** was wrong"),
        ("Authorization: Bearer abcdefghijk.lmnop", "Authorization: Bearer ***"),
        ("GET https://a.example/b?sig=c&d=e failed", "GET https://a.example/b failed"),
        ("proxy https://me:word@a.example:1 failed", "proxy https://a.example:1 failed"),
        ("a" * 400, "a" * 297 + "..."),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_words_without_secrets(words: str, shown: str) -> None:
    assert safe(words, {"SOME_API_KEY": "hunter2hunter2", "HOME": "two"}) == shown


def test_the_key_of_a_refusal() -> None:
    keys = ((r"zone", "zone"), (r"(?i)Image", "boot"))
    assert refused("A", status=400, words="no such image", keys=keys).key == "boot"
    assert refused("A", status=400, words="no such thing", keys=keys).key == ""
    assert refused("A", status=418).message == "A refuses the job: status 418"


def test_a_place_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Work(target="vertex", documents=(), path="", run_id="", places={"region": "here"})
    assert place(one, "region", "A_VARIABLE") == "here"
    monkeypatch.setenv("A_VARIABLE", "there")
    assert place(one, "project", "A_VARIABLE") == "there"
    with pytest.raises(UsageError) as error:
        place(one, "project", "ANOTHER")
    assert error.value.hint == "--project PROJECT, or set ANOTHER"


@pytest.mark.parametrize(
    ("error", "looks", "found"),
    [
        (EnvironmentLacks("lost"), 2, ("there", True)),
        (Refused("fails", status=503), 2, ("there", True)),
        (Refused("taken", status=409), 2, ("there", False)),
        (Refused("no", status=403), 1, None),
    ],
)
def test_another_look_where_the_start_is_in_doubt(
    error: EnvironmentLacks, looks: int, found: tuple[str, bool] | None
) -> None:
    looked = []

    def look() -> str | None:
        looked.append(1)
        return "there" if len(looked) > 1 else None

    def start() -> str:
        raise error

    if found is None:
        with pytest.raises(EnvironmentLacks) as raised:
            once(look, start)
        assert raised.value is error
    else:
        assert once(look, start) == found
    assert len(looked) == looks
