"""A recipe's image under docker as the platforms start it: their variables, folders and signals."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DOCKER = "/usr/bin/docker"
READ_ONLY = ("--read-only", "--tmpfs", "/tmp:mode=1777")
LIMIT = 300
"""Seconds until a container that says nothing is taken for dead."""


@dataclass(frozen=True, kw_only=True)
class Docker:
    """A daemon that has the image; no container has a network unless one is named."""

    host: str
    image: str
    network: str = "none"

    def client(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command of docker's client, its two streams in one text."""
        done = subprocess.run(
            [DOCKER, *words],
            env={**os.environ, "DOCKER_HOST": self.host},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def options(self, volumes: Mapping[str, Path], environment: Mapping[str, str]) -> list[str]:
        """Options of `docker run` for these folders and variables."""
        return [
            *("--network", self.network),
            *(word for at, folder in volumes.items() for word in ("--volume", f"{folder}:{at}")),
            *(word for name, value in environment.items() for word in ("--env", f"{name}={value}")),
        ]

    def run(
        self,
        *words: str,
        volumes: Mapping[str, Path],
        environment: Mapping[str, str] | None = None,
        user: str = "",
        entrypoint: str = "",
        image: str = "",
        read_only: bool = True,
    ) -> tuple[int, str]:
        """`docker run IMAGE WORDS` to its end: exit code and what it said."""
        more = ["--user", user] if user else []
        more += ["--entrypoint", entrypoint] if entrypoint else []
        more += READ_ONLY if read_only else ()
        options = self.options(volumes, environment or {})
        done = self.client("run", "--rm", *options, *more, image or self.image, *words, check=False)
        return done.returncode, done.stdout

    def start(
        self,
        *words: str,
        volumes: Mapping[str, Path],
        environment: Mapping[str, str] | None = None,
        user: str = "",
    ) -> str:
        """`docker run --detach IMAGE WORDS`: the container's name."""
        more = [*READ_ONLY, *(["--user", user] if user else [])]
        options = self.options(volumes, environment or {})
        return self.client("run", "--detach", *options, *more, self.image, *words).stdout.strip()

    def said(self, container: str) -> str:
        """What a container has printed so far."""
        return self.client("logs", container).stdout

    def until(self, container: str, text: str) -> None:
        """Wait for a container to say `text`."""
        limit = time.monotonic() + LIMIT
        while text not in (said := self.said(container)):
            assert time.monotonic() < limit, said
            assert self.running(container), said
            time.sleep(0.05)

    def running(self, container: str) -> bool:
        """Whether a container's process is there."""
        found = self.client("inspect", "--format", "{{.State.Running}}", container)
        return found.stdout.strip() == "true"

    def end(self, container: str) -> tuple[int, str]:
        """Wait for a container and remove it: exit code and what it said."""
        code = int(self.client("wait", container).stdout)
        said = self.said(container)
        self.client("rm", "--force", container)
        return code, said


def sagemaker_tree(
    folder: Path,
    *,
    hyperparameters: Mapping[str, str] | None = None,
    hosts: tuple[str, ...] = ("algo-1",),
    channels: Mapping[str, Mapping[str, Path]] | None = None,
) -> Path:
    """/opt/ml as SageMaker hands it to a container; what is there already stays."""
    for name in ("input/config", "input/data", "model", "checkpoints", "output/data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = {
        "hyperparameters": dict(hyperparameters or {}),
        "resourceconfig": {
            "current_host": hosts[0],
            "hosts": list(hosts),
            "current_instance_type": "ml.c5.xlarge",
            "network_interface_name": "eth0",
        },
        "inputdataconfig": {
            name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
            for name in channels or {}
        },
    }
    for name, plain in config.items():
        (folder / f"input/config/{name}.json").write_text(json.dumps(plain))
    for channel, files in (channels or {}).items():
        (folder / "input/data" / channel).mkdir(exist_ok=True)
        for name, source in files.items():
            (folder / "input/data" / channel / name).write_bytes(source.read_bytes())
    return folder
