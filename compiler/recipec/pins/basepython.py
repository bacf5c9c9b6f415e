"""The Python of an image of a registry, found in its files and checked, without running it.

In: an image's files, and what its config says is started. Out: a `BasePython`, or UnusableBase
saying why wheels for `x86_64-manylinux_2_28` cannot run there. Sources: CPython's getpath.py (where
the standard library is looked for), PEP 405 (virtual environments), PEP 600 (what manylinux asks of
a system), System V ABI, "ELF header" and "Program header".
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipec.errors import UnusableBase
from recipec.pins.basefiles import Root
from recipec.pins.lockfile import BasePackage

OLDEST = (3, 11)
"""The oldest Python that the emitted scripts and the runtime are written for."""
_NEWEST_LOOKED_FOR = 20
OLDEST_GLIBC = (2, 28)
"""What the wheels of the lock are made for: manylinux_2_28."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME = re.compile(r"python(3(\.\d+)?)?")
_FULL_NAME = re.compile(r"python(3\.\d+)([a-z]*)")
_LIBRARIES = (
    *("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"),
)
_X86_64, _PT_INTERP = 62, 3
_HINT = (
    "name a base with CPython 3.11 or later of a system with glibc 2.28 or later, such as Debian's"
    " or Docker's python:3.11-slim by digest; or take `base: debian-12`"
)


@dataclass(frozen=True, kw_only=True)
class BasePython:
    """A Python that our wheels run on: its absolute path, `3.11`, its glibc, what it has."""

    interpreter: str
    version: str
    glibc: str
    packages: tuple[BasePackage, ...]


@dataclass(frozen=True, kw_only=True)
class Started:
    """What an image's config says of programs."""

    command: tuple[str, ...] = ()
    """Entrypoint and command."""
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Program:
    """A Python's program: the path by which it is called, where its bytes lie, its first bytes."""

    called: str
    real: str
    head: bytes


def find_python(root: Root, started: Started) -> BasePython:
    """The Python that the image starts, or else the first on its PATH.

    Raises UnusableBase with what was found instead.
    """
    program = _program(root, started)
    _refuse_locked_away(root, program)
    prefix = posixpath.dirname(posixpath.dirname(program.real))
    version = _version(root, program, prefix)
    glibc = _glibc(root, program)
    _refuse_without_cxx(root, prefix, started)
    venv = _environment_of(root, program)
    interpreter = program.called if venv is not None else program.real
    return BasePython(
        interpreter=f"/{interpreter}",
        version=version,
        glibc=glibc,
        packages=_packages(root, version, prefix, venv),
    )


def _refused(message: str) -> UnusableBase:
    return UnusableBase(message, hint=_HINT)


def _program(root: Root, started: Started) -> _Program:
    passed: dict[str, str] = {}
    for path in _candidates(started):
        found = root.resolve(path)
        if found is None or found[1].kind != "file":
            continue
        real, entry = found
        if not entry.fact.startswith(b"\x7fELF"):
            passed[real] = "is no program of Linux"
            continue
        folder = root.resolve(posixpath.dirname(path))
        above = folder[0] if folder else posixpath.dirname(path)
        called = f"{above}/{posixpath.basename(path)}"
        return _Program(called=called, real=real, head=entry.fact)
    if passed:
        what = "; ".join(f"/{path} {why}" for path, why in passed.items())
        raise _refused(f"its Python cannot be used: {what}")
    raise _refused("there is no Python on its PATH")


def _candidates(started: Started) -> Iterator[str]:
    """Relative paths at which a Python may be, the likeliest first."""
    folders = [
        folder.strip("/")
        for folder in (started.environment.get("PATH") or _DEFAULT_PATH).split(":")
        if folder.startswith("/")
    ]
    names = ["python3", "python", *(f"python3.{n}" for n in range(_NEWEST_LOOKED_FOR, 2, -1))]
    first = started.command[0] if started.command else ""
    if _NAME.fullmatch(posixpath.basename(first)):
        if first.startswith("/"):
            yield first.strip("/")
        else:
            names.insert(0, first)
    for name in dict.fromkeys(names):
        for folder in folders:
            yield f"{folder}/{name}"


def _refuse_locked_away(root: Root, program: _Program) -> None:
    """A run is not root's: each folder on the way must let others in, and the file be theirs."""
    for path in (program.real, program.called):
        parts = path.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            entry = root.entry(folder)
            if entry is not None and entry.kind == "folder" and not entry.mode & 0o001:
                raise _refused(
                    f"its Python, /{path}, lies below /{folder}, which only its owner may enter;"
                    " training does not run as root"
                )
    entry = root.entry(program.real)
    if entry is not None and entry.mode & 0o005 != 0o005:
        raise _refused(f"its Python, /{program.real}, is one that only its owner may run")


def _version(root: Root, program: _Program, prefix: str) -> str:
    """`3.11`, told by the standard library that the program would take. Raises UnusableBase."""
    named = _FULL_NAME.fullmatch(posixpath.basename(program.real))
    if named and named[2]:
        kind = "a free-threaded" if "t" in named[2] else "a debug"
        raise _refused(f"its Python, /{program.real}, is {kind} build, for which wheels differ")
    minors = range(_NEWEST_LOOKED_FOR, 2, -1)
    versions = [named[1]] if named else [f"3.{minor}" for minor in minors]
    for version in versions:
        for folder in ("lib", "lib64"):
            landmark = f"{prefix}/{folder}/python{version}/os.py".lstrip("/")
            if root.resolve(landmark) is not None:
                return _recent(program, version)
    if named and tuple(map(int, named[1].split("."))) < OLDEST:
        return _recent(program, named[1])
    wanted = f"python{versions[0]}" if named else "python3.x"
    where = f"/{prefix}" if prefix else ""
    raise _refused(
        f"its Python, /{program.real}, has no standard library: there is no {where}/lib/{wanted}"
    )


def _recent(program: _Program, version: str) -> str:
    if tuple(map(int, version.split("."))) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise _refused(
            f"its Python, /{program.real}, is version {version}; {oldest} or later is needed"
        )
    return version


def _glibc(root: Root, program: _Program) -> str:
    """The version of its glibc, such as `2.36`. Raises UnusableBase."""
    loader = _loader(program)
    if "musl" in loader:
        raise _refused(
            f"its Python, /{program.real}, is linked with musl ({loader}), as Alpine's is; there"
            " are no wheels of torch for it"
        )
    found = root.resolve(loader.lstrip("/")) if loader else None
    if found is None:
        raise _refused(f"the loader of /{program.real}, {loader or 'none'}, is not in the image")
    folders = dict.fromkeys((posixpath.dirname(found[0]), *_LIBRARIES))
    for folder in folders:
        there = root.resolve(f"{folder}/libc.so.6")
        if there is not None and there[1].fact:
            version = there[1].fact.decode("ascii")
            if tuple(map(int, version.split("."))) < OLDEST_GLIBC:
                oldest = ".".join(map(str, OLDEST_GLIBC))
                raise _refused(f"its glibc is {version}; the wheels need {oldest} or later")
            return version
    raise _refused("its C library cannot be found, or is no glibc")


def _loader(program: _Program) -> str:
    """The loader that an ELF program names, empty if it is linked statically."""
    head = program.head
    if len(head) < 64 or head[4:6] != b"\x02\x01":
        raise _refused(f"its Python, /{program.real}, is no 64-bit program")
    (machine,) = struct.unpack_from("<H", head, 18)
    if machine != _X86_64:
        raise _refused(f"its Python, /{program.real}, is for another processor than x86-64")
    (offset,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for place in range(offset, offset + size * count, size or 1):
        if place + 56 > len(head):
            break
        kind, _, start = struct.unpack_from("<IIQ", head, place)
        (length,) = struct.unpack_from("<Q", head, place + 32)
        if kind == _PT_INTERP:
            return head[start : start + length].rstrip(b"\0").decode("utf-8", "replace")
    return ""


def _refuse_without_cxx(root: Root, prefix: str, started: Started) -> None:
    """torch is C++: its runtime library comes with no wheel."""
    more = started.environment.get("LD_LIBRARY_PATH", "").split(":")
    folders = [*_LIBRARIES, f"{prefix}/lib", *(folder.strip("/") for folder in more if folder)]
    for folder in folders:
        found = root.resolve(f"{folder}/libstdc++.so.6")
        if found is not None and found[1].kind == "file":
            return
    raise _refused("it has no libstdc++.so.6, which torch needs")


def _environment_of(root: Root, program: _Program) -> tuple[str, bool] | None:
    """The folder of the virtual environment that the program belongs to, and whether it also takes
    the packages of the Python below; None if it belongs to none."""
    folder = posixpath.dirname(program.called)
    for above in (folder, posixpath.dirname(folder)):
        found = root.resolve(f"{above}/pyvenv.cfg")
        if found is not None and found[1].kind == "file":
            text = found[1].fact.decode("utf-8", "replace")
            wanted = r"(?im)^\s*include-system-site-packages\s*=\s*true\s*$"
            return above, bool(re.search(wanted, text))
    return None


def _packages(
    root: Root, version: str, prefix: str, venv: tuple[str, bool] | None
) -> tuple[BasePackage, ...]:
    """What has a .dist-info or .egg-info where this Python looks for packages."""
    own = re.escape(f"python{version}")
    sites = []
    if venv is not None:
        sites.append(rf"{re.escape(venv[0])}/lib(?:64)?/{own}/site-packages")
    if venv is None or venv[1]:
        sites.append(rf"{_below(prefix)}lib(?:64)?/{own}/(?:site|dist)-packages")
        sites.append(rf"usr/local/lib(?:64)?/{own}/(?:site|dist)-packages")
        sites.append("usr/lib/python3/dist-packages")
    pattern = re.compile(
        rf"(?:{'|'.join(sites)})/([^/]+?)-([^/-]+)(?:-py3[^/]*)?\.(?:dist|egg)-info"
        r"(?:/(?:METADATA|PKG-INFO))?"
    )
    found: dict[str, str] = {}
    for path in root.paths(pattern):
        match = pattern.fullmatch(path)
        if match is not None:
            found.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
    return tuple(BasePackage(name=name, version=found[name]) for name in sorted(found))


def _below(prefix: str) -> str:
    return f"{re.escape(prefix)}/" if prefix else ""
