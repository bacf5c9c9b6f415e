"""What every engine can do, and what they read from an image alike.

In: a `Job`. Out: the exit code of its process. An engine never decides what to train.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from recipec.engines.job import Job
from recipec.errors import EnvironmentLacks
from recipec.image.image import Image
from recipec.store import Store


class Engine(Protocol):
    """Runs a job in isolation."""

    @property
    def name(self) -> str:
        """docker, podman, sandbox or host."""
        ...

    def check(self) -> str | None:
        """None if the engine can run a job here; else why not and what to do about it."""
        ...

    def check_gpus(self, count: int) -> str | None:
        """None if the engine can hand `count` GPUs on; else why not and what to do about it."""
        ...

    def run(self, job: Job) -> int:
        """Run the job to its end; the exit code of its process.

        What the process prints goes to this process's stderr while it runs. SIGINT and SIGTERM
        are passed on, once, and the clean stop is awaited. Raises EnvironmentLacks if the
        process cannot be started.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How an image wants to be run, from its config blob."""

    entrypoint: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    folder: str
    uid: int
    gid: int


def read_config(image: Image, store: Store) -> ImageConfig:
    """The run part of an image's config. Raises EnvironmentLacks if the blob is not here."""
    try:
        config = json.loads(store.read(image.config.digest))["config"]
    except FileNotFoundError as error:
        raise EnvironmentLacks(
            f"the image's config {image.config.digest} is not in the store",
            hint="run `recipec build` again",
        ) from error
    user, _, group = str(config.get("User") or "65532:65532").partition(":")
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    return ImageConfig(
        entrypoint=tuple(config.get("Entrypoint") or ()),
        environment=tuple((key, value) for key, _, value in pairs),
        folder=str(config.get("WorkingDir") or "/"),
        uid=int(user),
        gid=int(group or user),
    )


def full_environment(config: ImageConfig, job: Job, engine: str) -> dict[str, str]:
    """The image's variables, then the job's, then which engine it is."""
    return {**dict(config.environment), **dict(job.environment), "RECIPEC_ENGINE": engine}
