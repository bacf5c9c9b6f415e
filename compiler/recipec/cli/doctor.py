"""`recipec doctor`: what this machine can do, and what to install for what it cannot."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from recipec.cli.console import print_json, size
from recipec.errors import ENVIRONMENT, OK
from recipec.store import Store

NEEDED_SPACE = 5_000_000_000
"""Bytes: the wheels, the layers and an unpacked image of the CPU stack."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. Without a `needed` thing nothing can be built or run."""

    what: str
    good: bool
    detail: str
    needed: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Look at everything; exit code 3 if something is missing that nothing can do without."""
    store = Store()
    findings = [*_building(store), *_running(store), *_tools()]
    lacking = [f for f in findings if f.needed and not f.good]
    if options.json:
        print_json({"good": not lacking, "findings": [asdict(f) for f in findings]})
    else:
        for finding in findings:
            mark = "yes" if finding.good else "NO " if finding.needed else "no "
            print(f"{mark}  {finding.what}: {finding.detail}")
    return ENVIRONMENT if lacking else OK


def _building(store: Store) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(what="python", good=sys.version_info >= (3, 11), detail=version, needed=True)
    yield _uv()
    yield _debian()
    yield _space(store)


def _uv() -> Finding:
    from recipec.errors import RecipecError
    from recipec.pins.wheels import uv_version

    try:
        return Finding(what="uv", good=True, detail=uv_version(), needed=True)
    except RecipecError as error:
        detail = f"{error.message}; {error.hint}"
        return Finding(what="uv", good=False, detail=detail, needed=True)


def _debian() -> Finding:
    from recipec.errors import RecipecError
    from recipec.pins.aptconf import deb_sources
    from recipec.pins.lockfile import Platform

    hint = "configure apt, or set RECIPEC_APT_MIRROR to a Debian mirror's address"
    try:
        count = len(deb_sources(Platform().debian).archives)
    except RecipecError as error:
        return Finding(what="Debian mirror", good=False, detail=f"{error.message}; {hint}")
    detail = f"{count} sources configured" if count else f"none configured; {hint}"
    return Finding(what="Debian mirror", good=count > 0, detail=detail)


def _space(store: Store) -> Finding:
    folder = store.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    detail = f"{store.root}, {size(free)} free"
    if not writable:
        detail += "; not writable: point RECIPEC_CACHE at a folder of yours"
    elif free < NEEDED_SPACE:
        detail += f"; a first build wants about {size(NEEDED_SPACE)}"
    good = writable and free >= NEEDED_SPACE
    return Finding(what="cache", good=good, detail=detail, needed=True)


def _running(store: Store) -> Iterator[Finding]:
    from recipec.engines.select import all_engines

    usable = []
    for engine in all_engines(store):
        problem = engine.check()
        if problem is None and engine.name != "host":
            usable.append(engine.name)
        yield Finding(what=f"engine {engine.name}", good=problem is None, detail=problem or "works")
    detail = f"`--engine auto` takes {usable[0]}" if usable else "install docker, podman or bwrap"
    yield Finding(what="an engine", good=bool(usable), detail=detail, needed=True)
    yield _cpu()
    yield from _gpus(store)


def _gpus(store: Store) -> Iterator[Finding]:
    """The GPU, its driver, and which engine can hand it on."""
    from recipec.engines.gpus import TOOLKIT_HINT, look
    from recipec.engines.select import all_engines

    found = look()
    reason = found.lacks(1)
    if reason is not None:
        yield Finding(what="NVIDIA GPU", good=False, detail=reason)
        return
    detail = f"{', '.join(found.models)}, driver {found.driver}{_cuda(found.driver)}"
    yield Finding(what="NVIDIA GPU", good=True, detail=detail)
    toolkit = found.toolkit or f"not found; for docker and podman, {TOOLKIT_HINT}"
    yield Finding(what="container toolkit", good=bool(found.toolkit), detail=toolkit)
    names = ", ".join(found.cdi) or "none: `sudo nvidia-ctk cdi generate` makes them, for podman"
    yield Finding(what="CDI devices", good=bool(found.cdi), detail=names)
    for engine in all_engines(store):
        if engine.check() is None:
            lack = engine.check_gpus(1)
            what = f"engine {engine.name} with a GPU"
            yield Finding(what=what, good=lack is None, detail=lack or "works, as far as is seen")


def _cuda(driver: str) -> str:
    """The CUDA that a driver supports, by the catalogue; empty where that does not tell."""
    from recipec.catalog.cuda import least_driver, numbers

    major = next((n for n in (13, 12) if numbers(driver) >= numbers(least_driver((n, 0)))), None)
    return f", CUDA {major}.x" if major else ""


def _cpu() -> Finding:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    good = {"avx2", "fma"} <= flags and platform.machine() == "x86_64"
    detail = "x86-64-v3, the class of `reproducibility: portable`"
    return Finding(
        what="portable bytes",
        good=good,
        detail=detail if good else "needs an x86-64 CPU with AVX2 and FMA; use `bitwise` here",
    )


def _tools() -> Iterator[Finding]:
    dvc = shutil.which("dvc") or shutil.which("dvc", path=str(Path(sys.executable).parent))
    yield Finding(
        what="dvc", good=dvc is not None, detail=dvc or "pip install 'recipec[dvc]' for `dvc repro`"
    )
