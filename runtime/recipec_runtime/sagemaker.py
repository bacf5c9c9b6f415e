"""SageMaker's side of the contract: the files below /opt/ml.

In: hyperparameters.json, resourceconfig.json, inputdataconfig.json and the channels' files. Out:
the hosts, or a refusal of what would change the run without anybody noticing: the image's address
is the run's, so a job may repeat its settings and bring its rows along, but not change them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipec_runtime.contract import RunFile
from recipec_runtime.errors import EnvironmentLacks
from recipec_runtime.inputs import digest_of_file

HOME = Path("opt/ml")
CONFIG = HOME / "input/config"
DATA = HOME / "input/data"
ADAPTED = "adapted"
"""The channel of the tuned model that a recipe with a corpus begins with."""
FAILURE = HOME / "output/failure"
"""What is in this file is the job's FailureReason."""
FAILURE_LENGTH = 1024
"""Characters of a FailureReason; SageMaker cuts what is longer."""

RUN_ID = "recipec_run_id"
"""Our own hyperparameter; it does what RECIPEC_RUN_ID does."""
THEIRS = ("sagemaker_container_log_level", "sagemaker_job_name", "sagemaker_region")
"""Hyperparameters that Amazon's own client adds, and that ask for nothing."""


def hosts(root: Path) -> tuple[list[str], str]:
    """All hosts in the order of their names, and this one. Raises EnvironmentLacks."""
    name = "resourceconfig.json"
    plain = _read(root, name)
    if plain is None:
        return ["algo-1"], "algo-1"
    found, current = plain.get("hosts"), plain.get("current_host")
    if not isinstance(found, list) or not found or not all(isinstance(h, str) for h in found):
        raise _malformed(name, "it has no list `hosts`")
    if not isinstance(current, str) or current not in found:
        raise _malformed(name, f"`current_host` is {current!r}, which is not among `hosts`")
    # algo-10 comes after algo-9
    return sorted(found, key=lambda host: (len(host), host)), current


def check_hyperparameters(root: Path, spec: RunFile, run_id: str | None) -> str | None:
    """The run id that the job passes, or `run_id`. Raises EnvironmentLacks for what changes a run.

    A hyperparameter may repeat what run.json says, as text or as JSON.
    """
    given = _read(root, "hyperparameters.json") or {}
    said = {
        "name": spec.name,
        "reproducibility": spec.reproducibility,
        "hardware_class": spec.hardware_class,
        "threads": spec.threads,
        "world_size": spec.world_size,
        RUN_ID: run_id,
    }
    for name, text in sorted(given.items()):
        if name in THEIRS or (name == RUN_ID and run_id is None):
            continue
        if name not in said:
            raise EnvironmentLacks(
                f"the job passes the hyperparameter {name}, and the image is compiled: nothing"
                " would come of it",
                hint="put it into the recipe and build again; a job may only repeat"
                f" {', '.join(sorted(said))}",
            )
        if str(said[name]) not in (text, str(_plain(text))):
            raise EnvironmentLacks(
                f"the job's hyperparameter {name} is {text}, and the image is compiled for"
                f" {said[name]}",
                hint="correct the job, or build the recipe again",
            )
    passed = _plain(given[RUN_ID]) if RUN_ID in given else run_id
    return None if passed is None else str(passed)


def adapted(root: Path) -> Path | None:
    """Where the channel of the model that has read the recipe's corpus lies, if there is one."""
    channels = _read(root, "inputdataconfig.json") or {}
    return root / DATA / ADAPTED if ADAPTED in channels else None


def check_channels(root: Path, spec: RunFile) -> None:
    """Raise EnvironmentLacks unless every file of every channel is one of the run's data files.

    The rows are in the image; a channel that brings other rows would be ignored. The channel
    `adapted` is checked by its receipt, and elsewhere.
    """
    known = {entry.sha256 for entry in spec.inputs if entry.path.startswith("data/")}
    for channel in sorted(_read(root, "inputdataconfig.json") or {}):
        if channel == ADAPTED and spec.adapted is not None:
            continue
        folder = root / DATA / channel
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if not files:
            raise EnvironmentLacks(
                f"the channel {channel} has no file in {_shown(root, folder)}",
                hint="the rows are in the image: remove the channel, or give it input mode File",
            )
        for path in files:
            if digest_of_file(path) not in known:
                raise EnvironmentLacks(
                    f"{_shown(root, path)} is none of the files that the recipe was compiled for",
                    hint="the rows are in the image: remove the channel, or put the file into the"
                    " recipe and build again",
                )


def write_failure(root: Path, text: str) -> None:
    """Leave the message where SageMaker looks for it, if there is such a place."""
    path = root / FAILURE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[:FAILURE_LENGTH], encoding="utf-8")
    except OSError:
        pass  # stderr has it, too


def _read(root: Path, name: str) -> Mapping[str, Any] | None:
    """A file of the configuration, None where there is none."""
    path = root / CONFIG / name
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _malformed(name, error.strerror or str(error)) from error
    except ValueError as error:
        raise _malformed(name, str(error)) from error
    if not isinstance(plain, dict):
        raise _malformed(name, "it is no object")
    return plain


def _malformed(name: str, why: str) -> EnvironmentLacks:
    return EnvironmentLacks(
        f"/{CONFIG / name} cannot be read: {why}",
        hint="SageMaker writes it; in a rehearsal write it as SageMaker does",
    )


def _plain(text: Any) -> Any:
    """A hyperparameter's value: the SDK writes it as JSON, other clients as it is."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _shown(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"
