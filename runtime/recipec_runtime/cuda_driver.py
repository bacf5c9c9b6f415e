"""The GPU that a run finds: asked of the NVIDIA driver, before torch is imported.

In: what run.json says of the accelerator. Out: a frozen `Gpu`, or EnvironmentLacks in words. It
loads the driver's library (libcuda.so.1) and calls its C interface; it allocates nothing, writes
nothing and imports no torch. Images for CPUs have no such module.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec_runtime.contract import Accelerator
from recipec_runtime.errors import EnvironmentLacks

LIBRARY = "libcuda.so.1"
START = (
    "start the container with a GPU: `docker run --gpus 1`, `podman run --device"
    " nvidia.com/gpu=all`, a job's GPU request; `recipec doctor` tells what this machine has"
)
VERSION_FILE = Path("/proc/driver/nvidia/version")

# Numbers of CUresult and CUdevice_attribute in <cuda.h>.
NO_DEVICE, SYSTEM_NOT_READY, DRIVER_MISMATCH = 100, 802, 803
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76

_LEFT_ASIDE = {"nvidia", "pcie", "server"}
"""Words of the catalogue's names that the driver may not say: older ones begin with Tesla."""

_MEANINGS = {
    NO_DEVICE: "the driver shows no GPU to this process",
    SYSTEM_NOT_READY: "the GPUs are not ready yet (nvidia-fabricmanager)",
    DRIVER_MISMATCH: "the driver's library and its kernel module are of different versions",
}


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as the driver tells of it. Memory is in bytes, `cuda` what the driver supports."""

    name: str
    capability: str
    multiprocessors: int
    memory: int
    cuda: str
    driver: str

    @property
    def identity(self) -> dict[str, object]:
        """What decides about bytes: NVIDIA promises cuBLAS's for equal architecture and SMs."""
        return {
            "name": self.name,
            "capability": self.capability,
            "multiprocessors": self.multiprocessors,
        }


def find(wanted: Accelerator, *, exact: bool, library: str = LIBRARY) -> Gpu:
    """The first GPU of this process.

    With `exact` it must be of the model and compute capability that the recipe was compiled for.
    Raises EnvironmentLacks where there is no driver or GPU, or an unfit one.
    """
    gpu = _ask(wanted.name, library)
    _check_driver(gpu, cuda_of_torch())
    same = gpu.capability == wanted.capability and is_model(wanted.name, gpu.name)
    if exact and not same:
        raise EnvironmentLacks(
            f"this GPU is a {gpu.name} (compute capability {gpu.capability}), and the recipe was"
            f" compiled for {wanted.name} ({wanted.capability}): the bytes would be others",
            hint="name this GPU under hardware.accelerator and build again, or set"
            " `reproducibility: seeded`",
        )
    return gpu


def is_model(wanted: str, found: str) -> bool:
    """Whether the driver's name is of the model that the catalogue calls `wanted`.

    The driver says less than the catalogue here and more there: `nvidia-h200-141gb` is `NVIDIA
    H200`, `nvidia-h100-80gb` is `NVIDIA H100 80GB HBM3`. So memory and make are left aside.
    """
    model = {word for word in _words(wanted) if not re.fullmatch(r"[0-9]+gb", word)}
    return model - _LEFT_ASIDE <= _words(found)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for, read from its version.py; None for a CPU build."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    match = re.search(r"^cuda\b[^=]*=\s*'([0-9.]+)'", text, re.MULTILINE)
    return match[1] if match else None


def _check_driver(gpu: Gpu, built: str | None) -> None:
    """A driver runs every CUDA of its own major version (NVIDIA, "CUDA Compatibility")."""
    if built is None:
        raise EnvironmentLacks(
            "the torch that is installed here is built for CPUs, and the recipe is for a GPU",
            hint="run in the recipe's image, whose torch is built for CUDA",
        )
    if int(gpu.cuda.partition(".")[0]) < int(built.partition(".")[0]):
        raise EnvironmentLacks(
            f"this NVIDIA driver{f' {gpu.driver}' if gpu.driver else ''} supports CUDA {gpu.cuda},"
            f" and the image's torch is built for CUDA {built}",
            hint="update the driver: CUDA 13 wants 580 or later, CUDA 12 wants 525 or later",
        )


def _ask(name: str, library: str) -> Gpu:
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        raise EnvironmentLacks(
            f"the recipe trains on a GPU ({name}), and there is no NVIDIA driver here:"
            f" {library} cannot be loaded",
            hint=START,
        ) from error
    _call(driver, name, "cuInit", 0)
    count, device = ctypes.c_int(), ctypes.c_int()
    _call(driver, name, "cuDeviceGetCount", ctypes.byref(count))
    if count.value < 1:
        raise _lacks(name, _MEANINGS[NO_DEVICE])
    _call(driver, name, "cuDeviceGet", ctypes.byref(device), 0)
    text = ctypes.create_string_buffer(256)
    _call(driver, name, "cuDeviceGetName", text, len(text), device)
    memory, version = ctypes.c_size_t(), ctypes.c_int()
    _call(driver, name, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    _call(driver, name, "cuDriverGetVersion", ctypes.byref(version))
    numbers = []
    for attribute in (_MAJOR, _MINOR, _MULTIPROCESSORS):
        number = ctypes.c_int()
        _call(driver, name, "cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
        numbers.append(number.value)
    return Gpu(
        name=text.value.decode(errors="replace"),
        capability=f"{numbers[0]}.{numbers[1]}",
        multiprocessors=numbers[2],
        memory=memory.value,
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
        driver=driver_version(),
    )


def _call(driver: Any, name: str, function: str, *arguments: Any) -> None:
    """Call the driver. Raises EnvironmentLacks with what a result other than 0 means."""
    result = int(getattr(driver, function)(*arguments))
    if result != 0:
        raise _lacks(name, _MEANINGS.get(result, f"{function} failed with error {result}"))


def _lacks(name: str, why: str) -> EnvironmentLacks:
    return EnvironmentLacks(
        f"the recipe trains on a GPU ({name}), and none can be used here: {why}", hint=START
    )


def driver_version(file: Path = VERSION_FILE) -> str:
    """The driver's version, such as 580.95.05; empty where the kernel does not tell."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(r"\b([0-9]{3,}\.[0-9.]+)\b", text)
    return match[1] if match else ""
