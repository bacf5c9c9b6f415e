"""Pins everything that changes bytes: environment, CPU kernels, threads, algorithms.

In: the contract of run.json. Out: a process whose environment is as it says; if this one's is not,
the process replaces itself. Nothing here seeds: the script does, where a reader can see it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipec_runtime.contract import RunFile
from recipec_runtime.errors import EnvironmentLacks

ALWAYS = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS may sum in another order
    "HF_HUB_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables of every run, whatever run.json says."""

STRANGERS = ("ATEN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "NVIDIA_TF32_", "OMP_", "ONEDNN_")
"""Prefixes of variables that choose kernels or threads: dropped unless run.json sets them."""

GPU_STRANGERS = ("BNB_", "CUBLAS", "CUDA_FORCE_", "CUDNN_", "DISABLE_ADDMM_", "TORCH_", "TRITON_")
"""The same for runs on a GPU."""

X86_64_V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
GUARD = "RECIPEC_PINNED"


def required(spec: RunFile) -> dict[str, str]:
    """The variables that must hold before Python starts, sorted by name."""
    wanted = {**ALWAYS, "OMP_NUM_THREADS": str(spec.threads), **spec.environment}
    return dict(sorted(wanted.items()))


def pinned(environ: Mapping[str, str], spec: RunFile) -> dict[str, str]:
    """The environment as it must be: required variables set, strange ones dropped."""
    wanted = required(spec)
    strangers = STRANGERS if spec.accelerator is None else (*STRANGERS, *GPU_STRANGERS)
    kept = {
        name: value
        for name, value in environ.items()
        if name in wanted or not name.startswith(strangers)
    }
    return {**kept, **wanted}


def pin_environment(spec: RunFile, command: Sequence[str]) -> None:
    """Replace this process by `command` under the pinned environment, unless it holds already.

    Variables such as PYTHONHASHSEED and MKL_CBWR are read once, when Python or a library starts,
    so setting them from within would come too late.
    """
    wanted = pinned(os.environ, spec)
    if all(os.environ.get(name) == value for name, value in wanted.items()) and not any(
        name not in wanted for name in os.environ
    ):
        return
    if GUARD in os.environ:
        raise EnvironmentLacks(
            "the environment cannot be pinned: variables set for this process do not arrive",
            hint="look for a wrapper around python that sets variables",
        )
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *command], {**wanted, GUARD: "1"})


def check_cpu(spec: RunFile, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raise EnvironmentLacks where portable kernels cannot run; without /proc/cpuinfo, pass."""
    if spec.reproducibility != "portable":
        return
    try:
        text = cpuinfo.read_text()
    except OSError:
        return
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    present = set(flags.partition(":")[2].split())
    missing = [flag for flag in X86_64_V3 if flag not in present]
    if missing:
        raise EnvironmentLacks(
            f"this CPU lacks {', '.join(missing)}: a portable run needs x86-64-v3",
            hint="use a CPU with AVX2 and FMA (Intel since 2013, AMD since 2017), or set"
            " `reproducibility: bitwise` in the recipe",
        )


def pin_torch(spec: RunFile) -> None:
    """Import torch and fix threads, algorithms and precision. Needs the pinned environment."""
    import torch

    torch.set_num_threads(spec.threads)
    torch.set_num_interop_threads(1)
    if spec.reproducibility == "seeded":
        return
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    kernels = torch.backends.cpu.get_cpu_capability()
    if spec.reproducibility == "portable" and kernels != "AVX2":
        raise EnvironmentLacks(
            f"torch uses its {kernels} kernels, and a portable run needs AVX2",
            hint="use an x86-64-v3 machine, or set `reproducibility: bitwise` in the recipe",
        )
