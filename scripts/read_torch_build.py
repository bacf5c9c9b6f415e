"""What a torch wheel is built for: its CUDA, and the GPU architectures that its kernels have.

In: torch's versions, such as 2.13.0. Out: the rows of `[torch]` in catalog/stack.toml, on stdout.
The wheel is found where the user's pip finds it, and only what is needed of it is read: its
directory, torch/version.py and the library that `torch.cuda.get_arch_list()` asks, some 12 MB of
500. A wheel on this machine is read in place. It changes nothing.

    python scripts/read_torch_build.py 2.13.0 2.15.0 [--python 3.11]
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, url2pathname, urlopen

from recipec.pins.lockfile import Platform
from recipec.pins.sources import wheel_sources
from recipec.pins.wheels import Resolver

_LIBRARY = "torch/lib/libtorch_python.so"
_FLAGS = re.compile(rb"(?:(?:sm|compute)_[0-9]+[a-z]? ?){2,}")
"""CUDA_ARCH_FLAGS, as torch/csrc/cuda/Module.cpp compiles it in."""
_BLOCK = 1 << 20


class Ranged(io.RawIOBase):
    """A file behind a URL that is read by ranged requests, a megabyte or more at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        with urlopen(Request(url, method="HEAD")) as answer:
            self._size = int(answer.headers["Content-Length"])
        self._at = 0
        self._start, self._block = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if not self._start <= self._at <= end <= self._start + len(self._block):
            last = min(max(end, self._at + _BLOCK), self._size) - 1
            wanted = Request(self._url, headers={"Range": f"bytes={self._at}-{last}"})
            with urlopen(wanted) as answer:
                if answer.status != 206:
                    raise SystemExit(f"{self._url}: the server knows no ranged requests")
                self._start, self._block = self._at, answer.read()
        data = self._block[self._at - self._start : end - self._start]
        self._at += len(data)
        return data


def main() -> None:
    """Print a row for each version."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", nargs="+", metavar="VERSION")
    parser.add_argument("--python", default="3.11", help="the Python whose wheel is read")
    options = parser.parse_args()
    resolver = Resolver(
        platform=Platform(python=options.python), sources=wheel_sources(), folder=Path.cwd()
    )
    for version in options.versions:
        (found,) = resolver.resolve([f"torch==={version}"], no_deps=True)
        print(row(version, found.url), flush=True)


def row(version: str, url: str) -> str:
    """The row of stack.toml for the wheel at `url`."""
    local = urlsplit(url).scheme == "file"
    source = Path(url2pathname(urlsplit(url).path)) if local else Ranged(url)
    with zipfile.ZipFile(source) as wheel:
        text = wheel.read("torch/version.py").decode()
        library = wheel.read(_LIBRARY)
    cuda = re.search(r"^cuda(?:\s*:.*?)?\s*=\s*'([0-9.]+)'", text, re.MULTILINE)
    flags = _FLAGS.search(library)
    if cuda is None or flags is None:
        sys.exit(f"torch {version} is no build for CUDA")
    architectures = ", ".join(f'"{name}"' for name in flags.group().decode().split())
    return f'[torch."{version}"]\ncuda = "{cuda[1]}"\narchitectures = [{architectures}]'


if __name__ == "__main__":
    main()
