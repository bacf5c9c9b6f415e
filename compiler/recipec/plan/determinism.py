"""What pins the bytes of a run: variables set before torch is imported, and the hardware class.

Measured in docs/reproducibility.md. Pure.
"""

from __future__ import annotations

PORTABLE_CLASS = "cpu-x86-64-v3-portable"
"""Any x86-64 CPU with AVX2 and FMA: AMD or Intel, with or without AVX-512."""

LOCAL_CLASS = "cpu-x86-64"
"""CPUs as they are: the run adds the vendor and the instruction set it found."""


def hardware_class_of(reproducibility: str, accelerator: str = "cpu", capability: str = "") -> str:
    """The hardware class whose machines give equal bytes, as far as it is known beforehand.

    Of a GPU: its name and compute capability. CUDA's and torch's builds are the image's, and how
    many multiprocessors it has is in the receipt.
    """
    if accelerator != "cpu":
        return f"{accelerator}-sm{capability.replace('.', '')}" if capability else accelerator
    return PORTABLE_CLASS if reproducibility == "portable" else LOCAL_CLASS


NCCL = {
    "NCCL_ALGO": "Ring",
    "NCCL_MAX_NCHANNELS": "8",
    "NCCL_MIN_NCHANNELS": "8",
    "NCCL_NVLS_ENABLE": "0",
    "NCCL_PROTO": "Simple",
}
"""One way to add up between GPUs: NCCL would choose by what it measures, and the order of a sum
follows from algorithm and channels (NVIDIA, "NCCL User Guide", "Environment Variables")."""


def environment_of(
    reproducibility: str,
    threads: int,
    device: str = "cpu",
    *,
    flash: bool = False,
    world_size: int = 1,
) -> tuple[tuple[str, str], ...]:
    """The variables of a run, sorted by name. `flash`: attention by a package of its own."""
    variables = {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "MKL_NUM_THREADS": str(threads),
        "OMP_DYNAMIC": "FALSE",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": "0",
    }
    if reproducibility == "portable" or (device == "cuda" and reproducibility == "bitwise"):
        # One code path on every x86-64-v3 CPU, in each of the three libraries that choose one. With
        # a GPU the CPU only draws new weights, so this costs nothing, and the CPU does not count.
        variables |= {
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_CBWR": "COMPATIBLE",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
        }
    if flash and reproducibility == "bitwise":
        # transformers asks it, and the packages' backward passes then add up in a fixed order
        variables["FLASH_ATTENTION_DETERMINISTIC"] = "1"
    if world_size > 1:
        # DDP warns of what it is asked to do, and what is wrong is said twice, with C++ frames
        variables["TORCH_CPP_LOG_LEVEL"] = "FATAL"
        variables |= NCCL if device == "cuda" and reproducibility == "bitwise" else {}
    return tuple(sorted(variables.items()))
