"""What keeps a state or a place: random numbers, indices, optimizers, quantised layers, files."""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from bench.operations.inputs import Case, Results, both, numbers

SIZES = (7, 16, 1000, 20011)
STEPS = 5


def seeded(make: Callable[[], Tensor]) -> Callable[[], Results]:
    """The same draw at each call."""

    def run() -> Results:
        torch.manual_seed(7)
        return {"forward": [make()]}

    return run


def draws() -> Iterator[Case]:
    """Random numbers, as initialisation, dropout and data order draw them."""
    for n in SIZES:
        size, x = str(n), numbers(n)
        yield "normal_", size, seeded(partial(_normal, n))
        yield "uniform_", size, seeded(partial(_uniform, n))
        yield "trunc_normal_", size, seeded(partial(_truncated, n))
        yield "randperm", size, seeded(partial(torch.randperm, n))
        yield "multinomial", size, seeded(partial(torch.multinomial, x + 3, 5))
        for p in (0.1, 0.3):
            yield "dropout", f"{n}, p {p:g}", seeded(partial(F.dropout, x, p))


def _normal(n: int) -> Tensor:
    return torch.empty(n).normal_(0, 0.02)


def _uniform(n: int) -> Tensor:
    return torch.empty(n).uniform_(-0.1, 0.1)


def _truncated(n: int) -> Tensor:
    return torch.nn.init.trunc_normal_(torch.empty(n), std=0.02)


def places() -> Iterator[Case]:
    """Indexing, order and ties."""
    index = torch.arange(300) * 13 % 17
    ties = (torch.arange(4000) * 7 % 11).float().view(40, 100)
    values, table = numbers(300, 33), numbers(17, 33, seed=1)
    yield "embedding", "300 of 17x33", lambda: both(lambda w: F.embedding(index, w), table)
    yield (
        "index_add",
        "300 into 17x33",
        lambda: both(lambda t, v: t.index_add(0, index, v), table, values),
    )
    wide = index[:, None].expand(-1, 33)
    yield (
        "scatter_add",
        "300 into 17x33",
        lambda: both(lambda t, v: t.scatter_add(0, wide, v), table, values),
    )
    yield "gather", "300 of 17x33", lambda: both(lambda t: t.gather(0, wide), table)
    yield (
        "index_put, summed",
        "300 into 17x33",
        lambda: both(lambda t, v: t.index_put((index,), v, accumulate=True), table, values),
    )
    yield "topk, ties", "40x100", lambda: {"forward": list(ties.topk(9))}
    yield "sort, ties", "40x100", lambda: {"forward": list(ties.sort(-1))}
    yield "sort, stable", "40x100", lambda: {"forward": list(ties.sort(dim=-1, stable=True))}
    yield "argmax, ties", "40x100", lambda: {"forward": [ties.argmax(-1), ties.argmax()]}
    for norm in (2.0, torch.inf):
        yield "clip_grad_norm_", f"norm {norm:g}", partial(clipped, norm)


def clipped(norm: float) -> Results:
    parameters = [torch.nn.Parameter(numbers(*s)) for s in ((33,), (64, 33), (300, 48))]
    for number, parameter in enumerate(parameters):
        parameter.grad = numbers(*parameter.shape, seed=number)
    total = torch.nn.utils.clip_grad_norm_(parameters, 1.0, norm_type=norm)
    return {"forward": [total, *(p.grad for p in parameters if p.grad is not None)]}


Optimizer = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def optimizers() -> Iterator[Case]:
    """Five steps of each optimizer that a recipe can name, and of the kernels that it does not."""
    made: dict[str, Optimizer] = {
        "AdamW, fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
        "AdamW, one by one": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False),
        "SGD, fused": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True),
        "SGD, one by one": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, foreach=False),
        "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    }
    if lion := module("pytorch_optimizer.optimizer.lion"):
        made["Lion"] = lambda p: lion.Lion(p, lr=0.01)
    if eight := module("bitsandbytes.optim"):
        made["AdamW, 8 bits"] = lambda p: eight.AdamW8bit(p, lr=0.01)
    for name, make in made.items():
        yield name, f"{STEPS} steps", partial(stepped, make)
    yield (
        "AdamW, fused",
        f"{STEPS} steps, bfloat16",
        lambda: stepped(made["AdamW, fused"], torch.bfloat16),
    )


def stepped(make: Optimizer, dtype: torch.dtype = torch.float32) -> Results:
    shapes = ((33,), (64, 33), (300, 48))
    parameters = [torch.nn.Parameter(numbers(*s).to(dtype)) for s in shapes]
    optimizer = make(parameters)
    for step in range(STEPS):
        for number, parameter in enumerate(parameters):
            parameter.grad = numbers(*parameter.shape, seed=step * 10 + number).to(dtype)
        optimizer.step()
    return {"forward": [p.detach() for p in parameters]}


def quantised() -> Iterator[Case]:
    """bitsandbytes' layers, where it is installed."""
    library, layers = module("bitsandbytes.functional"), module("bitsandbytes.nn")
    if library is None or layers is None:
        return
    for rows, columns in ((64, 64), (96, 40), (50, 256)):
        size, weight = f"{rows}x{columns}", numbers(rows, columns, low=-0.1, high=0.1)
        x = numbers(9, columns, seed=5)
        for double, name in ((False, "nf4"), (True, "nf4, double")):
            yield f"{name}: quantise", size, partial(four_bits, library, weight, double)
            yield f"{name}: layer", size, partial(four_bit_layer, layers, weight, double, x)
        outliers = x.clone()
        outliers[:, 3] *= 9  # above the threshold of 6: multiplied apart
        yield "int8: layer", size, partial(eight_bit_layer, layers, weight, outliers)


def four_bits(library: Any, weight: Tensor, double: bool) -> Results:
    packed, state = library.quantize_4bit(weight, quant_type="nf4", compress_statistics=double)
    return {"forward": [packed, state.absmax, library.dequantize_4bit(packed, state).contiguous()]}


def four_bit_layer(layers: Any, weight: Tensor, double: bool, x: Tensor) -> Results:
    """A linear layer held in 4-bit NormalFloat, and the gradient of its input."""
    rows, columns = weight.shape
    made = layers.Linear4bit(
        columns,
        rows,
        quant_type="nf4",
        compress_statistics=double,
        compute_dtype=torch.float32,
    )
    held = layers.Params4bit(
        weight, requires_grad=False, quant_type="nf4", compress_statistics=double
    )
    return layer(made, held, x)


def eight_bit_layer(layers: Any, weight: Tensor, x: Tensor) -> Results:
    """A linear layer held in 8-bit integers, and the gradient of its input."""
    rows, columns = weight.shape
    made = layers.Linear8bitLt(columns, rows, has_fp16_weights=False, threshold=6.0)
    held = layers.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    return layer(made, held, x)


def layer(made: Any, weight: Any, x: Tensor) -> Results:
    """A bitsandbytes layer with these weights."""
    with torch.no_grad():
        made.bias.copy_(numbers(*made.bias.shape, seed=6))
    made.bias.requires_grad_(False)
    made.weight = weight
    return both(made.to("cpu"), x)


def files() -> Iterator[Case]:
    """A file of weights, byte by byte."""
    yield "safetensors", "2 tensors", saved


def saved() -> Results:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.safetensors"
        tensors: Mapping[str, Tensor] = {
            "b": numbers(33, 7),
            "a": numbers(5).bfloat16(),
        }
        save_file(dict(tensors), path, metadata={"format": "pt"})
        digest = hashlib.sha256(path.read_bytes()).digest()
    return {"forward": [torch.frombuffer(bytearray(digest), dtype=torch.uint8)]}


def module(name: str) -> Any:
    """A module, or None where its package is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
