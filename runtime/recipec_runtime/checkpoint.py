"""The checkpoint: all that a killed run needs to end with the same bytes.

In: model, optimizer, step and what the history holds so far. Out: one file, replaced in one step,
so that there is always the last complete one; beside it the best weights, if they are kept. All of
it belongs to one run: another recipe ignores it. The folder is the run's own, on whatever disk the
platform gives back to a run that it starts again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from recipec_runtime import files

FORMAT = 2


class Stateful(Protocol):
    """Something beside the optimizer that has a state, such as a gradient scaler."""

    def state_dict(self) -> Any:
        """The state as plain values and tensors."""

    def load_state_dict(self, state: Any) -> Any:
        """Go on from a state."""


class Keeper(Protocol):
    """What a loop keeps its state with: this module for one process, `shards` for several."""

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
        """As `save`."""

    def save_best(self, folder: Path, *, fingerprint: str, model: Any, step: int) -> None:
        """As `save_best`."""

    def prune_best(self, folder: Path, step: int | None) -> None:
        """As `prune_best`."""

    def load(self, folder: Path, *, fingerprint: str) -> dict[str, Any] | None:
        """As `load`."""

    def load_best(self, folder: Path, step: int, *, fingerprint: str) -> dict[str, Any] | None:
        """As `load_best`."""

    def restore(
        self,
        state: Mapping[str, Any],
        model: Any,
        optimizer: Any,
        more: Mapping[str, Stateful],
    ) -> None:
        """As `restore`."""

    def put_weights(self, model: Any, weights: Mapping[str, Any]) -> None:
        """As `put_weights`."""

    def remove(self, folder: Path) -> None:
        """As `remove`."""


def path_of(folder: Path) -> Path:
    """Where the checkpoint lies in its folder."""
    return folder / "state.pt"


def best_path(folder: Path, step: int) -> Path:
    """Where the weights of the evaluation before step `step` lie while they are the best."""
    return folder / f"best-{step}.pt"


def save(
    folder: Path,
    *,
    fingerprint: str,
    model: Any,
    optimizer: Any,
    loop: Mapping[str, Any],
    more: Mapping[str, Stateful],
) -> None:
    """Write the checkpoint. `loop` is plain values: step, window and the history's text.

    Only weights that are trained are kept; the others are inputs, checked by their hash. `more` are
    other things with a state, by a name of their own.
    """
    import torch

    state = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "loop": loop,
        "weights": trained(model),
        "optimizer": optimizer.state_dict(),
        "more": {name: one.state_dict() for name, one in more.items()},
        "random": torch.get_rng_state(),
    }
    write(path_of(folder), state)


def save_best(folder: Path, *, fingerprint: str, model: Any, step: int) -> None:
    """Keep the trained weights as they are now: the best so far, measured before step `step`."""
    state = {"format": FORMAT, "fingerprint": fingerprint, "weights": trained(model)}
    write(best_path(folder, step), state)


def prune_best(folder: Path, step: int | None) -> None:
    """Remove best weights but those of `step`, once a checkpoint says that they are the best."""
    for path in sorted(folder.glob("best-*.pt")):
        if step is None or path != best_path(folder, step):
            path.unlink()


def load(folder: Path, *, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint of this very run, or None with a notice about what was found instead."""
    return read(path_of(folder), "the checkpoint", fingerprint)


def load_best(folder: Path, step: int, *, fingerprint: str) -> dict[str, Any] | None:
    """The best weights by name, or None with a notice if this very run's are not there."""
    if not best_path(folder, step).is_file():
        notice("the checkpoint's best weights are gone")
        return None
    state = read(best_path(folder, step), "the file of the best weights", fingerprint)
    return None if state is None else state["weights"]


def restore(
    state: Mapping[str, Any], model: Any, optimizer: Any, more: Mapping[str, Stateful]
) -> None:
    """Put a loaded checkpoint's weights, optimizer state and random state back."""
    import torch

    put_weights(model, state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    for name, one in more.items():
        one.load_state_dict(state["more"][name])
    torch.set_rng_state(state["random"])


def put_weights(model: Any, weights: Mapping[str, Any]) -> None:
    """Give the trained parameters these values."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])


def remove(folder: Path) -> None:
    """Remove the checkpoint and its folder."""
    if folder.is_dir():
        for name in sorted(folder.iterdir()):
            name.unlink()
        folder.rmdir()


def trained(model: Any) -> dict[str, Any]:
    """The weights that are trained, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def write(target: Path, state: Mapping[str, Any]) -> None:
    """Write a state in one step, folder and all."""
    import torch

    with files.disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    files.write_with(target, lambda stream: torch.save(state, stream))


def read(source: Path, name: str, fingerprint: str) -> dict[str, Any] | None:
    """What `write` has written for this very run; None, with a notice, for anything else."""
    import torch

    if not source.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        known = state["format"] == FORMAT and state["fingerprint"] == fingerprint
    except MemoryError:
        raise
    except Exception as error:
        notice(f"{name} cannot be read ({type(error).__name__})")
        return None
    if not known:
        notice(f"{name} belongs to another recipe, image or version")
        return None
    return state


def notice(message: str) -> None:
    """Say why a checkpoint is not used."""
    print(f"note: {message}; training starts at step 0", file=sys.stderr, flush=True)
