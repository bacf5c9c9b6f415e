"""The runtime's part for GPUs, as far as a machine without one shows it.

The driver is a stand-in of the same C interface, compiled here; what torch does on a GPU is for
scripts/check_cuda.py, which wants a real one.
"""

from __future__ import annotations

import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from recipec.catalog.hardware import find_accelerator
from recipec_runtime import cuda, cuda_driver, launch, modeling, pin
from recipec_runtime.contract import Accelerator
from recipec_runtime.errors import EnvironmentLacks
from tests.unit.runtime.test_bookkeeping import spec

SOURCE = Path(__file__).parents[2] / "support" / "standin_driver.c"
WANTED = Accelerator(device="cuda", name="nvidia-h100-80gb", capability="9.0")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in as a library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    target = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(target), str(SOURCE)], check=True)
    return str(target)


@pytest.fixture(autouse=True)
def _build(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's build is CUDA 13.0's, as in the images."""
    monkeypatch.setattr(cuda_driver, "cuda_of_torch", lambda: "13.0")


def find(driver: str, *, exact: bool = True) -> cuda_driver.Gpu:
    return cuda_driver.find(WANTED, exact=exact, library=driver)


def test_a_gpu_that_will_do(driver: str) -> None:
    gpu = find(driver)
    assert (gpu.name, gpu.capability, gpu.multiprocessors) == ("NVIDIA H100 80GB HBM3", "9.0", 132)
    assert (gpu.memory, gpu.cuda) == (80 << 30, "13.0")
    assert cuda.Cuda(gpu=gpu).identity == {
        "name": "NVIDIA H100 80GB HBM3",
        "capability": "9.0",
        "multiprocessors": 132,
        "cuda": "13.0",
    }


REFUSALS = [
    (
        {"STANDIN_RESULT": "100"},
        "the recipe trains on a GPU (nvidia-h100-80gb), and none can be used here: the driver shows"
        " no GPU to this process",
    ),
    (
        {"STANDIN_COUNT": "0"},
        "the recipe trains on a GPU (nvidia-h100-80gb), and none can be used here: the driver shows"
        " no GPU to this process",
    ),
    (
        {"STANDIN_RESULT": "803"},
        "the recipe trains on a GPU (nvidia-h100-80gb), and none can be used here: the driver's"
        " library and its kernel module are of different versions",
    ),
    (
        {"STANDIN_RESULT": "999"},
        "the recipe trains on a GPU (nvidia-h100-80gb), and none can be used here: cuInit failed"
        " with error 999",
    ),
    (
        {"STANDIN_CAPABILITY": "80"},
        "this GPU is a NVIDIA H100 80GB HBM3 (compute capability 8.0), and the recipe was compiled"
        " for nvidia-h100-80gb (9.0): the bytes would be others",
    ),
    (
        {"STANDIN_NAME": "NVIDIA H200"},
        "this GPU is a NVIDIA H200 (compute capability 9.0), and the recipe was compiled for"
        " nvidia-h100-80gb (9.0): the bytes would be others",
    ),
    (
        {"STANDIN_CUDA": "12080"},
        "this NVIDIA driver supports CUDA 12.8, and the image's torch is built for CUDA 13.0",
    ),
]


@pytest.mark.parametrize(("variables", "message"), REFUSALS)
def test_gpus_that_will_not_do(
    driver: str, variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver, "driver_version", lambda: "")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentLacks) as error:
        find(driver)
    assert error.value.message == message
    assert error.value.hint
    assert error.value.exit_code == 3


NAMES = {
    "nvidia-t4": "Tesla T4",
    "nvidia-v100-16gb": "Tesla V100-SXM2-16GB",
    "nvidia-a10g": "NVIDIA A10G",
    "nvidia-l4": "NVIDIA L4",
    "nvidia-a100-80gb": "NVIDIA A100-SXM4-80GB",
    "nvidia-a100-pcie-80gb": "NVIDIA A100 80GB PCIe",
    "nvidia-h100-80gb": "NVIDIA H100 80GB HBM3",
    "nvidia-h100-nvl-94gb": "NVIDIA H100 NVL",
    "nvidia-h200-141gb": "NVIDIA H200",
    "nvidia-b300-288gb": "NVIDIA B300 SXM6 AC",
    "nvidia-rtx-4090": "NVIDIA GeForce RTX 4090",
    "nvidia-rtx-6000-ada": "NVIDIA RTX 6000 Ada Generation",
    "nvidia-rtx-pro-6000-server": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
}
"""The catalogue's names and the driver's."""


@pytest.mark.parametrize("wanted", NAMES)
def test_a_model_by_its_two_names(wanted: str) -> None:
    assert find_accelerator(wanted) is not None
    mine = [name for name, found in NAMES.items() if cuda_driver.is_model(name, NAMES[wanted])]
    same = {"nvidia-a100-80gb", "nvidia-a100-pcie-80gb"}
    others = same if wanted in same else {"nvidia-h100-80gb"} if "h100" in wanted else set()
    assert {*mine} == {wanted, *others}


def test_with_seeds_only_any_gpu_will_do(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_CAPABILITY", "80")
    assert find(driver, exact=False).capability == "8.0"


def test_a_torch_for_cpus_is_refused(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if cuda_driver.cuda_of_torch() is None:
        with pytest.raises(EnvironmentLacks, match="installed here is built for CPUs"):
            find(driver)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("cuda: Optional[str] = '13.0'", "13.0"), ("cuda: Optional[str] = None", None)],
)
def test_the_cuda_of_torch_is_read_without_torch(
    line: str, wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('too early')\n")
    (tmp_path / "torch" / "version.py").write_text(f"debug = False\n{line}\nhip = None\n")
    program = "from recipec_runtime import cuda_driver; print(cuda_driver.cuda_of_torch())"
    runtime = Path(cuda_driver.__file__).parents[1]
    done = subprocess.run(
        [shutil.which("python3") or "python3", "-c", program],
        env={"PYTHONPATH": f"{tmp_path}:{runtime}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
            "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
            "580.95.05",
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n", "535.183.01"),
        ("", ""),
    ],
)
def test_the_drivers_version(text: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(text)
    assert cuda_driver.driver_version(tmp_path / "version") == wanted
    assert cuda_driver.driver_version(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("build", "capability", "wanted"),
    [
        *(("sm_80", (8, 6), True), ("sm_86", (8, 0), False), ("sm_90", (9, 0), True)),
        *(("sm_80", (9, 0), False), ("compute_90", (12, 0), True), ("compute_90", (8, 9), False)),
        *(("sm_90a", (9, 0), True), ("sm_100a", (10, 3), False), ("sm_120", (12, 1), True)),
    ],
)
def test_which_code_runs_where(build: str, capability: tuple[int, int], wanted: bool) -> None:
    assert cuda.runs_on(build, *capability) is wanted


def test_foreign_variables_of_cuda_are_dropped_on_gpus_alone() -> None:
    strange = {"TORCH_BLAS_PREFER_CUBLASLT": "1", "CUBLASLT_WORKSPACE_SIZE": "1", "A": "b"}
    kept = {"CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
    plain = spec(inputs=[])
    found = pin.pinned({**strange, **kept}, _with_gpu(plain))
    assert {*strange} & {*found} == {"A"}
    assert {*kept} <= {*found}
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert {*strange} <= {*pin.pinned(strange, plain)}


def _with_gpu(plain: Any) -> Any:
    import dataclasses

    return dataclasses.replace(plain, accelerator=WANTED, reproducibility="bitwise")


def test_on_a_cpu_the_same_calls_move_nothing_and_keep_nothing() -> None:
    torch = import_module("torch")
    batch = {"input_ids": torch.zeros(2, 3)}
    assert cuda.to_device(batch, "cpu") is batch
    state = cuda.RandomState("cpu")
    assert state.state_dict() == {}
    state.load_state_dict({})


def test_apart_is_that_of_cpus_there() -> None:
    torch = import_module("torch")

    class Model(torch.nn.Linear):  # type: ignore[misc, name-defined]
        device = torch.device("cpu")

    found = []
    for apart in (cuda.apart, modeling.apart):
        torch.manual_seed(3)
        model = Model(2, 2)
        with apart(model):
            torch.rand(5)
            assert not model.training
            assert not torch.is_grad_enabled()
        found.append(torch.rand(3).tolist())
        assert model.training
    assert found[0] == found[1]


ERRORS = [
    (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 80 GiB",
        "the GPU has not enough memory",
        3,
    ),
    (
        "put_ does not have a deterministic implementation, but you set 'x'",
        "the model needs what this GPU has no deterministic algorithm for: put_ does not have a"
        " deterministic implementation, but you set 'x'",
        3,
    ),
    (
        "CUDA error: an illegal memory access was encountered",
        "the GPU stopped: CUDA error: an illegal memory access was encountered",
        5,
    ),
]


@pytest.mark.parametrize(("said", "message", "code"), ERRORS)
def test_what_a_gpus_errors_mean(said: str, message: str, code: int) -> None:
    wrong = launch.explain(RuntimeError(said))
    assert (wrong.message, wrong.exit_code) == (message, code)
    assert wrong.hint


def test_other_errors_are_what_they_were() -> None:
    assert cuda.explain(ValueError("no")) is None
    assert launch.explain(ValueError("no")).exit_code == 5
