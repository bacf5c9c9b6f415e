"""Checks Azure ML jobs by the service's own SDK.

In: a file's bytes. Out: a `Verdict`. `load_job` checks keys, types and words; the conversion to the
REST API, which finds inputs that are not declared, is run too. Nothing is sent anywhere.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

from recipec.clients.verdict import Verdict, at, by_digest, client, documents, version

EXTRA = "azure"
PACKAGE = "azure-ai-ml"

_MACHINE = re.compile(r"Standard_[A-Za-z0-9_-]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
_BOUND = re.compile(r"\$\{\{(inputs|outputs)\.([A-Za-z0-9_]+)\}\}")


def check_azureml(data: bytes) -> Verdict:
    """A file with one command job."""
    library = client("azure.ai.ml", PACKAGE, EXTRA)
    plain, wrong = documents(data)
    if not wrong and (len(plain) != 1 or plain[0].get("type") != "command"):
        wrong = ["the file is not one command job"]
    for one in () if wrong else plain:
        wrong += _by_library(library, data)
        wrong += _ours(one)
    return Verdict(validator=version(PACKAGE), faults=tuple(wrong))


def _by_library(library: Any, data: bytes) -> Iterator[str]:
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    try:
        library.load_job(io.StringIO(data.decode()))._to_rest_object()
    # What it raises has no common base: marshmallow's, its own, and Python's.
    except Exception as error:
        yield _words(error)


def _words(error: Exception) -> str:
    """The message without colours and without the advice that follows it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(getattr(error, "message", "") or error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines)[:600] or type(error).__name__


def _ours(plain: Any) -> Iterator[str]:
    """What the SDK leaves to the service."""
    yield from by_digest("environment.image", at(plain, "environment", "image"))
    machine = at(plain, "resources", "instance_type")
    if machine is not None and not _MACHINE.fullmatch(str(machine)):
        yield f"resources.instance_type: {machine!r} is no machine type, such as Standard_F8s_v2"
    if machine is None and not plain.get("compute"):
        yield "compute, resources.instance_type: one of them says where the job runs"
    count = at(plain, "resources", "instance_count")
    if isinstance(count, int) and count < 1:
        yield f"resources.instance_count: {count} is less than 1"
    name = plain.get("name")
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        yield f"name: {name!r} is no name of a job: letters, digits, _ and -, at most 255"
    for kind, key in _BOUND.findall(str(plain.get("command"))):
        if key not in (plain.get(kind) or {}):
            yield f"command: there is no {kind}.{key}"
