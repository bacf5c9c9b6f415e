"""Checks jobs of Databricks by the models of databricks-bundles.

In: a file's bytes. Out: a `Verdict`. The models find unknown fields, words that there are not and
what is missing; they make numbers of texts, and do not count accelerators: that is looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from recipec.clients.google import one_of
from recipec.clients.verdict import Verdict, at, client, version

EXTRA = "databricks"
PACKAGE = "databricks-bundles"

_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TYPE = re.compile(r"GPU_([0-9]+)x[A-Z0-9]+")
_TAGGED = re.compile(r"[^@\s:]+(:[0-9]+)?/[^@\s:]+:manifest-[0-9a-f]{64}")
_COUNTS = ("max_retries", "timeout_seconds")


def check_databricks(data: bytes) -> Verdict:
    """The body of jobs/create."""
    library = client("databricks.bundles.jobs", PACKAGE, EXTRA)
    plain, wrong = one_of(data, "job")
    for one in plain:
        wrong += _by_library(library, one)
        wrong += _ours(one)
    return Verdict(validator=version(PACKAGE), faults=tuple(wrong))


def _by_library(library: Any, plain: Any) -> Iterator[str]:
    try:
        library.Job.from_dict(plain)
    # What it raises are Python's own errors, one for each kind of mistake.
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield " ".join(str(error).split())


def _ours(plain: Any) -> Iterator[str]:
    """What the models take."""
    tasks = plain.get("tasks")
    if not isinstance(tasks, list) or not tasks:
        yield "tasks: there are none"
        return
    for key, value in (plain.get("tags") or {}).items():
        if not isinstance(value, str) or len(value) > 255:
            yield f"tags.{key}: {value!r} is no text of at most 255 characters"
    for number, task in enumerate(tasks):
        yield from _task(task, f"tasks[{number}]", _keys(plain))


def _keys(plain: Any) -> set[Any]:
    return {at(one, "environment_key") for one in plain.get("environments") or ()}


def _task(task: Any, place: str, environments: set[Any]) -> Iterator[str]:
    name = at(task, "task_key")
    if not isinstance(name, str) or not _KEY.fullmatch(name):
        yield f"{place}.task_key: {name!r} is no key: letters, digits, _ and -, at most 100"
    for key in _COUNTS:
        count = at(task, key)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            yield f"{place}.{key}: {count!r} is no number"
    wanted = at(task, "environment_key")
    if wanted is not None and wanted not in environments:
        yield f"{place}.environment_key: there is no environment {wanted!r}"
    inner = at(task, "ai_runtime_task")
    if not isinstance(inner, dict):
        yield f"{place}: no ai_runtime_task says what runs"
        return
    here = f"{place}.ai_runtime_task"
    image = inner.get("docker_image_url")
    if not isinstance(image, str) or not _TAGGED.fullmatch(image):
        yield f"{here}.docker_image_url: {image!r} is not REGISTRY/NAME:manifest-DIGEST"
    deployments = inner.get("deployments")
    if not isinstance(deployments, list) or len(deployments) != 1:
        yield f"{here}.deployments: the service takes exactly one"
        return
    yield from _deployment(deployments[0], f"{here}.deployments[0]")


def _deployment(plain: Any, place: str) -> Iterator[str]:
    path = at(plain, "command_path")
    if not isinstance(path, str) or not path.startswith(("/Workspace/", "/Volumes/")):
        yield f"{place}.command_path: {path!r} is no path of a workspace"
    count = at(plain, "compute", "accelerator_count")
    found = _TYPE.fullmatch(str(at(plain, "compute", "accelerator_type")))
    if found and (not isinstance(count, int) or count < 1 or count % int(found[1])):
        yield f"{place}.compute.accelerator_count: {count!r} is no multiple of {found[1]}"
