"""Launches managed jobs with SkyPilot's command line.

In: a task's file. Out: the job. SkyPilot is larger than all other clients together and wants other
versions than they do, so it usually lives in an environment of its own: its program is looked for
beside this Python and on the PATH, and nothing of it is imported. The API server, the clouds and
their credentials are those that `sky` knows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipec.clients.send.call import Call, Outcome, Refused, Sender, Words, Work
from recipec.clients.send.once import once
from recipec.clients.send.refusals import refused, unreachable
from recipec.clients.sky import EXTRA
from recipec.errors import EnvironmentLacks
from recipec.recipe.schema import TargetName

SERVICE, PROGRAM = "SkyPilot", "sky"
ENDPOINT = "SKYPILOT_API_SERVER_ENDPOINT"
SECONDS = 1800
"""Of launching a job: its controller may have to be made first."""
ENDED = ("FAILED", "CANCELLED", "CANCELLING")
"""What the states of a job that ends without its results begin with."""
NO_QUEUE = "No in-progress managed jobs"
"""What it says where no job was ever launched."""
NO_SERVER = ("Could not connect to SkyPilot API server", "API server is not running")
LOGIN = "`sky check` says which clouds it can use, `sky api info` which server it asks"


def calls(work: Work) -> tuple[Call, ...]:
    """The one command, and the task that it reads."""
    return (
        Call(
            service=SERVICE,
            operation="sky jobs launch --yes --detach-run",
            endpoint=os.environ.get(ENDPOINT, ""),
            parameters=work.document,
        ),
    )


def send(work: Work) -> Outcome:
    """Launch the job unless there is one of its name."""
    name = work.document["name"]

    def look() -> Any:
        return _job(name)

    def start() -> Any:
        _sky("jobs", "launch", "--yes", "--detach-run", "--name", name, work.path)
        return _job(name) or {}

    job, started = once(look, start)
    state = str(job.get("status") or "")
    number = str(job.get("job_id") or "")
    which = number or f"--name {name}"
    return Outcome(
        name=name,
        identifier=number or name,
        state=state,
        started=started,
        failed=not started and state.startswith(ENDED),
        words=Words(
            follow=f"sky jobs logs {which}",
            results=f"{str(work.settings.get('output', '')).rstrip('/')}/{work.run_id[7:]}",
            stop=f"sky jobs cancel {which}",
            anew=f"sky jobs launch --name {name} {work.path}",
        ),
    )


def _job(name: str) -> Any:
    """The newest job of a name, or None; one that goes on or has its results comes first."""
    try:
        said = _sky("jobs", "queue", "--all", "--output", "json")
    except Refused as error:
        if NO_QUEUE in error.message:
            return None
        raise
    try:
        rows = json.loads(said[said.index("[") :]) if "[" in said else []
    except ValueError:
        rows = []
    found = [one for one in rows if isinstance(one, dict) and one.get("job_name") == name]
    found.sort(key=lambda one: (not str(one.get("status")).startswith(ENDED), one.get("job_id")))
    return found[-1] if found else None


def _sky(*arguments: str) -> str:
    """What the program prints. Raises Refused or EnvironmentLacks."""
    beside = Path(sys.executable).with_name(PROGRAM)
    program = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if program is None:
        raise EnvironmentLacks(
            "SkyPilot, which sends such jobs, is not installed",
            hint=f"pip install 'recipec[{EXTRA}]', or into an environment of its own whose bin/"
            " is on the PATH",
        )
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={**os.environ, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "NO_COLOR": "1"},
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise unreachable(SERVICE, os.environ.get(ENDPOINT, ""), str(error)) from error
    if done.returncode == 0:
        return done.stdout
    raise _failed(done.stderr or done.stdout or f"exit code {done.returncode}")


def _failed(said: str) -> EnvironmentLacks | Refused:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = " ".join(lines[-3:])
    if any(start in said for start in NO_SERVER):
        return unreachable(SERVICE, os.environ.get(ENDPOINT, ""), words)
    found = refused(SERVICE, words=words)
    return Refused(found.message, hint=LOGIN)


SENDERS: Mapping[TargetName, Sender] = {"skypilot": Sender(calls=calls, send=send)}
