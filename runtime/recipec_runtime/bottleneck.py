"""Bottleneck adapters: small trained modules behind the layers of a frozen model.

In: a transformers model and the names of the layers whose output is adapted. Out: the same model
with those layers wrapped; a folder with the trained weights and what is needed to put them back.

A stranger loads such a folder onto the model that it was trained on by

    from recipec_runtime import bottleneck
    model = bottleneck.load(model, "folder")

Houlsby et al. (2019), "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751, put one
behind attention and one behind the feed-forward network of every block, both inside the residual
connection; Pfeiffer et al. (2021), arXiv:2005.00247, keep the second alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recipec_runtime import files
from recipec_runtime.errors import TrainingFailed
from recipec_runtime.trainable import train_only

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FORMAT = "recipec-bottleneck-1"


def add(
    model: Any,
    patterns: Sequence[str],
    *,
    reduction_factor: int,
    dropout: float = 0.0,
    also_train: Sequence[str] = (),
    new: Iterable[str] = (),
) -> None:
    """Put an adapter behind every layer whose name a pattern is found in; freeze the rest.

    `also_train` are roles or patterns as `trainable.matching` reads them; `new` are names of
    parameters that the model's files lack, which are trained too. The adapters are drawn from
    torch's global random state. Raises TrainingFailed where no layer fits.
    """
    names = layers_of(model, patterns)
    model.bottleneck = {"layers": names, "reduction_factor": reduction_factor, "dropout": dropout}
    train_only(model, also_train, new=new)
    _wrap(model, **model.bottleneck)


def layers_of(model: Any, patterns: Sequence[str]) -> list[str]:
    """Names of the layers that a pattern is found in. Raises TrainingFailed for an idle pattern."""
    known = [name for name, _ in model.named_modules()]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in known):
            raise TrainingFailed(
                f"no layer of this model fits {pattern!r}",
                hint="its blocks are built in another way; choose `method.type: lora`",
            )
    return [name for name in known if any(re.search(pattern, name) for pattern in patterns)]


def save(model: Any, folder: str, base_model: str) -> None:
    """Write what was trained and how it was added; `base_model` is what it belongs to."""
    from safetensors.torch import save_file

    config = {"format": FORMAT, "base_model": base_model, **model.bottleneck}
    (Path(folder) / CONFIG).write_bytes(files.to_json(config))
    weights = {
        name: parameter.detach().contiguous()
        for name, parameter in sorted(model.named_parameters())
        if parameter.requires_grad
    }
    save_file(weights, Path(folder) / WEIGHTS, metadata={"format": "pt"})


def load(model: Any, folder: str) -> Any:
    """The model with the folder's adapters behind its layers, and its other trained weights.

    The weights that were trained may be trained on; the others are frozen. Raises TrainingFailed if
    the folder holds something else, or does not fit the model.
    """
    import torch
    from safetensors.torch import load_file

    config = json.loads((Path(folder) / CONFIG).read_bytes())
    if config.get("format") != FORMAT:
        raise TrainingFailed(
            f"{folder} holds no bottleneck adapter", hint="peft loads adapters of other kinds"
        )
    weights = load_file(Path(folder) / WEIGHTS)
    model.bottleneck = {name: config[name] for name in ("layers", "reduction_factor", "dropout")}
    _refuse_strange(config, config["layers"], [name for name, _ in model.named_modules()])
    train_only(model, ())
    _wrap(model, **model.bottleneck)
    known = dict(model.named_parameters())
    _refuse_strange(config, weights, known)
    with torch.no_grad():
        for name, weight in weights.items():
            known[name].copy_(weight)
            known[name].requires_grad_(True)
    return model


def _refuse_strange(config: dict[str, Any], wanted: Iterable[str], known: Iterable[str]) -> None:
    if strange := sorted(set(wanted) - set(known)):
        raise TrainingFailed(
            f"the adapter does not fit this model, which has no {strange[0]}",
            hint=f"put it on {config['base_model']}",
        )


def _wrap(model: Any, *, layers: Sequence[str], reduction_factor: int, dropout: float) -> None:
    hidden = model.config.get_text_config().hidden_size
    behind = _behind()
    for name in layers:
        parent, _, last = name.rpartition(".")
        layer = model.get_submodule(name)
        size = max(1, hidden // reduction_factor)
        setattr(model.get_submodule(parent), last, behind(layer, hidden, size, dropout))


def _behind() -> type[Any]:
    """The module's class; made here because torch is imported only when it is needed."""
    import torch

    class Behind(torch.nn.Module):  # type: ignore[misc]
        """A layer and the adapter behind it: y + up(gelu(down(dropout(y)))), y the layer's output.

        Shapes: (..., hidden) to (..., hidden). `up` starts at zero, so the model begins as it was;
        Houlsby et al. (section 2.1) start near the identity for the same reason.
        """

        def __init__(self, layer: Any, hidden: int, size: int, dropout: float) -> None:
            super().__init__()
            self.layer = layer
            device = next(layer.parameters(), torch.empty(0)).device
            # 32 bits whatever the model has: 16 would lose the small steps of training
            down = torch.nn.Linear(hidden, size, device=device, dtype=torch.float32)
            up = torch.nn.Linear(size, hidden, device=device, dtype=torch.float32)
            torch.nn.init.zeros_(up.weight)
            torch.nn.init.zeros_(up.bias)
            self.adapter = torch.nn.ModuleDict({"down": down, "up": up})
            self.dropout = torch.nn.Dropout(dropout)
            for parameter in self.adapter.parameters():
                parameter.kind = "bottleneck"

        @property
        def weight(self) -> Any:
            """The layer's own: T5 looks at its type before it calls the layer."""
            return self.layer.weight

        def forward(self, *inputs: Any, **named: Any) -> Any:
            """The adapted output; of several outputs, the first is adapted."""
            said = self.layer(*inputs, **named)
            if isinstance(said, tuple):
                return self._adapt(said[0]), *said[1:]
            return self._adapt(said)

        def _adapt(self, said: Any) -> Any:
            inner = torch.nn.functional.gelu(self.adapter["down"](self.dropout(said).float()))
            return said + self.adapter["up"](inner).to(said.dtype)

    return Behind
