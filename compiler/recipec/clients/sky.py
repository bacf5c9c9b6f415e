"""Checks SkyPilot's tasks by SkyPilot itself.

In: a file's bytes. Out: a `Verdict`. `Task.from_yaml_str` finds misspelt keys and wrong types; it
takes any accelerator and any key of `job_recovery`, which are looked at here. No cloud is asked,
as long as the task names none: with one, SkyPilot fetches that cloud's catalogue.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from recipec.clients.verdict import Verdict, at, client, documents, version
from recipec.emit.jobs.skypilot import ACCELERATORS

EXTRA = "skypilot"
PACKAGE = "skypilot"

_RECOVERY = ("max_restarts_on_errors", "recover_on_exit_codes", "strategy")
_PINNED = re.compile(r"\s[^@\s]+/[^@\s]+@sha256:[0-9a-f]{64}\s")


def check_skypilot(data: bytes) -> Verdict:
    """A file with one task."""
    # SkyPilot would report to its makers that it was used.
    os.environ["SKYPILOT_DISABLE_USAGE_COLLECTION"] = "1"
    library = client("sky", PACKAGE, EXTRA)
    plain, wrong = documents(data)
    if not wrong and len(plain) != 1:
        wrong = ["the file is not one task"]
    for one in () if wrong else plain:
        wrong += _by_library(library, data)
        wrong += _ours(one)
    return Verdict(validator=version(PACKAGE), faults=tuple(wrong))


def _by_library(library: Any, data: bytes) -> Iterator[str]:
    try:
        library.Task.from_yaml_str(data.decode())
    # What it raises has no common base.
    except Exception as error:
        yield " ".join(str(error).split())[:600] or type(error).__name__


def _ours(plain: Any) -> Iterator[str]:
    """What SkyPilot lets through."""
    wanted = at(plain, "resources", "accelerators")
    for name in wanted if isinstance(wanted, dict) else ():
        if name not in ACCELERATORS.values():
            yield f"resources.accelerators: {name!r} is none of {', '.join(ACCELERATORS.values())}"
    recovery = at(plain, "resources", "job_recovery")
    for key in recovery if isinstance(recovery, dict) else ():
        if key not in _RECOVERY:
            yield f"resources.job_recovery.{key}: unknown key; it has {', '.join(_RECOVERY)}"
    if not _PINNED.search(str(plain.get("run"))):
        yield "run: no image REGISTRY/NAME@sha256:... is named, so its bytes are not pinned"
