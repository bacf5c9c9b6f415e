"""Runs one shell script in a small image on one engine, as a process of its own.

Usage: run_job.py ENGINE CACHE OUTPUT SCRIPT [GRACE]. ENGINE is bwrap, unshare, docker or podman.
The exit code is the script's. Tests start it as other users, signal it and kill it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from recipec.engines.docker import DockerEngine
from recipec.engines.engine import Engine
from recipec.engines.job import Job, Mount
from recipec.engines.podman import PodmanEngine
from recipec.engines.sandbox import SandboxEngine
from recipec.errors import RecipecError
from recipec.store import Store

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.images import shell_image

GRACE = 20.0


def make_engine(name: str, store: Store, grace: float = GRACE) -> Engine:
    """An engine by the name of its runner."""
    if name == "docker":
        return DockerEngine(store, grace=grace)
    if name == "podman":
        return PodmanEngine(store, grace=grace)
    assert name in {"bwrap", "unshare"}
    return SandboxEngine(store, method="bwrap" if name == "bwrap" else "unshare", grace=grace)


def make_job(store: Store, output: Path, script: str, *mounts: Mount) -> Job:
    """The script as a job that writes to `output`."""
    return Job(
        image=shell_image(store),
        reference="registry.example/tests/shell:latest",
        command=(script,),
        environment=(("FROM_JOB", "yes"),),
        mounts=(Mount(host=output, container="/out", read_only=False), *mounts),
    )


def main() -> int:
    """Run it."""
    name, cache, output, script, *grace = sys.argv[1:]
    store = Store(Path(cache))
    engine = make_engine(name, store, float(grace[0]) if grace else GRACE)
    try:
        return engine.run(make_job(store, Path(output), script))
    except RecipecError as error:
        print(error.render(), file=sys.stderr)
        return 99


if __name__ == "__main__":
    sys.exit(main())
