"""Which of how many processes this one is, and where they meet.

In: the environment, the platform's name, and on SageMaker the hosts of resourceconfig.json. Out:
`Ranks`, whatever the platform calls them: what torchrun's static rendezvous needs. Nothing here
starts a process or opens a connection (`processes` and `together` do).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec_runtime import sagemaker
from recipec_runtime.errors import EnvironmentLacks

ADDRESS, PORT = "127.0.0.1", 29500
"""Where processes meet if nobody says otherwise; the port is torchrun's own."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's place: `rank` of `world_size`, and its number on this machine.

    `node_rank` of `nodes` is the machine's; all meet at the master's address and port.
    """

    world_size: int = 1
    rank: int = 0
    local_rank: int = 0
    nodes: int = 1
    node_rank: int = 0
    master_address: str = ADDRESS
    master_port: int = PORT


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a platform calls a field; the first of several names that is set is taken.

    With `world_size` each process is told its place. Without it each machine is: its processes,
    one unless `processes` is set, are numbered through. `many` holds addresses, the master first.
    """

    world_size: tuple[str, ...] = ()
    rank: tuple[str, ...] = ()
    local_rank: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    node_rank: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    address: tuple[str, ...] = ()
    port: tuple[str, ...] = ()
    many: str = ""


TORCHRUN = Names(
    world_size=("WORLD_SIZE",),
    rank=("RANK",),
    local_rank=("LOCAL_RANK",),
    nodes=("GROUP_WORLD_SIZE", "AZUREML_NODE_COUNT"),
    node_rank=("GROUP_RANK", "NODE_RANK"),
    address=("MASTER_ADDR",),
    port=("MASTER_PORT",),
)
"""torchrun's, and those of Azure ML's `distribution: pytorch`. They win over a platform's own."""

OPERATOR = Names(
    nodes=("WORLD_SIZE",),
    node_rank=("RANK",),
    address=("MASTER_ADDR",),
    port=("MASTER_PORT",),
)
"""The same words where they are said to each machine, as Kubeflow's PyTorchJob does: without
LOCAL_RANK."""

OURS = Names(
    nodes=("RECIPEC_NODES",),
    node_rank=("RECIPEC_NODE_RANK", "JOB_COMPLETION_INDEX"),
    processes=("RECIPEC_PROCESSES",),
    address=("RECIPEC_MASTER_ADDR",),
    port=("RECIPEC_MASTER_PORT",),
)
"""For platforms that name nothing but perhaps the index of a Kubernetes Job. They come second."""

TABLE: Mapping[str, Names] = {
    "trainjob": Names(
        nodes=("PET_NNODES",),
        node_rank=("PET_NODE_RANK", "JOB_COMPLETION_INDEX"),
        processes=("PET_NPROC_PER_NODE",),
        address=("PET_MASTER_ADDR",),
        port=("PET_MASTER_PORT",),
    ),
    "skypilot": Names(
        nodes=("SKYPILOT_NUM_NODES",), node_rank=("SKYPILOT_NODE_RANK",), many="SKYPILOT_NODE_IPS"
    ),
}
"""By the platform's name, where its variables are its own."""


def read(
    environ: Mapping[str, str],
    *,
    world_size: int,
    processes: int = 1,
    platform: str = "docker",
    root: Path = Path("/"),
) -> Ranks:
    """This process's ranks. Raises EnvironmentLacks unless there are `world_size` processes.

    `processes` are those of each machine, if nobody says otherwise. `root` is the file system's
    root, where SageMaker's files lie.
    """
    found = _find(environ, platform, root, processes)
    if found.world_size != world_size:
        shown = f"{found.world_size} process{'es' if found.world_size > 1 else ''}"
        if found.nodes > 1:
            shown += f" on {found.nodes} machines, of which this is number {found.node_rank}"
        verb = "are" if found.world_size > 1 else "is"
        raise EnvironmentLacks(
            f"there {verb} {shown}, and the recipe was compiled for {world_size}",
            hint="the number of processes changes the bytes; start as many as run.json says",
        )
    return found


def starts_others(environ: Mapping[str, str]) -> bool:
    """Whether this process is a machine's only one yet; torchrun has started all of them."""
    return not {"WORLD_SIZE", "LOCAL_RANK"} <= environ.keys()


def of_process(ranks: Ranks, local_rank: int) -> dict[str, str]:
    """What process number `local_rank` is told, of the machine whose first process has `ranks`.

    These are the variables of torchrun, so that it may start the processes as well.
    """
    return {
        "WORLD_SIZE": str(ranks.world_size),
        "RANK": str(ranks.rank + local_rank),
        "LOCAL_RANK": str(local_rank),
        "GROUP_WORLD_SIZE": str(ranks.nodes),
        "GROUP_RANK": str(ranks.node_rank),
        "MASTER_ADDR": ranks.master_address,
        "MASTER_PORT": str(ranks.master_port),
    }


def _find(environ: Mapping[str, str], platform: str, root: Path, processes: int) -> Ranks:
    if not starts_others(environ):
        return _of_process(environ, TORCHRUN)
    if "WORLD_SIZE" in environ:
        return _of_machine(environ, OPERATOR, processes)
    if "RECIPEC_NODES" in environ:
        return _of_machine(environ, OURS, processes)
    special = SPECIAL.get(platform)
    if special is not None:
        return special(environ, root, processes)
    return _of_machine(environ, TABLE.get(platform, OURS), processes)


def _of_process(environ: Mapping[str, str], names: Names) -> Ranks:
    """Where each process is told its place."""
    size = _number(environ, names.world_size, 1, least=1)
    return _checked(
        Ranks(
            world_size=size,
            rank=_number(environ, names.rank, 0),
            local_rank=_number(environ, names.local_rank, 0),
            nodes=_number(environ, names.nodes, 1, least=1),
            node_rank=_number(environ, names.node_rank, 0),
            master_address=_text(environ, names.address, ADDRESS),
            master_port=_number(environ, names.port, PORT, least=1),
        )
    )


def _of_machine(environ: Mapping[str, str], names: Names, usual: int) -> Ranks:
    """Where each machine is told its place, and starts one process or as many as it is told."""
    nodes = _number(environ, names.nodes, 1, least=1)
    node_rank = _number(environ, names.node_rank, 0)
    address = _text(environ, names.address, ADDRESS)
    if names.many and names.many in environ:
        addresses = environ[names.many].split()
        if len(addresses) != nodes:
            raise EnvironmentLacks(
                f"{names.many} has {len(addresses)} addresses, and {names.nodes[0]} is {nodes}",
                hint="one address a machine, separated by line ends",
            )
        address = addresses[0]
    port = _number(environ, names.port, PORT, least=1)
    return machine(nodes, node_rank, address, port, _processes(environ, usual, names))


def _processes(environ: Mapping[str, str], usual: int, names: Names = OURS) -> int:
    """How many processes each machine starts; `auto` and its like leave it at what is usual."""
    told = (*names.processes, *OURS.processes)
    if _text(environ, told, str(usual)) in ("auto", "cpu", "gpu"):
        return usual
    return _number(environ, told, usual, least=1)


def machine(nodes: int, node_rank: int, address: str, port: int, processes: int) -> Ranks:
    """The first process of machine `node_rank`, each of which has `processes`."""
    return _checked(
        Ranks(
            world_size=nodes * processes,
            rank=node_rank * processes,
            nodes=nodes,
            node_rank=node_rank,
            master_address=address,
            master_port=port,
        )
    )


def _sagemaker(environ: Mapping[str, str], root: Path, usual: int) -> Ranks:
    """From the hosts of resourceconfig.json in the order of their names; the first is master."""
    hosts, current = sagemaker.hosts(root)
    address = hosts[0] if len(hosts) > 1 else ADDRESS
    return machine(len(hosts), hosts.index(current), address, PORT, _processes(environ, usual))


def _vertex(environ: Mapping[str, str], _root: Path, usual: int) -> Ranks:
    """From CLUSTER_SPEC: pool 0 holds the one master, the other pools' replicas follow."""
    text = environ.get("CLUSTER_SPEC")
    if text is None:
        return _of_machine(environ, OURS, usual)
    hint = "Vertex AI sets CLUSTER_SPEC by itself; leave it alone"
    try:
        plain: Any = json.loads(text)
        cluster, task = plain["cluster"], plain["task"]
        pools = [f"workerpool{number}" for number in range(3)]  # number 3 evaluates, if it is there
        addresses = [str(one) for pool in pools for one in cluster.get(pool, ())]
        before = pools[: pools.index(task["type"])]
        own = cluster[task["type"]]
        index = int(task["index"])
        node_rank = sum(len(cluster.get(pool, ())) for pool in before) + index
        host, _, digits = addresses[0].rpartition(":")
        if not 0 <= index < len(own):
            raise ValueError(f"{task['type']} has {len(own)} replicas, and this is number {index}")
        port = int(digits)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise EnvironmentLacks(
            f"CLUSTER_SPEC cannot be read: {type(error).__name__}: {error}", hint=hint
        ) from error
    return machine(len(addresses), node_rank, host, port, _processes(environ, usual))


SPECIAL: Mapping[str, Callable[[Mapping[str, str], Path, int], Ranks]] = {
    "sagemaker": _sagemaker,
    "vertex": _vertex,
}
"""Platforms that say it in JSON."""


def _text(environ: Mapping[str, str], names: tuple[str, ...], default: str) -> str:
    return next((environ[name] for name in names if name in environ), default)


def _number(
    environ: Mapping[str, str], names: tuple[str, ...], default: int, *, least: int = 0
) -> int:
    text = _text(environ, names, str(default)).strip()
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        name = next(name for name in names if name in environ)
        raise EnvironmentLacks(
            f"{name} is {text!r}, and must be a whole number from {least} on",
            hint="let the platform or torchrun set it, or unset it",
        )
    return int(text)


def _checked(ranks: Ranks) -> Ranks:
    """Raise EnvironmentLacks unless each number is below what it is counted of."""
    for name, number, of in (
        ("machine", ranks.node_rank, ranks.nodes),
        ("process", ranks.rank, ranks.world_size),
        ("local process", ranks.local_rank, ranks.world_size),
    ):
        if number >= of:
            raise EnvironmentLacks(
                f"this is {name} number {number}, counted from 0, of only {of}",
                hint="on Kubernetes set RECIPEC_NODES to the Job's completions; elsewhere look"
                " where ranks are set by hand",
            )
    if ranks.master_port > 65535:
        raise EnvironmentLacks(
            f"the master's port is {ranks.master_port}, and ports end at 65535",
            hint="leave it open: recipec takes 29500",
        )
    return ranks
