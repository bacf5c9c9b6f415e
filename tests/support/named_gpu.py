"""A GPU in name only: whatever is moved to it is a fake tensor, of shape and device and no numbers.

    python named_gpu.py ROOT ...

Takes, for each recipe under a ROOT, one step of its train.py and an evaluation, with DEVICE the
named GPU. torch raises where an operation meets two devices, as with a real one. What was not moved
is real: the tokenizer, `collate`, the model's files. Prints `ROOT fine` or `ROOT: ERROR`, a line
each. Left out is what asks a driver: page-locked memory and the GPU's random state.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from recipec_runtime import modeling
from recipec_runtime.ema import MovingAverage
from recipec_runtime.experts import Routers
from recipec_runtime.noise import add_noise

torch = import_module("torch")
fake = import_module("torch._subclasses.fake_tensor")
registration = import_module("torch.utils.backend_registration")

NAME = "namedgpu"


class NamedGpu(fake.FakeTensorMode):  # type: ignore[misc, name-defined]
    """Makes fake what is made on or moved to the named GPU, and leaves all else as it is."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tree = torch.utils._pytree
        there = torch.device(kwargs.get("device") or "cpu").type == NAME
        if not any(isinstance(leaf, fake.FakeTensor) for leaf in tree.tree_leaves((args, kwargs))):
            if not there:
                return function(*args, **kwargs)
            args, kwargs = tree.tree_map(self._faked, (args, kwargs))
        if function is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else 1  # there are no numbers to read
        return super().__torch_dispatch__(function, types, args, kwargs)

    def _faked(self, value: Any) -> Any:
        return self.from_tensor(value) if isinstance(value, torch.Tensor) else value


def moved(batch: Mapping[str, Any], device: str) -> dict[str, Any]:
    """As `recipec_runtime.cuda.to_device`, without page-locked memory."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


def load(root: Path) -> ModuleType:
    """train.py on the named GPU."""
    path = root / "recipe" / "train.py"
    text = path.read_text()
    assert text.count('DEVICE = "cuda"') == 1
    path.write_text(text.replace('DEVICE = "cuda"', f'DEVICE = "{NAME}:0"'))
    specification = importlib.util.spec_from_file_location("train", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.__dict__.update(apart=modeling.apart, to_device=moved)
    return module


def take_a_step(root: Path) -> None:
    """One step and an evaluation. Raises RuntimeError where two devices meet."""
    train = load(root)
    tokenizer = train.load_tokenizer(str(root / "model"))
    lines = (root / "data" / "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[:8]]
    made = train.load_base(str(root / "model"))
    model = (train.trainable(made) if hasattr(train, "trainable") else made).to(train.DEVICE)
    assert {weight.device.type for weight in model.parameters()} == {NAME}
    model.train()
    if hasattr(train, "NEFTUNE_ALPHA"):
        add_noise(model, train.NEFTUNE_ALPHA)
    groups = modeling.decay_groups(model, train.WEIGHT_DECAY)
    optimizer = torch.optim.AdamW(groups, lr=train.LEARNING_RATE, fused=True)
    averages = MovingAverage(model, 0.9)
    more = [Routers(model)] if hasattr(train, "ROUTER_LOSS") else []
    for _ in range(2):
        found = train.train_step(model, optimizer, tokenizer, rows, 0.1, *more)
        assert found == (1.0, 1.0)
    for routers in more:
        assert routers.shares()
    averages.update(0)
    options = {"generate": False} if hasattr(train, "NUM_BEAMS") else {}
    with averages.in_place():
        metrics, _ = train.evaluate(model, tokenizer, rows, **options)
    assert "loss" in metrics


def main(roots: list[str]) -> None:
    """Look at every recipe."""
    registration._setup_privateuseone_for_python_backend(NAME)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) is made here, too
    for root in roots:
        with NamedGpu():
            try:
                take_a_step(Path(root))
            except Exception as error:
                text = (str(error).splitlines() or [""])[0]
                print(f"{root}: {type(error).__name__}: {text}", flush=True)
            else:
                print(f"{root} fine", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
