"""Work for the senders of job documents, as `recipec submit` makes it."""

from __future__ import annotations

from typing import Any

from recipec.clients.send.call import Outcome, Work
from recipec.clients.send.make import sender_of
from recipec.clients.send.refusals import quietly
from recipec.clients.verdict import documents
from recipec.recipe.given import given_values
from recipec.recipe.schema import TargetName
from tests.support.jobs import RUN_ID, Case, cases, job, messages, only_document


def work(target: TargetName, case: Case, places: dict[str, str] | None = None, **more: Any) -> Work:
    """What is sent for a case; `more` are further settings."""
    one = job(target, case, **more)
    plain, wrong = documents(only_document(one))
    assert wrong == []
    return Work(
        target=target,
        documents=tuple(plain),
        path="",
        run_id=RUN_ID,
        places=places or {},
        settings=given_values(one.settings),
    )


def submit(one: Work) -> Outcome:
    """Send it."""
    with quietly():
        return sender_of(one.target).send(one)


def good(target: TargetName) -> list[str]:
    """The cases that a target can do."""
    return [name for name, case in cases(target).items() if not messages(job(target, case))]
