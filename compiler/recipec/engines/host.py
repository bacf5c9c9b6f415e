"""The host engine: this Python runs the runtime, for debugging; nothing is isolated.

In: a `Job` with a `host_root` folder that holds recipe/, model/ and data/. Out: the exit code of
`python -m recipec_runtime`. The receipt says that the run is not reproducible. It imports no torch.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import suppress

from recipec.engines import gpus
from recipec.engines.job import Job
from recipec.engines.ownership import lent
from recipec.engines.stopping import GRACE, Stopping
from recipec.errors import EnvironmentLacks, UsageError
from recipec.image.image import ADAPTED, OUTPUT, TRAINED

NEEDED = ("torch", "transformers", "peft", "safetensors", "recipec_runtime")
PLACES = {
    ADAPTED: "RECIPEC_ADAPTED",
    OUTPUT: "RECIPEC_OUTPUT",
    TRAINED: "RECIPEC_TRAINED",
}


class HostEngine:
    """Runs the runtime with this interpreter and its installed packages."""

    name = "host"

    def __init__(self, *, grace: float = GRACE) -> None:
        self._grace = grace

    def check(self) -> str | None:
        """None if every package that training imports can be found."""
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if not missing:
            return None
        names = ", ".join(missing)
        return f"this Python ({sys.executable}) has no {names}: `pip install {' '.join(missing)}`"

    def check_gpus(self, count: int) -> str | None:
        """None if the machine has them: nothing stands between them and the process."""
        return gpus.look().lacks(count)

    def run(self, job: Job) -> int:
        """Run the job; see `Engine.run`. The host's own environment stays visible."""
        reason = self.check()
        if reason is not None:
            raise EnvironmentLacks(
                f"the host engine cannot run here: {reason}",
                hint="use --engine sandbox, which needs nothing installed",
            )
        if job.host_root is None:
            raise UsageError("the host engine needs a folder with recipe/, model/ and data/")
        environment = {
            **os.environ,
            **dict(job.environment),
            "RECIPEC_ENGINE": self.name,
            "RECIPEC_ROOT": os.fspath(job.host_root),
        }
        for mount in job.mounts:
            if mount.container in PLACES:
                environment[PLACES[mount.container]] = os.fspath(mount.host)
        with lent(job, None):
            process = subprocess.Popen(
                [sys.executable, "-m", "recipec_runtime", *job.command],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env=environment,
                start_new_session=True,
            )

            def send(number: int) -> None:
                with suppress(ProcessLookupError):
                    process.send_signal(number)

            def kill() -> None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

            with Stopping(send=send, kill=kill, grace=self._grace):
                code = process.wait()
        return 128 - code if code < 0 else code
