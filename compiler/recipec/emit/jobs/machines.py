"""Which machine type a job gets, and whether that machine has what the run needs.

In: a `Job` and a cloud of the catalogue. Out: a machine type, or a fault with a way out. Machine
types without accelerators are taken as they are given: the catalogue holds only some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipec.catalog.hardware import Machine, machines
from recipec.catalog.regions import offer_of
from recipec.emit.jobs.job import Job
from recipec.recipe.rules.broken import Broken

Spelling = Callable[[Machine], str]
"""How a service writes a machine type; empty where it does not have it."""


def by_type(machine: Machine) -> str:
    """As the cloud's own API writes it."""
    return machine.type


def machine_of(job: Job, cloud: str, spelling: Spelling = by_type) -> str:
    """The machine type given, or the smallest that fits; empty if there is none."""
    if job.settings.machine:
        return job.settings.machine
    able = _able(job, cloud, spelling)
    return spelling(able[0]) if able else ""


def described(job: Job, cloud: str, spelling: Spelling = by_type) -> Machine | None:
    """What the catalogue knows of the job's machine type, if it does."""
    name = machine_of(job, cloud, spelling)
    alike = [one for one in _of(cloud, spelling) if spelling(one) == name]
    fitting = [one for one in alike if one.accelerator == job.shape.accelerator]
    exact = [one for one in fitting if one.count == job.shape.count]
    return next(iter((*exact, *fitting, *alike)), None)


def machine_faults(job: Job, cloud: str, spelling: Spelling = by_type) -> Iterator[Broken]:
    """A machine type that the cloud does not have, or that lacks what the run needs."""
    shape, given = job.shape, job.settings.machine
    wanted = f"{shape.count} x {shape.accelerator}" if shape.count else "CPUs alone"
    able = [spelling(one) for one in _able(job, cloud, spelling)]
    if given is None:
        if not able:
            yield job.broken(
                "machine",
                f"no machine type of {cloud} in the catalogue is one of {wanted}",
                "name one as `machine`" if not shape.count else _elsewhere(job),
            )
        return
    found = described(job, cloud, spelling)
    fits = f"such as {', '.join(able[:3])}" if able else _elsewhere(job)
    if found is None and shape.count:
        near = _nearest(given, [spelling(one) for one in _of(cloud, spelling)])
        yield job.broken(
            "machine",
            f"{given} is no machine type of {cloud} that the catalogue knows, and the run needs"
            f" {wanted}",
            near or fits,
        )
    elif found is not None and (found.accelerator, found.count) != (
        shape.accelerator,
        shape.count,
    ):
        has = f"{found.count} x {found.accelerator}" if found.count else "CPUs alone"
        yield job.broken("machine", f"{given} has {has}, and the run needs {wanted}", fits)


def place_faults(
    job: Job, cloud: str, key: str, place: str, spelling: Spelling = by_type
) -> Iterator[Broken]:
    """A region or zone in which the cloud does not offer the machine; `key` is what to change."""
    machine = described(job, cloud, spelling)
    name = machine.type if machine else machine_of(job, cloud, spelling)
    offer = offer_of(cloud, name)
    if offer is None or place in offer.places:
        return
    near = [one for one in offer.places if one.split("-")[0] == place.split("-")[0]]
    shown = ", ".join((near or list(offer.places))[:NAMED])
    yield job.broken(
        key,
        f"{cloud} does not offer {name} in {place}, as of {offer.date}",
        f"{offer.kind} that have it: {shown}" + (" ..." if len(offer.places) > NAMED else ""),
    )


NAMED = 6
"""Places that a hint names at most."""


def _able(job: Job, cloud: str, spelling: Spelling) -> list[Machine]:
    """Machine types with just what the run needs, the smallest first."""
    shape = job.shape
    able = [
        one
        for one in _of(cloud, spelling)
        if (one.accelerator, one.count) == (shape.accelerator, shape.count)
        and one.vcpus >= shape.threads * shape.processes
    ]
    return sorted(able, key=lambda one: (one.vcpus, one.memory_bytes))


def _of(cloud: str, spelling: Spelling) -> list[Machine]:
    return [one for one in machines().values() if one.cloud == cloud and spelling(one)]


def _elsewhere(job: Job) -> str:
    shape = job.shape
    able = sorted(
        {
            one.cloud
            for one in machines().values()
            if (one.accelerator, one.count) == (shape.accelerator, shape.count)
        }
    )
    if able:
        return f"{', '.join(able)} has such machines"
    counts = {m.count for m in machines().values() if m.accelerator == shape.accelerator}
    shown = ", ".join(map(str, sorted(counts)))
    return f"machines with it have {shown}" if counts else "no cloud in the catalogue has it"


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""
