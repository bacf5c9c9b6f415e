"""Which weights of a model are trained: chosen by role or by name, and counted before step one.

In: a transformers model, and the recipe's words: a role (`head`, `norms`, `embeddings`,
`positions`, `gates`) or a regular expression of parameter names. Out: the model with those weights
frozen or trained. It makes no weight and changes none. Roles are found in the module tree, so they
hold for architectures that nobody has listed.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from recipec_runtime.errors import TrainingFailed
from recipec_runtime.modeling import head_layers

GATES = ("gate", "router", "shared_expert_gate")
"""Last names of the modules that send tokens to experts."""
POSITIONS = ("wpe", "rel_embeddings", "relative_attention_bias")
"""Last names of trained positions that do not have `position` in them."""
ADAPTERS = {".lora_": "lora", ".ia3_": "ia3", "prompt_encoder.": "virtual tokens"}
"""Parts of the names that peft gives to its weights."""


def train_only(model: Any, words: Sequence[str], *, new: Iterable[str] = ()) -> None:
    """Freeze everything but what the words say and the layers that were made new.

    `new` are names of parameters that the model's files lack. Raises TrainingFailed for a word that
    matches nothing.
    """
    chosen = {name for word in words for name in matching(model, word)}
    layers = tuple(f"{layer}." for layer in (head_layers(model, new) if new else ()))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen or name.startswith(layers))


def freeze(model: Any, words: Sequence[str]) -> None:
    """Freeze what the words say. Raises TrainingFailed for a word that matches nothing."""
    for word in words:
        for name in matching(model, word):
            model.get_parameter(name).requires_grad_(False)


def layers_to_train(model: Any, words: Sequence[str], *, new: Iterable[str] = ()) -> list[str]:
    """Names of the layers that peft must train and save whole beside its adapter.

    They hold what the words say, and what was made new (names of parameters). Raises TrainingFailed
    for a word that matches nothing, and where a weight is shared with another layer: peft would
    train a copy and leave the other as it was.
    """
    names = {name for word in words for name in matching(model, word)}
    layers = {name.rpartition(".")[0] for name in names}
    _refuse_partial(model, layers, names)
    _refuse_shared(model, layers)
    return sorted(_outermost(layers | set(head_layers(model, new) if new else ())))


def matching(model: Any, word: str) -> list[str]:
    """Names of the parameters that a word means. Raises TrainingFailed if there are none."""
    if word in ROLES:
        shared = {id(p): name for name, p in model.named_parameters()}
        found = {
            shared[id(p)]
            for module in ROLES[word](model)
            for p in module.parameters()
            if id(p) in shared
        }
    else:
        found = {name for name, _ in model.named_parameters() if re.search(word, name)}
    if not found:
        raise TrainingFailed(f"{word!r} names no weight of this model", hint=_hint(model, word))
    return sorted(found)


def linear_layers(model: Any) -> list[str]:
    """Names of every linear layer of the blocks: those of the head and routers are left out."""
    import torch
    from transformers.pytorch_utils import Conv1D

    apart = {
        id(inner)
        for role in ("head", "gates")
        for module in ROLES[role](model)
        for inner in module.modules()
    }
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and id(module) not in apart
    ]
    if not found:
        raise TrainingFailed(
            "the model has no linear layer to adapt",
            hint="choose `method.type: full` or `layernorm`",
        )
    return found


def check_names(model: Any, names: Sequence[str]) -> None:
    """Raise TrainingFailed unless every name is the end of a module's name, as peft matches it."""
    known = [name for name, _ in model.named_modules()]
    for name in names:
        if not any(full == name or full.endswith(f".{name}") for full in known):
            ends = sorted({full.rpartition(".")[2] for full in known if full})
            raise TrainingFailed(
                f"method.target_modules: no layer of this model is called {name!r}",
                hint=_nearest(name, [end for end in ends if not end.isdigit()]),
            )


def check_ranks(model: Any, ranks: Iterable[str], names: Sequence[str]) -> None:
    """Raise TrainingFailed unless every pattern of ranks fits an adapted layer, as peft fits it."""
    adapted = [
        full
        for full, _ in model.named_modules()
        if any(full == name or full.endswith(f".{name}") for name in names)
    ]
    for pattern in ranks:
        if not any(re.match(rf"(.*\.)?({pattern})$", full) for full in adapted):
            ends = sorted({full.rpartition(".")[2] for full in adapted})
            raise TrainingFailed(
                f"method.ranks: {pattern!r} fits no layer that is adapted",
                hint=_nearest(pattern, ends),
            )


def announce(model: Any) -> Any:
    """Say on stderr what is trained, with counts; the model. Raises TrainingFailed for nothing."""
    kinds = counts(model)
    trained = sum(kinds.values())
    total = sum(_size(p) for name, p in model.named_parameters() if ".original_module." not in name)
    if trained == 0:
        raise TrainingFailed(
            "nothing of the model is trained", hint="take something out of `method.freeze`"
        )
    parts = ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))
    share = 100 * trained / total
    text = f"{share:.1f}" if share >= 0.1 else f"{share:.2g}"
    print(
        f"trains {trained:,} of {total:,} weights ({text}%): {parts}", file=sys.stderr, flush=True
    )
    return model


def counts(model: Any) -> dict[str, int]:
    """Trained weights by kind: the adapter's, those of a role, and `layers` for all others."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kind_of = {
        id(p): role
        for role in ("head", "embeddings", "positions", "norms", "gates")
        for module in ROLES[role](base)
        for p in module.parameters()
    }
    for name in getattr(base, "missing", ()):
        # made new for the task, such as the pooler below a classifier
        layer = base.get_submodule(name.rpartition(".")[0])
        kind_of |= {id(p): "head" for p in layer.parameters()}
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = [kind for part, kind in ADAPTERS.items() if part in name]
            kind = own[0] if own else kind_of.get(id(parameter), "layers")
            kind = getattr(parameter, "kind", kind)
            found[kind] = found.get(kind, 0) + _size(parameter)
    return found


def _head(model: Any) -> Iterator[Any]:
    output = model.get_output_embeddings()
    if output is not None:
        yield output
        return
    for name, child in model.named_children():
        if name != model.base_model_prefix and not _is_norm(child):
            yield child


def _is_norm(module: Any) -> bool:
    return "Norm" in type(module).__name__


def _norms(model: Any) -> Iterator[Any]:
    return (module for module in model.modules() if _is_norm(module))


def _is_position(name: str) -> bool:
    # peft may have wrapped the module, so its own name is not always the last part
    return any("position" in part or part in POSITIONS for part in name.split("."))


def _embeddings(model: Any) -> Iterator[Any]:
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and not _is_position(name):
            yield module


def _positions(model: Any) -> Iterator[Any]:
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and _is_position(name):
            yield module


def _gates(model: Any) -> Iterator[Any]:
    for name, module in model.named_modules():
        if type(module).__name__.endswith("Router") or not {*GATES}.isdisjoint(name.split(".")):
            yield module


ROLES: dict[str, Callable[[Any], Iterator[Any]]] = {
    "embeddings": _embeddings,
    "gates": _gates,
    "head": _head,
    "norms": _norms,
    "positions": _positions,
}
"""Words of the recipe and how the modules that they mean are found."""


def _outermost(layers: set[str]) -> set[str]:
    """The layers that do not lie within another of them."""
    return {a for a in layers if not any(a != b and a.startswith(f"{b}.") for b in layers)}


def _refuse_partial(model: Any, layers: set[str], names: set[str]) -> None:
    for layer in sorted(layers):
        whole = {f"{layer}.{name}" for name, _ in model.get_submodule(layer).named_parameters()}
        if left := sorted(whole - names):
            raise TrainingFailed(
                f"method.also_train means a part of the layer {layer}, and an adapter is saved with"
                " whole layers",
                hint=f"widen the expression so that it takes {left[0]} too",
            )


def _refuse_shared(model: Any, layers: set[str]) -> None:
    owners: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name.rpartition(".")[0])
    for layer in sorted(layers):
        for parameter in model.get_submodule(layer).parameters():
            if others := sorted(owners[id(parameter)] - {layer}):
                raise TrainingFailed(
                    f"method.also_train: {layer} shares its weights with {others[0]}",
                    hint="an adapter trains a copy of a layer, which would no longer be shared;"
                    " use `method.type: bottleneck`, `layernorm`, or `full` with `freeze`",
                )


def _size(parameter: Any) -> int:
    """Weights of a parameter; a 4-bit one packs two into a byte and knows its own shape."""
    state = getattr(parameter, "quant_state", None)
    return int((state.shape if state is not None else parameter.shape).numel())


def _hint(model: Any, word: str) -> str:
    if word in ROLES:
        there = [role for role in sorted(ROLES) if any(True for _ in ROLES[role](model))]
        return f"this model has: {', '.join(there)}"
    return _nearest(word, [name for name, _ in model.named_parameters()])


def _nearest(word: str, known: Sequence[str]) -> str:
    """The known names that look like the word, or else some of all."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known[:12])}"
