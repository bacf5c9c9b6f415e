"""The checkpoint of several processes: a file of each, and the step that all of them have.

In and out as `checkpoint`, whose place in the loop this takes. Each process writes its own file in
one step and removes the one before when all have written: a kill at any moment leaves a step that
every process has. The folder may be one that all machines share or one of each machine's own. With
DDP a machine's first process writes what is the same in all; with FSDP each writes its shards. A
run goes on with the number of processes that it began with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec_runtime import checkpoint
from recipec_runtime.checkpoint import Stateful
from recipec_runtime.ranks import Ranks

RANDOM = "random"
"""Of what lies beside the optimizer, the name of what differs between processes even with DDP."""


@dataclass(frozen=True, kw_only=True)
class Shards:
    """Keeps the checkpoints of one process; a `checkpoint.Keeper`.

    `whole`: every process has the whole model.
    """

    ranks: Ranks
    whole: bool

    def save(
        self,
        folder: Path,
        *,
        fingerprint: str,
        model: Any,
        optimizer: Any,
        loop: Mapping[str, Any],
        more: Mapping[str, Stateful],
    ) -> None:
        """Write this process's file, wait for the others, remove the one before."""
        import torch

        states = {name: one.state_dict() for name, one in more.items()}
        own = {"random": torch.get_rng_state(), "more": {}}
        if RANDOM in states:
            own["more"] = {RANDOM: states.pop(RANDOM)}
        same = {
            "loop": loop,
            "weights": checkpoint.trained(model),
            "optimizer": optimizer.state_dict(),
            "more": states,
        }
        head = {"format": checkpoint.FORMAT, "fingerprint": fingerprint}
        if self._writes_same:
            checkpoint.write(self._same_path(folder, loop["step"]), {**head, **_local(same)})
        checkpoint.write(self._own_path(folder, loop["step"]), {**head, **own})
        torch.distributed.barrier()
        for step in self._steps(folder):
            if step != loop["step"]:
                self._remove(folder, step)

    def load(self, folder: Path, *, fingerprint: str) -> dict[str, Any] | None:
        """The state after the last step that every process has; None if there is none."""
        import torch

        found = {}
        for step in sorted(self._steps(folder))[-2:]:
            state = self._load(folder, step, fingerprint)
            if state is not None:
                found[step] = state
        everywhere: list[Any] = [None] * self.ranks.world_size
        torch.distributed.all_gather_object(everywhere, sorted(found))
        common = set(everywhere[0]).intersection(*everywhere[1:])
        if not common and any(everywhere) and self.ranks.rank == 0:
            checkpoint.notice("there is no step of which every process has a checkpoint")
        return found[max(common)] if common else None

    def restore(
        self,
        state: Mapping[str, Any],
        model: Any,
        optimizer: Any,
        more: Mapping[str, Stateful],
    ) -> None:
        """Put this process's weights, optimizer state and random state back."""
        import torch

        self.put_weights(model, state["weights"])
        optimizer.load_state_dict(_optimizer_like(optimizer, state["optimizer"]))
        named = dict(model.named_parameters())
        for name, one in more.items():
            one.load_state_dict(_like(state["more"][name], named))
        torch.set_rng_state(state["random"])

    def put_weights(self, model: Any, weights: Mapping[str, Any]) -> None:
        """Give the trained parameters these values, or these shards of them."""
        checkpoint.put_weights(model, _like(weights, dict(model.named_parameters())))

    def save_best(self, folder: Path, *, fingerprint: str, model: Any, step: int) -> None:
        """Keep the trained weights as they are now: the best so far, measured before `step`."""
        import torch

        if self._writes_same:
            state = {
                "format": checkpoint.FORMAT,
                "fingerprint": fingerprint,
                "weights": _local(checkpoint.trained(model)),
            }
            checkpoint.write(self._best_path(folder, step), state)
        torch.distributed.barrier()

    def load_best(self, folder: Path, step: int, *, fingerprint: str) -> dict[str, Any] | None:
        """The best weights, or None with a notice if a process lacks its own."""
        import torch

        path = self._best_path(folder, step)
        state = checkpoint.read(path, "the file of the best weights", fingerprint)
        everywhere: list[Any] = [None] * self.ranks.world_size
        torch.distributed.all_gather_object(everywhere, state is not None)
        if state is not None and all(everywhere):
            weights: dict[str, Any] = state["weights"]
            return weights
        if self.ranks.rank == 0:
            checkpoint.notice("the checkpoint's best weights are gone")
        return None

    def prune_best(self, folder: Path, step: int | None) -> None:
        """Remove this process's best weights but those of `step`."""
        if not self._writes_same:
            return
        kept = None if step is None else self._best_path(folder, step)
        for path in sorted(folder.glob(f"best-*-{self._same_name}.pt")):
            if path != kept:
                path.unlink()

    def remove(self, folder: Path) -> None:
        """Remove this process's files, and the folder with the last of them."""
        self.prune_best(folder, None)
        for step in self._steps(folder):
            self._remove(folder, step)
        for path in sorted(folder.glob(".*.part")):  # of a kill in the middle of one
            if path.name.endswith(self._unfinished):
                path.unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            try:
                folder.rmdir()
            except OSError:
                return  # another process was quicker, or is not done

    @property
    def _writes_same(self) -> bool:
        return not self.whole or self.ranks.local_rank == 0

    @property
    def _same_name(self) -> str:
        """Whose file holds the weights: with DDP one serves all processes of a machine."""
        if self.whole:
            return f"machine-{self.ranks.node_rank}-of-{self.ranks.nodes}"
        return f"shard-{self.ranks.rank}-of-{self.ranks.world_size}"

    @property
    def _unfinished(self) -> tuple[str, ...]:
        """Endings of what this process was writing when it was killed."""
        own = self._own_path(Path(), 0).name.removeprefix("step-0-")
        names = (own, f"{self._same_name}.pt") if self._writes_same else (own,)
        return tuple(f"-{name}.part" for name in names)

    def _same_path(self, folder: Path, step: int) -> Path:
        return folder / f"step-{step}-{self._same_name}.pt"

    def _own_path(self, folder: Path, step: int) -> Path:
        name = f"process-{self.ranks.rank}-of-{self.ranks.world_size}"
        return folder / f"step-{step}-{name}.pt"

    def _best_path(self, folder: Path, step: int) -> Path:
        return folder / f"best-{step}-{self._same_name}.pt"

    def _steps(self, folder: Path) -> Iterator[int]:
        """The steps of which this process has a file of its own."""
        ending = self._own_path(folder, 0).name.removeprefix("step-0")
        for path in list(folder.glob(f"step-*{ending}")):
            if number := re.fullmatch(rf"step-(\d+){re.escape(ending)}", path.name):
                yield int(number[1])

    def _load(self, folder: Path, step: int, fingerprint: str) -> dict[str, Any] | None:
        """Both files of one step as one state; None if one is missing or another run's."""
        paths = [self._same_path(folder, step), self._own_path(folder, step)]
        parts = [checkpoint.read(path, "a checkpoint", fingerprint) for path in paths]
        if parts[0] is None or parts[1] is None:
            return None
        return {**parts[0], **parts[1], "more": {**parts[0]["more"], **parts[1]["more"]}}

    def _remove(self, folder: Path, step: int) -> None:
        self._own_path(folder, step).unlink(missing_ok=True)
        if self._writes_same:
            self._same_path(folder, step).unlink(missing_ok=True)


def _local(value: Any) -> Any:
    """Plain values and tensors, with this process's shard in place of each sharded tensor."""
    if hasattr(value, "to_local"):
        return value.to_local()
    if isinstance(value, Mapping):
        return {name: _local(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_local(one) for one in value]
    return value


def _like(value: Any, parameters: Mapping[str, Any]) -> Any:
    """The reverse of `_local` for a mapping by the parameters' names; other values as they are."""
    if not isinstance(value, Mapping) or not value.keys() <= parameters.keys():
        return value
    return {name: _shard_of(one, parameters[name]) for name, one in value.items()}


def _optimizer_like(optimizer: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `_local` for an optimizer's state: moments lie as their parameters do."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {name: _shard_of(one, parameters[number]) for name, one in found.items()}
        for number, found in state["state"].items()
    }
    return {**state, "state": moments}


def _shard_of(value: Any, parameter: Any) -> Any:
    """A tensor that lies as the sharded parameter does; what has another shape as it is."""
    if not hasattr(parameter, "to_local") or not hasattr(value, "shape"):
        return value
    if value.shape != parameter.to_local().shape or value.dim() == 0:
        return value
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        value.to(parameter.device),
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
