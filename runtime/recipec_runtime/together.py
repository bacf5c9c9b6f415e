"""Several processes that train one model: their meeting, their shares, what they add up.

In: rows, losses, models. Out: each process's share of the rows, sums over all processes, models
whose gradients are summed over the processes. The group that meets computes on the CPU (gloo) and,
for GPUs, there (NCCL). All sums are taken in an order that follows from ranks and shapes alone, so
that equal runs give equal bytes. torch is imported inside, after the environment is pinned. Only
images of recipes with several processes have this module.
"""

from __future__ import annotations

import ctypes
import datetime
import itertools
import signal
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from recipec_runtime import modeling, shards, stop
from recipec_runtime.contract import RunFile
from recipec_runtime.data import split_rows
from recipec_runtime.errors import EnvironmentLacks, GateFailed, PeerLost, RunError
from recipec_runtime.ranks import Ranks

T = TypeVar("T")
PATIENCE = datetime.timedelta(minutes=30)
"""How long a process waits for the others: to be scheduled, to read their inputs, to save."""

PR_SET_PDEATHSIG = 1
"""Of prctl(2), by its number in <sys/prctl.h>."""

LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Connection refused",
    "failed to recv",
    "gloo/transport",
    "NCCL error",
    "Timed out waiting",
    "timeout",
)
"""What the libraries say when a process that they wait for is gone."""


@dataclass(frozen=True, kw_only=True)
class Together:
    """The group of a run, as `run.Group` asks for it."""

    kept: shards.Shards

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes bring."""
        import torch

        found = torch.tensor(number)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return int(found)


@contextmanager
def joined(spec: RunFile, ranks: Ranks) -> Iterator[Together]:
    """Meet the other processes; part from them in the end. Raises PeerLost if they stay away.

    gloo carries what lies on the CPU, on GPU machines too: signals and counts then need not wait
    for the GPU.
    """
    import torch

    assert spec.parallelism is not None, "asked only for recipes with several processes"
    _die_with_parent()
    if spec.accelerator is not None:
        torch.cuda.init()
        torch.cuda.set_device(0)  # the one that it sees: DeviceMesh would take LOCAL_RANK's
    with _stopped_at_once():
        torch.distributed.init_process_group(
            "gloo" if spec.accelerator is None else "cpu:gloo,cuda:nccl",
            init_method=f"tcp://{ranks.master_address}:{ranks.master_port}",
            rank=ranks.rank,
            world_size=ranks.world_size,
            timeout=PATIENCE,
        )
    whole = spec.parallelism.type == "ddp"
    try:
        yield Together(kept=shards.Shards(ranks=ranks, whole=whole))
    except GateFailed as failed:
        _part()  # all have found so, and leave with the same code; the first says it
        if ranks.rank > 0:
            raise SystemExit(failed.exit_code) from failed
        raise
    _part()


def _part() -> None:
    """Wait for the others to be done, too, and leave the group."""
    import torch

    # This process has done its part: if it left with another code than those that are done a moment
    # earlier, a service would start it again, alone.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """Meanwhile a signal ends this process: no handler of Python's runs while the library waits."""
    for number in stop.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        stop.install()


def _die_with_parent() -> None:
    """Ask Linux for a SIGKILL when whoever started this process dies: nobody else would stop it."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def explain(error: BaseException) -> RunError | None:
    """PeerLost for what the libraries say when another process is gone; None for other errors."""
    import torch

    text = " ".join(str(error).split())
    if "EADDRINUSE" in text:
        return EnvironmentLacks(
            f"the port at which the processes meet is in use: {text[:200]}",
            hint="RECIPEC_MASTER_PORT names another one, the same on all machines",
        )
    if "trying to connect" in text or "waiting for clients" in text:
        return PeerLost(
            f"not all processes of the run have come: {text[:200]}",
            hint="start as many machines as the recipe has; each must reach the first one's port",
        )
    lost = isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(words in text for words in LOST)
    )
    if not lost:
        return None
    return PeerLost(
        f"another process of the run is gone: {text[:200]}",
        hint="what it said tells why; started again, all go on from their last common checkpoint",
    )


def summed(number: Any) -> Any:
    """The sum of the numbers that the processes bring, in double precision or whole."""
    import torch

    kind = torch.int64 if isinstance(number, int) else torch.float64
    found = torch.tensor(number, dtype=kind)
    torch.distributed.all_reduce(found)
    return found.item()


def own_parts(rows: Sequence[T], size: int) -> list[tuple[Sequence[T], int]]:
    """This process's share of a step's rows, in parts of `size` at most, each with its weight.

    Every process has as many parts as the others, for they meet at each. Where there are fewer rows
    than parts, a row of another process stands in, with weight 0 instead of 1.
    """
    import torch

    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    each = -(-len(rows) // (size * world))
    parts = _pieces(rows, each * world)[rank * each : (rank + 1) * each]
    return [(part, 1) if part else (rows[:1], 0) for part in parts]


def equally_many(parts: Sequence[T]) -> list[T]:
    """The parts, with the last one again until every process has as many as any.

    The shards of a model are gathered whenever it computes, so all must compute equally often.
    """
    import torch

    most = torch.tensor(len(parts))
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return [*parts, *[parts[-1]] * (int(most) - len(parts))]


class Shared(Sequence[Any]):
    """Rows that the processes go through together, each its own run of batches.

    Iterating gives this process's batches, of `size` rows at most; all have equally many, since the
    shards of a model are gathered at each. Where there are fewer rows than processes, every process
    goes through all.
    """

    def __init__(self, rows: Sequence[Any], size: int) -> None:
        import torch

        world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        self._apart = len(rows) >= world
        if not self._apart:
            self._batches = split_rows(rows, size)
            return
        each = min(-(-len(rows) // (size * world)), len(rows) // world)
        self._batches = _pieces(rows, each * world)[rank * each : (rank + 1) * each]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: Any) -> Any:
        stop.raise_if_asked()
        return self._batches[number]

    def together(self, *found: Any) -> Any:
        """What all processes have found, in the order of the rows: numbers summed, lists joined.

        One value is given back as it is, several as a tuple.
        """
        import torch

        if not self._apart:
            return found if len(found) > 1 else found[0]
        everywhere: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(everywhere, found)
        joined = tuple(
            [item for part in parts for item in part] if isinstance(parts[0], list) else sum(parts)
            for parts in zip(*everywhere, strict=True)
        )
        return joined if len(joined) > 1 else joined[0]


def _pieces(rows: Sequence[T], count: int) -> list[Sequence[T]]:
    """The rows in `count` runs that are as even as can be."""
    ends = [number * len(rows) // count for number in range(count + 1)]
    return [rows[start:end] for start, end in itertools.pairwise(ends)]


def mean_of(numbers: Sequence[float]) -> list[float]:
    """The mean of each number over the processes."""
    import torch

    found = torch.tensor(numbers, dtype=torch.float64)
    torch.distributed.all_reduce(found)
    return [float(number) / torch.distributed.get_world_size() for number in found]


def replicated(model: Any) -> Any:
    """The model, whose gradients are summed over the processes while they are computed (DDP).

    Li et al. (2020), arXiv:2006.15704. Every process has all of it. What the model can do beside
    computing, it still can.
    """
    import torch

    class Replica(torch.nn.parallel.DistributedDataParallel):  # type: ignore[misc]
        """As torch's, and whatever else is asked of it is asked of the model."""

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.module, name)

        def set_requires_gradient_sync(self, wanted: bool) -> None:
            """As FSDP's: whether the next backward pass sums the gradients up."""
            self.require_backward_grad_sync = wanted

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer torch has another word for it
        replica = Replica(
            model,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            # Otherwise the buckets are laid out anew after the first step, so that a run which goes
            # on from a checkpoint would add up in another order than one that never stopped.
            find_unused_parameters=True,
        )
    # DDP by itself would divide the sum by the number of processes
    replica.register_comm_hook(
        None,
        lambda _, bucket: (
            torch.distributed.all_reduce(bucket.buffer(), async_op=True)
            .get_future()
            .then(lambda done: done.value()[0])
        ),
    )
    return replica


def sharded(model: Any, device: str = "cpu") -> Any:
    """The model, of which each process holds a shard and gathers a block when it is computed.

    FSDP2: Zhao et al. (2023), arXiv:2304.11277. Gradients are summed over the processes and each
    keeps its shard's. Between two passes nothing stays gathered: what is then read from a weight or
    written to it is its shard. `generate` is a pass, too, since it calls layers below the model.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    if hasattr(model, "generate"):
        register_fsdp_forward_method(model, "generate")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return model


def _blocks(model: Any) -> list[Any]:
    """The model's blocks: entries of its lists of modules, of the outermost where lists are nested.

    transformers' `_no_split_modules` would not do: it is empty for some types, and for others it
    has embeddings whose weights the head shares. A block that shares a weight is no block.
    """
    import torch

    lists = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList)}
    inner = {n for n in lists if any(n.startswith(f"{outer}.") for outer in lists)}
    held = _held(model)
    return [
        block
        for name, blocks in lists.items()
        if name not in inner
        for block in blocks
        if all(held[weight] == count for weight, count in _held(block).items())
    ]


def _held(module: Any) -> Counter[int]:
    """How many modules within this one hold each weight."""
    return Counter(id(p) for one in module.modules() for p in one.parameters(recurse=False))


def clip_gradients(model: Any, limit: float) -> float:
    """As `modeling.clip_gradients`, for gradients of which each process has a shard."""
    import torch

    weights = modeling.trained_weights(model)
    gradients = [p.grad for p in weights if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).full_tensor()
    value: float = norm.item()
    if not value < 0.999 * limit:
        torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
    return value


def whole_weights(model: Any, *, trained: bool = False) -> dict[str, Any]:
    """The weights of a sharded model by name, on the CPU of the first process; none elsewhere.

    `trained` leaves out what is not trained. A weight that several layers share comes once. For
    virtual tokens peft asks an adapted model itself: there what is outside the blocks is gathered.
    """
    import torch

    names = {name for name, p in model.named_parameters() if p.requires_grad or not trained}
    names |= set() if trained else {name for name, _ in model.named_buffers()}
    first = torch.distributed.get_rank() == 0
    found = {}
    for name, value in model.state_dict().items():
        if name not in names:
            continue
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        if first:
            found[name] = whole.cpu()
    if trained:
        model.unshard()
    return found


def gathered(model: Any, weights: Mapping[str, Any]) -> Any:
    """What `bottleneck.save` asks of a model, with whole weights in the place of its shards."""
    import torch

    whole = {name: torch.nn.Parameter(weight) for name, weight in weights.items()}
    return SimpleNamespace(bottleneck=model.bottleneck, named_parameters=whole.items)
