"""Which engine runs a job.

In: a name, or `auto`. Out: an `Engine` that can run here. It runs nothing but the engines' checks.
"""

from __future__ import annotations

from recipec.engines.docker import DockerEngine
from recipec.engines.engine import Engine
from recipec.engines.host import HostEngine
from recipec.engines.podman import PodmanEngine
from recipec.engines.sandbox import SandboxEngine
from recipec.errors import EnvironmentLacks, UsageError
from recipec.progress import Progress
from recipec.store import Store

AUTOMATIC = ("docker", "podman", "sandbox")
"""What `auto` tries, in this order; never the host, whose runs are not reproducible."""


def all_engines(store: Store, *, progress: Progress | None = None) -> tuple[Engine, ...]:
    """Every engine, in the order that `auto` tries them, the host last."""
    return (
        DockerEngine(store),
        PodmanEngine(store),
        SandboxEngine(store, progress=progress),
        HostEngine(),
    )


def pick(name: str, store: Store, *, gpus: int = 0, progress: Progress | None = None) -> Engine:
    """The engine of that name, or for `auto` the first that can run here, with `gpus` GPUs.

    Raises EnvironmentLacks, saying what each lacks, or UsageError for a name that is no engine's.
    """
    engines = {engine.name: engine for engine in all_engines(store, progress=progress)}
    if name != "auto" and name not in engines:
        known = ", ".join(("auto", *engines))
        raise UsageError(f"no engine is called {name!r}", hint=f"the engines are {known}")
    reasons = []
    for candidate in AUTOMATIC if name == "auto" else (name,):
        reason = engines[candidate].check()
        if reason is None and gpus:
            reason = engines[candidate].check_gpus(gpus)
        if reason is None:
            return engines[candidate]
        reasons.append(f"{candidate}: {reason}")
    if name == "auto":
        raise EnvironmentLacks(
            "no engine can run the image here\n  " + "\n  ".join(reasons),
            hint="any one of them is enough; `recipec doctor` shows what this machine has",
        )
    raise EnvironmentLacks(
        f"the engine {name} cannot run here: {reasons[0].removeprefix(f'{name}: ')}",
        hint="--engine auto takes the first engine that works",
    )
