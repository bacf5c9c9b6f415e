"""Amazon's client, and what its errors mean.

In: a service's name and a region. Out: a boto3 client with the credentials that boto3 finds by
itself (environment, profile, SSO, the machine's role); or EnvironmentLacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recipec.clients.send.call import Refused
from recipec.clients.send.once import CONFLICT
from recipec.clients.send.refusals import no_credentials, refused, unreachable
from recipec.clients.verdict import client
from recipec.errors import EnvironmentLacks

EXTRA = "aws"
CONNECT, READ, TRIES = 10, 60, 3
"""Seconds to connect, seconds without a byte of an answer, and requests in all."""
LOGIN = "`aws sts get-caller-identity` says who you are; `aws configure` or `aws sso login` logs in"

_UNKNOWN = ("UnrecognizedClientException", "InvalidClientTokenId", "ExpiredToken", "AuthFailure")
_DENIED = ("AccessDenied", "UnauthorizedOperation", "OptInRequired", "Blocked")


def client_of(service: str, region: str) -> Any:
    """A client of a service; an empty region is boto3's own to find. Raises EnvironmentLacks."""
    boto3 = client("boto3.session", "boto3", EXTRA, does="sends such jobs")
    config = client("botocore.config", "botocore", EXTRA).Config(
        connect_timeout=CONNECT,
        read_timeout=READ,
        retries={"total_max_attempts": TRIES, "mode": "standard"},
    )
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.Session(region_name=region or None).client(service, config=config)
    except BotoCoreError as error:
        raise EnvironmentLacks(
            f"there is no client of {service}: {error}",
            hint="--region REGION, or AWS_REGION; AWS_PROFILE must name a profile that there is",
        ) from None


@contextmanager
def understood(service: str, *keys: tuple[str, str]) -> Iterator[None]:
    """Turn what botocore raises into errors of ours; `keys` as `refused` takes them."""
    from botocore import exceptions as botocore

    try:
        yield
    except (botocore.NoCredentialsError, botocore.PartialCredentialsError) as error:
        raise no_credentials(service, "", LOGIN) from error
    except (botocore.CredentialRetrievalError, botocore.SSOError) as error:
        raise no_credentials(service, str(error), LOGIN) from error
    except (botocore.HTTPClientError, botocore.ConnectionError) as error:
        endpoint = str(error.kwargs.get("endpoint_url", ""))
        raise unreachable(service, endpoint.partition("?")[0], str(error)) from error
    except botocore.ClientError as error:
        raise _of_client(service, error, keys) from error
    except botocore.ParamValidationError as error:
        raise refused(service, words=str(error), keys=keys) from error
    except botocore.BotoCoreError as error:
        raise EnvironmentLacks(f"boto3 does not work here: {error}", hint=LOGIN) from error


def code_of(error: Any) -> tuple[str, str]:
    """The code and the words of a ClientError."""
    about = error.response.get("Error", {})
    return str(about.get("Code", "")), str(about.get("Message", ""))


def _of_client(service: str, error: Any, keys: tuple[tuple[str, str], ...]) -> Refused:
    code, words = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code.startswith(_UNKNOWN):
        status = 401
    elif code.startswith(_DENIED):
        status = 403
    elif code == "ResourceInUse":
        status = CONFLICT
    elif "Throttl" in code or code == "RequestLimitExceeded":
        status = 429
    return refused(service, status=status, code=code, words=words, login=LOGIN, keys=keys)
