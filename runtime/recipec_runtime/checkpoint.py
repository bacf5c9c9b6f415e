"""The checkpoint: all that a killed run needs to end with the same bytes.

In: model, optimizer, step and what the history holds so far. Out: one file, replaced in one step,
so that there is always the last complete one. It belongs to one run: another recipe ignores it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from recipec_runtime import files

FORMAT = 1


def path_of(output: Path) -> Path:
    """Where the checkpoint lies under the output folder."""
    return output / "checkpoint" / "state.pt"


def save(output: Path, *, fingerprint: str, model: Any, optimizer: Any, loop: Any) -> None:
    """Write the checkpoint. `loop` is plain values: step, window and the history's text.

    Only weights that are trained are kept; the others are inputs, checked by their hash.
    """
    import torch

    state = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "loop": loop,
        "weights": {name: p.detach() for name, p in model.named_parameters() if p.requires_grad},
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    target = path_of(output)
    with files.disk(target):
        target.parent.mkdir(exist_ok=True)
    files.write_with(target, lambda stream: torch.save(state, stream))


def load(output: Path, *, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint of this very run, or None with a notice about what was found instead."""
    import torch

    source = path_of(output)
    if not source.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        known = state["format"] == FORMAT and state["fingerprint"] == fingerprint
    except MemoryError:
        raise
    except Exception as error:
        _notice(f"the checkpoint cannot be read ({type(error).__name__})")
        return None
    if not known:
        _notice("the checkpoint belongs to another recipe, image or version")
        return None
    return state


def restore(state: dict[str, Any], model: Any, optimizer: Any) -> None:
    """Put a loaded checkpoint's weights, optimizer state and random state back."""
    import torch

    weights = state["weights"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])


def remove(output: Path) -> None:
    """Remove the checkpoint and its folder."""
    target = path_of(output)
    if target.parent.is_dir():
        for name in sorted(target.parent.iterdir()):
            name.unlink()
        target.parent.rmdir()


def _notice(message: str) -> None:
    print(f"note: {message}; training starts at step 0", file=sys.stderr, flush=True)
