"""Training on an NVIDIA GPU: what the scripts and the launcher need beyond what CPUs need.

In: batches, models, errors. Out: the same on the GPU, its random state, its facts for the receipt.
Images for CPUs have no such module. torch is imported inside, after the environment is pinned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recipec_runtime import cuda_driver, modeling
from recipec_runtime.contract import RunFile
from recipec_runtime.cuda_driver import Gpu
from recipec_runtime.errors import EnvironmentLacks, RunError, TrainingFailed


@dataclass(frozen=True, kw_only=True)
class Cuda:
    """The device of a run, as `run.Device` asks for it."""

    gpu: Gpu

    @property
    def identity(self) -> dict[str, object]:
        """For the receipt: GPU and CUDA, which are the hardware class as far as a run knows it."""
        return {**self.gpu.identity, "cuda": cuda_driver.cuda_of_torch()}

    def facts(self) -> dict[str, object]:
        """For machine.json: the driver, and the most bytes that tensors and torch have held."""
        import torch

        return {
            "gpu": self.gpu.name,
            "gpu_driver": self.gpu.driver,
            "gpu_memory_bytes": self.gpu.memory,
            "peak_gpu_bytes": torch.cuda.max_memory_allocated(),
            "peak_gpu_bytes_reserved": torch.cuda.max_memory_reserved(),
        }


def find(spec: RunFile) -> Cuda:
    """The GPU that the run will use. Raises EnvironmentLacks where there is none that will do."""
    assert spec.accelerator is not None, "asked only for recipes with an accelerator"
    exact = spec.reproducibility == "bitwise"
    return Cuda(gpu=cuda_driver.find(spec.accelerator, exact=exact))


def pin(spec: RunFile) -> None:
    """Fix the GPU's algorithms, after `pin.pin_torch`. Raises EnvironmentLacks for an unfit build.

    `bitwise`: deterministic algorithms are on already, so torch takes the deterministic backward
    passes of flash and memory-efficient attention and leaves cuDNN's out; TF32 is off, so float32
    is float32. `seeded`: TF32 and cuDNN's own choice of algorithms, which are faster.
    """
    import torch

    _check_build(torch)
    fast = spec.reproducibility == "seeded"
    torch.backends.cuda.matmul.allow_tf32 = fast
    torch.backends.cudnn.allow_tf32 = fast
    torch.backends.cudnn.benchmark = fast
    torch.backends.cuda.enable_cudnn_sdp(fast)


def _check_build(torch: Any) -> None:
    """Refuse a GPU that torch was not compiled for, before anything is loaded onto it."""
    if not torch.cuda.is_available():
        raise EnvironmentLacks(
            "torch does not find the GPU that the driver shows", hint=cuda_driver.START
        )
    major, minor = torch.cuda.get_device_capability()
    if not any(runs_on(build, major, minor) for build in torch.cuda.get_arch_list()):
        builds = ", ".join(torch.cuda.get_arch_list())
        raise EnvironmentLacks(
            f"this GPU has compute capability {major}.{minor}, and torch was built for {builds}",
            hint="use another GPU, or another torch by `image.versions`",
        )


def runs_on(build: str, major: int, minor: int) -> bool:
    """Whether code of an architecture, `sm_80` or `compute_90`, runs on such a GPU.

    Machine code runs on its own major version from its minor version on, intermediate code on all
    that is later (NVIDIA, "CUDA C++ Programming Guide", "Binary" and "PTX Compatibility").
    Architecture-specific code (`sm_90a`) runs on its own alone.
    """
    kind, _, number = build.partition("_")
    if number[-1:] == "a":
        return number[:-1] == f"{major}{minor}"
    digits = number.rstrip("f")
    own = (int(digits[:-1]), int(digits[-1]))
    if kind == "compute":
        return own <= (major, minor)
    return own[0] == major and own[1] <= minor


def to_device(batch: Mapping[str, Any], device: str) -> Mapping[str, Any]:
    """The batch's tensors on the device. The copy runs beside what the GPU is still computing.

    Only page-locked memory can be copied so; torch keeps it until the copy is done. On a CPU the
    batch is what it was.
    """
    if device == "cpu":
        return batch
    return {
        name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()
    }


class RandomState:
    """The GPU's random state in checkpoints: masks of dropout and noise are drawn there."""

    def __init__(self, device: str) -> None:
        """With `cpu` there is no such state; the CPU's own is in every checkpoint."""
        self._device = device

    def state_dict(self) -> dict[str, Any]:
        """The generator's state, a tensor of bytes."""
        import torch

        return {} if self._device == "cpu" else {"state": torch.cuda.get_rng_state(self._device)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        import torch

        if "state" in state:
            torch.cuda.set_rng_state(state["state"], self._device)


@contextmanager
def apart(model: Any) -> Iterator[None]:
    """As `modeling.apart`, with the GPU's random state put back too."""
    random = RandomState(model.device.type)
    state = random.state_dict()
    try:
        with modeling.apart(model):
            yield
    finally:
        random.load_state_dict(state)


def explain(error: BaseException) -> RunError | None:
    """What a GPU's error means and what to do; None for any other."""
    text = " ".join(str(error).split())
    if "CUDA out of memory" in text:
        return EnvironmentLacks(
            "the GPU has not enough memory",
            hint="lower training.micro_batch_size or the lengths, set"
            " architecture.gradient_checkpointing, or use a GPU with more",
        )
    if "does not have a deterministic implementation" in text:
        return EnvironmentLacks(
            f"the model needs what this GPU has no deterministic algorithm for: {text[:200]}",
            hint="try `architecture.attention: eager`, or set `reproducibility: seeded`",
        )
    if "CUDA error" in text:
        return TrainingFailed(
            f"the GPU stopped: {text[:200]}",
            hint="run the same command again to go on from the checkpoint; if it happens again,"
            " `nvidia-smi` and the kernel's log (Xid) tell more",
        )
    return None
