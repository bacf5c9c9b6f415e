"""4-bit weights are unpacked alike by all CPUs, and rightly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bitsandbytes import functional

from recipec_runtime import quantized


@pytest.mark.parametrize("width", [16, 32, 40, 48, 64, 96, 128, 33])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_unpacked_is_near_what_was_packed(width: int, kind: str) -> None:
    """Each weight is off by less than half of the widest step between two codes of its block."""
    quantized.plain_kernels()
    weights = torch.randn(48, width, generator=torch.Generator().manual_seed(0))
    packed, state = functional.quantize_4bit(weights, quant_type=kind, blocksize=64)
    found = functional.dequantize_4bit(packed, state)
    assert found.shape == weights.shape
    steps = functional.get_4bit_type(kind, device="cpu").sort().values.diff().max() / 2
    scales = state.absmax.repeat_interleave(64)[: weights.numel()].view_as(weights)
    assert ((found - weights).abs() <= scales * steps * 1.001).all()


@pytest.mark.parametrize("blocksize", [64, 128, 1024])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_bitsandbytes_kernel_and_plain_operations_agree_to_the_bit(
    kind: str, blocksize: int
) -> None:
    """For every width: it is called for those only where no block goes over the end of a row."""
    assert quantized._kernel() is not None
    seeded = torch.Generator().manual_seed(0)
    for width in (16, 40, 64, 96, 128, 192, 576, 1024, 1536, 3072):
        for rows in (1, 3, 50):
            weights = torch.randn(rows, width, generator=seeded) * 7
            packed, state = functional.quantize_4bit(weights, quant_type=kind, blocksize=blocksize)
            given = (packed, state.absmax, blocksize, kind, (rows, width), torch.float32)
            assert torch.equal(quantized.unpack(*given), quantized.unpack_plainly(*given)), width


DIGEST = """
import hashlib
import torch
from bitsandbytes import functional
from recipec_runtime import quantized
quantized.plain_kernels()
found = hashlib.sha256()
packed = torch.arange(256, dtype=torch.uint8).repeat(288)
scales = torch.linspace(0.001, 9.0, 1152)
for kind in ("nf4", "fp4"):
    for width in (64, 192, 576, 2048, 48):
        rows = 73728 // width
        found.update(torch.ops.bitsandbytes.dequantize_4bit(
            packed[:rows * width // 2], scales, 64, kind, [rows, width], torch.float32
        ).numpy().tobytes())
print(found.hexdigest(), quantized._kernel() is not None)
"""


@pytest.mark.slow
def test_an_emulated_haswell_unpacks_the_same() -> None:
    emulator = shutil.which("qemu-x86_64")
    assert emulator is not None, "the tests need Debian's qemu-user"
    python = [os.path.realpath(sys.executable), "-c", DIGEST]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    source = str(Path(quantized.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, *packages])}
    said = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        for command in (python, [emulator, "-cpu", "Haswell", *python])
    ]
    assert said[0] == said[1]
    assert said[0].endswith(" True\n")


def test_the_values_are_the_tables_own() -> None:
    """Every code, in both halves of a byte, times its block's scale."""
    quantized.plain_kernels()
    table = functional.get_4bit_type("nf4", device="cpu")
    packed = torch.arange(256, dtype=torch.uint8).view(-1, 1)
    scales = torch.arange(1.0, 9.0)
    found = torch.ops.bitsandbytes.dequantize_4bit(
        packed, scales, 64, "nf4", [16, 32], torch.float32
    )
    codes = torch.stack([packed // 16, packed % 16], dim=-1).long().view(-1)
    expected = table[codes].view(8, 64) * scales.view(8, 1)
    assert torch.equal(found.view(8, 64), expected)


def test_other_storage_is_read_as_bytes() -> None:
    quantized.plain_kernels()
    weights = torch.randn(8, 64)
    plain = functional.quantize_4bit(weights, quant_type="nf4", blocksize=64)
    other = functional.quantize_4bit(
        weights, quant_type="nf4", blocksize=64, quant_storage=torch.float32
    )
    assert torch.equal(functional.dequantize_4bit(*plain), functional.dequantize_4bit(*other))


@pytest.mark.slow
def test_no_word_of_a_hub_that_was_not_asked() -> None:
    """On CPUs with AVX512-BF16 bitsandbytes warns that a package is missing; nobody needs it."""
    code = (
        "from recipec_runtime.stage import _quiet; _quiet();"
        "from recipec_runtime.quantized import plain_kernels; plain_kernels(); plain_kernels()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
