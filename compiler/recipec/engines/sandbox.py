"""The sandbox engine: an image's layers as a read-only root in namespaces, with no daemon.

In: a `Job`. Out: its exit code. Each layer is unpacked once (`unpack`), the root is put together
from them by mounts (`union`) and the process isolated (`isolation`), by bubblewrap where it is
installed and works, else by util-linux `unshare`. It needs no root rights and no network.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from recipec.engines import gpus
from recipec.engines.engine import full_environment, read_config
from recipec.engines.isolation import Method, Plan, Running, places, probe, start
from recipec.engines.job import Job
from recipec.engines.ownership import lent
from recipec.engines.stopping import GRACE, Stopping
from recipec.engines.union import Step, union
from recipec.engines.unpack import unpack_layers
from recipec.errors import EnvironmentLacks
from recipec.progress import Progress
from recipec.store import Store

HINT = (
    "install bubblewrap (`apt install bubblewrap`), and allow user namespaces "
    "(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
)


class SandboxEngine:
    """Runs images in namespaces; `method` fixes the runner, None takes the first that works."""

    name = "sandbox"

    def __init__(
        self,
        store: Store,
        *,
        method: Method | None = None,
        progress: Progress | None = None,
        grace: float = GRACE,
    ) -> None:
        self._store = store
        self._methods: tuple[Method, ...] = (method,) if method else ("bwrap", "unshare")
        self._progress = progress
        self._grace = grace
        self._found: Method | None = None

    def check(self) -> str | None:
        """None once a process was really isolated here; else what each runner said."""
        if self._found is not None:
            return None
        if sys.platform != "linux":
            return "the sandbox needs Linux; install docker or podman instead"
        reasons = []
        for method in self._methods:
            reason = probe(method)
            if reason is None:
                self._found = method
                return None
            reasons.append(reason)
        return f"{'; '.join(reasons)}: {HINT}"

    def check_gpus(self, count: int) -> str | None:
        """None if the machine has them and the driver's libraries are where the linker looks."""
        found = gpus.look()
        return found.lacks(count) or found.lacks_libraries()

    def run(self, job: Job) -> int:
        """Run the job; see `Engine.run`."""
        reason = self.check()
        if self._found is None:
            raise EnvironmentLacks(f"the sandbox cannot run here: {reason}", hint=HINT)
        with lent(job, None):
            running = start(self.plan(job), self._found, output=sys.stderr.fileno())
            with Stopping(send=running.send, kill=running.kill, grace=self._grace):
                return self._wait(running)

    def plan(self, job: Job) -> Plan:
        """The job as an isolated process; unpacks what is not unpacked yet."""
        config = read_config(job.image, self._store)
        trees = unpack_layers(job.image.layers, self._store, progress=self._progress)
        found = gpus.look() if job.gpus else None
        folders = (gpus.LIBRARY_FOLDER,) if found else ()
        plain = Plan(
            steps=union(trees, places=(*places(job.mounts), *folders)),
            mounts=job.mounts,
            command=(*config.entrypoint, *job.command),
            environment=tuple(full_environment(config, job, self.name).items()),
            folder=config.folder,
            uid=config.uid,
            gid=config.gid,
        )
        return with_gpus(plain, found, job.gpus) if found else plain

    @staticmethod
    def _wait(running: Running) -> int:
        try:
            return running.wait()
        except BaseException:
            running.kill()
            raise


def with_gpus(plan: Plan, found: gpus.Gpus, count: int) -> Plan:
    """The plan with the device files, the driver's libraries and /sys shown to the process.

    The libraries lie in a folder of their own, which the plan must make; LD_LIBRARY_PATH names it.
    The image's own folders stay as they are. CUDA is told which GPUs it may take.
    """
    folder = gpus.LIBRARY_FOLDER
    shown = tuple(
        Step(kind="bind", path=f"{folder}/{name}", source=file) for name, file in found.libraries
    )
    before = dict(plan.environment).get("LD_LIBRARY_PATH", "")
    paths = [path for path in before.split(":") if path and path != folder]
    added = {
        "LD_LIBRARY_PATH": ":".join([folder, *paths]),
        "CUDA_VISIBLE_DEVICES": ",".join(gpus.chosen(count)),
    }
    return replace(
        plan,
        steps=(*plan.steps, *shown),
        devices=found.devices,
        environment=tuple({**dict(plan.environment), **added}.items()),
    )
