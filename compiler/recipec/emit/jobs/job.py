"""What every job document is made from: one image, where it runs, and what it must be told.

Inert values and what follows from them alone. No service is known here, and nothing is read from
the machine: the same recipe gives the same documents everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from recipec.recipe.given import given_values
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName, TargetSettings

PORT = 29500
"""Where the first process waits for the others: the runtime's default, which is torchrun's own."""

TAG = "manifest-"
"""Before a digest in a tag; `sha256-` is what registries put before digests of their own."""

RESERVE = 13
"""Characters of a job's name behind the recipe's: a hyphen and twelve digits of the run id."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The processes of a run; each has an accelerator of its own, if there are any."""

    accelerator: str = "cpu"
    """As the catalogue names it."""
    processes: int = 1
    """Of one machine."""
    nodes: int = 1
    threads: int = 1
    """CPU threads of one process."""

    @property
    def count(self) -> int:
        """Accelerators of one machine; 0 on CPUs."""
        return 0 if self.accelerator == "cpu" else self.processes

    @property
    def world_size(self) -> int:
        """Processes on all machines."""
        return self.nodes * self.processes


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image as a service meets it."""

    reference: str
    """REGISTRY/NAME@sha256:..."""
    output: str = "/out"
    """Where the runtime writes if it is told nothing."""
    adapted: str = "/adapted"
    """Where it looks for the model that the corpus has made, if it is told nothing."""
    user: int = 65532
    """The user and the group that it runs as."""
    interpreter: str = "/usr/bin/python3"
    """Its CPython."""
    shell: bool = False
    """Whether it has bash and what start scripts take for granted."""

    @property
    def tagged(self) -> str:
        """The reference with a tag that holds the digest, for services that take no digest."""
        place, _, digest = self.reference.partition("@")
        return f"{place}:{digest.replace('sha256:', TAG)}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of an image on one service."""

    target: TargetName
    name: str
    """The recipe's."""
    run_id: str
    container: Container
    shape: Shape
    settings: TargetSettings
    adapted: bool = False
    """Whether the run begins with the model that the recipe's corpus has made."""

    @property
    def digits(self) -> str:
        """The run id without its `sha256:`."""
        return self.run_id.partition(":")[2]

    def title(self, longest: int = 63) -> str:
        """A name for the job: the recipe's, cut if need be, and the run id's first digits."""
        return f"{self.name[: longest - RESERVE].rstrip('-')}-{self.digits[:12]}"

    @property
    def seconds(self) -> int:
        """After how many seconds the service stops the job."""
        return max(1, round(self.settings.max_hours * 3600))

    def environment(self, *, output: str = "", adapted: str = "") -> dict[str, str]:
        """What the runtime must be told; folders only where they are not the image's own."""
        told = {"RECIPEC_ENGINE": str(self.target), "RECIPEC_RUN_ID": self.run_id}
        if output:
            told["RECIPEC_OUTPUT"] = output
        if self.adapted and adapted:
            told["RECIPEC_ADAPTED"] = adapted
        return told

    @property
    def entrypoint(self) -> list[str]:
        """The image's own, for services that want a command line. It starts once a machine."""
        return [self.container.interpreter, "-m", "recipec_runtime"]

    def meeting(self, master: str) -> dict[str, str]:
        """Where the machines meet, for services that do not say it; empty for one machine.

        The machine's number is not in it: nobody but the service knows that.
        """
        if self.shape.nodes == 1:
            return {}
        return {"RECIPEC_NODES": str(self.shape.nodes), "RECIPEC_MASTER_ADDR": master}

    def broken(self, key: str, message: str, hint: str) -> Broken:
        """A fault of one of the target's settings."""
        return Broken(path=("deploy", "targets", self.target, key), message=message, hint=hint)


@dataclass(frozen=True, kw_only=True)
class Emitter:
    """How one service's documents are made, and what of a recipe it cannot do."""

    target: TargetName
    takes: frozenset[str]
    """Settings that mean something to it."""
    needs: tuple[str, ...] = ()
    """Settings that it cannot do without."""
    schema2: bool = False
    """Whether it wants the Docker schema2 manifest, not the OCI one."""
    root: bool = False
    """Whether it wants the variant of the image that runs as root (`recipec push --user root`)."""
    tagged: bool = False
    """Whether it names the image by a tag, `Container.tagged`, and not by its digest."""
    several: bool = True
    """Whether a job may have several machines."""
    documents: Callable[[Job], dict[str, bytes]]
    """File name to text."""
    faults: Callable[[Job], Iterator[Broken]]


def common_faults(job: Job, emitter: Emitter) -> Iterator[Broken]:
    """Settings that the service does not take, and those that it lacks."""
    from recipec.emit.jobs.words import WHY_NOT, example

    if job.shape.nodes > 1 and not emitter.several:
        yield Broken(
            path=("hardware", "nodes"),
            message=f"{job.target} is one machine, and the recipe trains on {job.shape.nodes}",
            hint="other targets have several, such as sagemaker, vertex, azureml, jobset and"
            " skypilot; or leave `hardware.nodes` at 1",
        )
    given: dict[str, Any] = given_values(job.settings)
    for key in given:
        if key not in emitter.takes:
            why = WHY_NOT.get(key, "it has no such thing")
            known = ", ".join(sorted(emitter.takes)) or "none"
            yield job.broken(key, f"`{key}` does nothing on {job.target}: {why}", f"takes: {known}")
    for key in emitter.needs:
        if key not in given:
            yield job.broken(
                key,
                f"{job.target} needs `{key}`",
                f"such as `{key}: {example(job.target, key)}`",
            )
    if job.adapted and "adapted" not in emitter.takes:
        yield Broken(
            path=("domain", "corpus"),
            message=f"the run begins with the model that the corpus has made, and {job.target}"
            " cannot mount it",
            hint="deploy it to another target, such as sagemaker, vertex, azureml or gke",
        )
    elif job.adapted and "adapted" not in given:
        yield job.broken(
            "adapted",
            "the run begins with the model that the corpus has made, and the job has none",
            "put the files of the corpus' train stage where the service can read them, and name"
            " that place here",
        )
