"""What engines see of a machine's GPUs and hand on; the isolation is real, the GPUs are files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipec.cli import doctor
from recipec.engines import gpus, isolation, sandbox, select
from recipec.engines.containers import User
from recipec.engines.docker import DockerEngine, _lacks_gpus
from recipec.engines.job import Job
from recipec.engines.podman import PodmanEngine
from recipec.engines.union import Step
from recipec.errors import EnvironmentLacks
from recipec.store import Store
from tests.support.images import make_image, make_layer, shell_image

CACHE = """1063 libs found in cache `/etc/ld.so.cache'
\tlibnvidia-ptxjitcompiler.so.1 (libc6,x86-64) => {0}/libnvidia-ptxjitcompiler.so.1
\tlibnvidia-ptxjitcompiler.so.1 (libc6) => {0}/32/libnvidia-ptxjitcompiler.so.1
\tlibnvidia-ml.so.1 (libc6,x86-64) => {0}/libnvidia-ml.so.1
\tlibnvidia-ml.so (libc6,x86-64) => {0}/libnvidia-ml.so
\tlibnvidia-gpucomp.so.580.95.05 (libc6,x86-64) => {0}/libnvidia-gpucomp.so.580.95.05
\tlibnvidia-glcore.so.580.95.05 (libc6,x86-64) => {0}/libnvidia-glcore.so.580.95.05
\tlibcuda.so.1 (libc6,x86-64) => {0}/libcuda.so.1
\tlibcuda.so.1 (libc6) => {0}/32/libcuda.so.1
\tlibcudart.so.12 (libc6,x86-64) => {0}/libcudart.so.12
"""
CDI = """---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Files as a machine with two GPUs has them."""
    files = {
        "proc/driver/nvidia/version": (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
            "GCC version:  gcc version 14.2.0 (Debian 14.2.0-19)\n"
        ),
        "proc/driver/nvidia/gpus/0000:17:00.0/information": (
            "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 200\nDevice Minor: \t 0\n"
        ),
        "proc/driver/nvidia/gpus/0000:65:00.0/information": "Model: \t\t NVIDIA H100 80GB HBM3\n",
        "etc/cdi/nvidia.yaml": CDI,
        "etc/cdi/other.json": '{"kind": "vendor.example/net", "devices": [{"name": "7"}]}',
        "etc/cdi/torn.yaml": "devices: [",
        "var/run/cdi/more.json": '{"kind": "nvidia.com/gpu", "devices": [{"name": 1}]}',
        "lib/libcuda.so.580.95.05": "the driver's library\n",
    }
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"):
        files[f"dev/{name}"] = ""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "lib/libcuda.so.1").symlink_to("libcuda.so.580.95.05")
    return tmp_path


def look(machine: Path) -> gpus.Gpus:
    return gpus.look(machine, CACHE.format(machine / "lib"))


def test_what_a_machine_has(machine: Path) -> None:
    found = look(machine)
    assert found.driver == "580.95.05"
    assert found.models == ("NVIDIA H100 80GB HBM3",) * 2
    assert found.devices == ("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl")
    assert (found.count, found.cdi) == (2, ("0", "1", "all"))
    lib = machine / "lib"
    assert found.libraries == (
        ("libcuda.so.1", f"{lib}/libcuda.so.580.95.05"),
        ("libnvidia-gpucomp.so.580.95.05", f"{lib}/libnvidia-gpucomp.so.580.95.05"),
        ("libnvidia-ml.so.1", f"{lib}/libnvidia-ml.so.1"),
        ("libnvidia-ptxjitcompiler.so.1", f"{lib}/libnvidia-ptxjitcompiler.so.1"),
    )
    assert found.lacks(2) is None
    assert found.lacks_libraries() is None
    assert found.lacks_cdi(("0",)) is None


def test_what_a_machine_lacks(machine: Path, tmp_path: Path) -> None:
    found = look(machine)
    assert found.lacks(3) == (
        "the NVIDIA driver 580.95.05 shows 2 GPUs, and the recipe wants 3: `nvidia-smi` tells more"
    )
    assert replace(found, libraries=()).lacks_libraries() == (
        "`ldconfig -p` lists no libcuda.so.1 and no libnvidia-ml.so.1: install the driver's"
        " libraries (`apt install libcuda1 libnvidia-ml1`)"
    )
    bare = replace(found, cdi=(), toolkit="")
    assert bare.lacks_cdi(("0",)) == (
        f"no CDI specification has nvidia.com/gpu=0: {gpus.TOOLKIT_HINT}, then"
        " `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
    )
    nothing = gpus.look(tmp_path / "empty", "")
    assert nothing.lacks(1) == gpus.NO_DRIVER
    assert (nothing.count, nothing.devices, nothing.cdi) == (0, (), ())


@pytest.mark.parametrize(
    ("visible", "count", "wanted"),
    [
        ("", 1, ("0",)),
        ("", 0, ()),
        ("3,1", 1, ("3",)),
        ("3", 2, ("0", "1")),
        (" 2 , 0", 2, ("2", "0")),
    ],
)
def test_which_gpus_a_run_gets(
    visible: str, count: int, wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.chosen(count) == wanted


@pytest.fixture
def job(tmp_path: Path) -> Job:
    store = Store(tmp_path / "cache")
    return Job(
        image=make_image(store, [make_layer(store, "one", {"a": b""})]),
        reference="registry.example/tests/one:latest",
        command=("train",),
        environment=(),
        mounts=(),
        gpus=1,
    )


def test_docker_asks_for_devices_only_where_they_are_wanted(job: Job) -> None:
    user = User(uid=1, gid=1, lent=False)
    assert "device_requests" not in DockerEngine._options(replace(job, gpus=0), user, {})
    (request,) = DockerEngine._options(job, user, {})["device_requests"]
    assert request == {
        "Driver": "",
        "Count": 0,
        "DeviceIDs": ["0"],
        "Capabilities": [["gpu", "compute", "utility"]],
        "Options": {},
    }


def test_what_docker_says_of_gpus(machine: Path) -> None:
    found = replace(look(machine), toolkit="")
    hint = (
        f"the docker daemon knows no NVIDIA GPUs: {gpus.TOOLKIT_HINT}, then"
        " `sudo nvidia-ctk runtime configure --runtime=docker` and restart docker"
    )
    plain: dict[str, Any] = {"Runtimes": {"runc": {}}, "DiscoveredDevices": None}
    assert _lacks_gpus(plain, 1, found, local=True) == hint
    with_tools = replace(found, toolkit="/usr/bin/nvidia-ctk")
    assert _lacks_gpus(plain, 1, with_tools, local=True) is None
    assert _lacks_gpus(plain, 1, with_tools, local=False) == hint
    assert _lacks_gpus({"Runtimes": {"nvidia": {}}}, 1, found, local=True) is None
    devices = [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]
    assert _lacks_gpus({**plain, "DiscoveredDevices": devices}, 1, found, local=True) is None
    nothing = replace(found, driver="", devices=())
    assert _lacks_gpus({"Runtimes": {"nvidia": {}}}, 1, nothing, local=True) == gpus.NO_DRIVER
    assert _lacks_gpus({"Runtimes": {"nvidia": {}}}, 1, nothing, local=False) is None


def test_podman_names_cdi_devices(job: Job, tmp_path: Path) -> None:
    engine, user = PodmanEngine(Store(tmp_path)), User(uid=1, gid=1, lent=False)
    assert "--device" not in engine._options(replace(job, gpus=0), user, {})
    options = engine._options(job, user, {})
    assert options[options.index("--device") + 1] == "nvidia.com/gpu=0"


DEVICE = Path("/dev/fuse")
SHOW = (
    f"[ -c {DEVICE} ] && [ ! -e /dev/kvm ] && cat ${{LD_LIBRARY_PATH%%:*}}/libcuda.so.1"
    " && echo $CUDA_VISIBLE_DEVICES && ls /usr/local/nvidia && [ -d /sys/bus ] && ! touch /sys/x"
)


@pytest.mark.skipif(not DEVICE.is_char_device(), reason=f"there is no {DEVICE} to hand on")
@pytest.mark.parametrize("method", ["bwrap", "unshare"])
def test_the_sandbox_shows_devices_and_libraries(
    method: isolation.Method,
    machine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Another device takes the GPU's place: that it can be seen does not hang on its driver."""
    if isolation.probe(method) is not None:
        pytest.skip(f"{method} does not work here")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = look(machine)
    found = replace(seen, devices=(str(DEVICE),), libraries=seen.libraries[:1])
    monkeypatch.setattr(gpus, "look", lambda: found)
    store = Store(tmp_path / "cache")
    job = Job(
        image=shell_image(store),
        reference="registry.example/tests/one:latest",
        command=(SHOW,),
        environment=(),
        mounts=(),
        gpus=1,
    )
    assert sandbox.SandboxEngine(store, method=method).run(job) == 0
    printed = capfd.readouterr().err.splitlines()
    assert printed[:3] == ["the driver's library", "0", "lib64"]


def test_the_sandbox_keeps_the_images_library_folders(machine: Path) -> None:
    plain = replace(
        isolation._probe_plan("/bin/true"),
        environment=(("LD_LIBRARY_PATH", f"/opt/lib:{gpus.LIBRARY_FOLDER}"),),
    )
    plan = sandbox.with_gpus(plain, look(machine), 2)
    assert dict(plan.environment) == {
        "LD_LIBRARY_PATH": f"{gpus.LIBRARY_FOLDER}:/opt/lib",
        "CUDA_VISIBLE_DEVICES": "0,1",
    }
    assert plan.steps[-1] == Step(
        kind="bind",
        path=f"{gpus.LIBRARY_FOLDER}/libnvidia-ptxjitcompiler.so.1",
        source=f"{machine}/lib/libnvidia-ptxjitcompiler.so.1",
    )


def test_without_a_gpu_no_engine_is_taken(tmp_path: Path) -> None:
    if gpus.look().lacks(1) is None:
        pytest.skip("there is a GPU")
    with pytest.raises(EnvironmentLacks) as error:
        select.pick("sandbox", Store(tmp_path), gpus=1)
    assert error.value.message == f"the engine sandbox cannot run here: {gpus.NO_DRIVER}"
    assert select.pick("sandbox", Store(tmp_path)).name == "sandbox"


def test_doctor_tells_what_hands_a_gpu_on(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(look(machine), toolkit="")
    monkeypatch.setattr(gpus, "look", lambda: found)
    rows = {row.what: row for row in doctor._gpus(Store(tmp_path / "cache"))}
    gpu = rows["NVIDIA GPU"]
    assert gpu.good
    assert gpu.detail == "NVIDIA H100 80GB HBM3, NVIDIA H100 80GB HBM3, driver 580.95.05, CUDA 13.x"
    assert not rows["container toolkit"].good
    assert rows["CDI devices"].detail == "0, 1, all"
    assert doctor._cuda("535.183.01") == ", CUDA 12.x"
    assert doctor._cuda("470.57.02") == ""
