"""The docker engine, by the Docker SDK; DOCKER_HOST is respected.

In: a `Job`. Out: its exit code. The image is loaded from the store's blobs if the daemon does not
have its config digest; nothing is pulled. The container has no network, no capability, a read-only
root and a non-root user, and is removed afterwards.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from recipec.engines import gpus
from recipec.engines.containers import (
    OWNER,
    SHARED_MEMORY,
    TMPFS,
    User,
    choose_user,
    container_name,
    owner_label,
    refuse_if_owned,
)
from recipec.engines.engine import full_environment, read_config
from recipec.engines.job import Job
from recipec.engines.ownership import lent
from recipec.engines.stopping import GRACE, Stopping
from recipec.errors import EnvironmentLacks
from recipec.image.image import Image
from recipec.store import CHUNK, Store

QUICK = 5
"""Seconds to wait for a daemon that should answer at once."""


class DockerEngine:
    """Runs images with a Docker daemon."""

    name = "docker"

    def __init__(self, store: Store, *, grace: float = GRACE) -> None:
        self._store = store
        self._grace = grace

    def check(self) -> str | None:
        """None if a daemon answers and its containers can write the caller's files."""
        import docker
        import requests

        try:
            client = self._client(QUICK)
        except (docker.errors.DockerException, requests.RequestException) as error:
            return _why_not(error)
        try:
            about = client.info()
        except (docker.errors.DockerException, requests.RequestException) as error:
            return _why_not(error)
        finally:
            client.close()
        if about.get("OSType") != "linux":
            return f"the docker daemon runs {about.get('OSType')} containers; linux is needed"
        if any("rootless" in option for option in about.get("SecurityOptions") or ()):
            return (
                "the docker daemon is rootless, so a non-root user's files would not be yours: "
                "use podman or the sandbox"
            )
        return None

    def check_gpus(self, count: int) -> str | None:
        """None if the daemon knows NVIDIA's runtime or CDI devices, and the machine has the GPUs.

        Of a daemon elsewhere only the former can be told.
        """
        import docker
        import requests

        try:
            client = self._client(QUICK)
            try:
                about = client.info()
            finally:
                client.close()
        except (docker.errors.DockerException, requests.RequestException) as error:
            return _why_not(error)
        return _lacks_gpus(about, count, gpus.look(), local=_is_local())

    def run(self, job: Job) -> int:
        """Run the job; see `Engine.run`."""
        import docker
        import requests

        reason = self.check()
        if reason is not None:
            raise EnvironmentLacks(
                f"docker cannot run here: {reason}", hint="try --engine sandbox, or fix the above"
            )
        config = read_config(job.image, self._store)
        user = choose_user(config.uid, config.gid)
        client = self._client(None)
        try:
            image = self._loaded(client, job)
            _remove_left_over(client, container_name(job))
            with lent(job, user.borrower):
                options = self._options(job, user, full_environment(config, job, self.name))
                container = client.containers.create(image, list(job.command), **options)
                try:
                    return self._attend(container)
                finally:
                    with suppress(docker.errors.NotFound):
                        container.remove(force=True)
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise EnvironmentLacks(
                f"docker could not run the image: {_text(error)}",
                hint="`docker info` tells how the daemon is; `recipec doctor` lists other engines",
            ) from error
        finally:
            client.close()

    @staticmethod
    def _client(timeout: Any) -> Any:
        import docker

        if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
            private = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"), "docker.sock")
            if private.exists():
                return docker.DockerClient(base_url=f"unix://{private}", timeout=timeout)
        return docker.from_env(timeout=timeout)

    def _loaded(self, client: Any, job: Job) -> str:
        """The daemon's id of the image; loads it first if need be."""
        found = _find(client, job.image)
        if found is None:
            with _piped(lambda stream: self._write(job, stream)) as archive:
                for event in client.api.load_image(archive):
                    if "error" in event:
                        raise EnvironmentLacks(
                            f"docker could not load the image: {event['error'].strip()}",
                            hint="free some space: `docker system df` shows what docker keeps",
                        )
            found = _find(client, job.image)
        if found is None:
            raise EnvironmentLacks(
                f"docker loaded the image but does not know {job.image.config.digest}",
                hint="use another engine, and please report this",
            )
        return found

    def _write(self, job: Job, stream: BinaryIO) -> None:
        from recipec.image.archive import write_archive

        write_archive(job.image, self._store, stream, reference=job.reference)

    @staticmethod
    def _options(job: Job, user: User, environment: dict[str, str]) -> dict[str, Any]:
        from docker.types import DeviceRequest, LogConfig, Mount

        wanted = list(gpus.chosen(job.gpus))
        request = DeviceRequest(device_ids=wanted, capabilities=[["gpu", "compute", "utility"]])
        return {
            **({"device_requests": [request]} if wanted else {}),
            "name": container_name(job),
            "labels": {OWNER: owner_label()},
            "environment": environment,
            "user": user.text,
            "network_mode": "none",
            "read_only": True,
            "tmpfs": {"/tmp": TMPFS},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "shm_size": SHARED_MEMORY,
            "userns_mode": "host",
            "log_config": LogConfig(type="none"),
            "mounts": [
                Mount(
                    target=mount.container,
                    source=os.path.realpath(mount.host),
                    type="bind",
                    read_only=mount.read_only,
                )
                for mount in job.mounts
            ],
        }

    def _attend(self, container: Any) -> int:
        """Start, show what it prints, pass signals on; the exit code."""
        import docker
        import requests

        def signal_it(number: int) -> None:
            with suppress(docker.errors.DockerException, requests.RequestException):
                container.kill(signal=number)

        output = container.attach(stdout=True, stderr=True, stream=True, logs=False)
        with Stopping(send=signal_it, kill=lambda: signal_it(signal.SIGKILL), grace=self._grace):
            container.start()
            for piece in output:
                sys.stderr.buffer.write(piece)
                sys.stderr.buffer.flush()
            return int(container.wait()["StatusCode"])


def _is_local() -> bool:
    return os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")


def _lacks_gpus(about: Any, count: int, found: gpus.Gpus, *, local: bool) -> str | None:
    """What stands between the daemon that says `about` and `count` GPUs; None for nothing."""
    if local and (reason := found.lacks(count)) is not None:
        return reason
    discovered = [str(device.get("ID", "")) for device in about.get("DiscoveredDevices") or ()]
    if "nvidia" in (about.get("Runtimes") or {}) or any(gpus.KIND in d for d in discovered):
        return None
    if local and found.toolkit:
        return None  # the daemon finds the toolkit's hook by itself, and tells nobody
    return (
        f"the docker daemon knows no NVIDIA GPUs: {gpus.TOOLKIT_HINT}, then"
        " `sudo nvidia-ctk runtime configure --runtime=docker` and restart docker"
    )


def _find(client: Any, image: Image) -> str | None:
    """How the daemon calls the image: by config digest, or by manifest with containerd's store."""
    import docker

    for digest in (image.config.digest, image.schema2.digest, image.manifest.digest):
        with suppress(docker.errors.ImageNotFound, docker.errors.NotFound):
            return str(client.images.get(digest).id)
    return None


def _remove_left_over(client: Any, name: str) -> None:
    import docker

    try:
        container = client.containers.get(name)
    except docker.errors.NotFound:
        return
    refuse_if_owned(name, container.labels.get(OWNER, ""))
    container.remove(force=True)


class _piped:
    """Pieces of what `write` puts into a stream, while a thread writes them."""

    def __init__(self, write: Callable[[BinaryIO], None]) -> None:
        self._write = write
        self._error: BaseException | None = None
        reader, writer = os.pipe()
        self._reader = os.fdopen(reader, "rb", buffering=0)
        self._writer = os.fdopen(writer, "wb", buffering=CHUNK)
        self._thread = threading.Thread(target=self._run, name="recipec-archive", daemon=True)

    def _run(self) -> None:
        try:
            with self._writer:
                self._write(self._writer)
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return iter(lambda: self._reader.read(CHUNK), b"")

    def __exit__(self, *about: object) -> None:
        self._reader.close()  # a writer that nobody reads any more ends with EPIPE
        self._thread.join()
        if self._error is not None and about[0] is None:
            raise self._error


def _why_not(error: Exception) -> str:
    text = _text(error)
    if "PermissionError" in text or "Permission denied" in text:
        return "no permission to use the docker socket: join the group docker, or use podman"
    return f"no docker daemon answers ({text}): install docker and start it"


def _text(error: Exception) -> str:
    """The shortest true account of an SDK error."""
    explanation = getattr(error, "explanation", None)
    return str(explanation or error).strip().splitlines()[0][:300]
