"""What Azure's clients have in common: who we are, and what their errors mean.

azure-identity finds the credentials (environment, workload identity, managed identity, `az login`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recipec.clients.send.refusals import no_credentials, refused, unreachable
from recipec.clients.verdict import client

EXTRA = "azure"
LOGIN = "`az account show` says who you are; `az login` logs in"
TIMES = {"connection_timeout": 10, "read_timeout": 60, "retry_total": 2}
ENDPOINT = "https://management.azure.com"


def credential() -> Any:
    """What azure-identity finds; it is asked when the first request is sent."""
    identity = client("azure.identity", "azure-identity", EXTRA, does="logs in there")
    return identity.DefaultAzureCredential()


@contextmanager
def understood(service: str, *keys: tuple[str, str]) -> Iterator[None]:
    """Turn what azure-core raises into errors of ours; `keys` as `refused` takes them."""
    azure = client("azure.core.exceptions", "azure-core", EXTRA, does="sends such jobs")
    try:
        yield
    except azure.ClientAuthenticationError as error:
        if error.status_code in (None, 400):
            raise no_credentials(service, _first(error.message), LOGIN) from error
        raise refused(
            service, status=error.status_code, code=_code(error), words=_words(error), login=LOGIN
        ) from error
    except azure.HttpResponseError as error:
        status = int(error.status_code or 0)
        raise refused(
            service,
            status=status,
            code=_code(error),
            words=_words(error),
            login=LOGIN,
            keys=keys,
        ) from error
    except (azure.ServiceRequestError, azure.ServiceResponseError) as error:
        raise unreachable(service, ENDPOINT, _plain(str(error))) from error


def _code(error: Any) -> str:
    return str(getattr(error.error, "code", "") or "")


def _words(error: Any) -> str:
    return str(getattr(error.error, "message", "") or error.reason or error.message or "")


def _first(text: str) -> str:
    """What a chain of credentials says first; the rest is advice for each of them."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2])


def _plain(text: str) -> str:
    """Without the addresses of objects."""
    return re.sub(r"<[^<>]* object at 0x[0-9a-f]+>:? ?", "", text)
