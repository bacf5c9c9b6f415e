"""Work for the senders of job documents, as `recipec submit` makes it."""

from __future__ import annotations

from typing import Any

from recipec.clients.send.call import Work
from recipec.clients.verdict import documents
from recipec.recipe.given import given_values
from recipec.recipe.schema import TargetName
from tests.support.jobs import RUN_ID, Case, job, only_document


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
