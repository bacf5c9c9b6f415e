"""The target platform as Python packaging sees it: its wheel tags and its marker variables.

In: a `Platform`. Out: tags from best to worst, marker variables. Never asks the machine it runs
on: a lock made on another system or Python is the same lock.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from recipec.errors import UsageError
from recipec.pins.lockfile import Platform

if TYPE_CHECKING:
    from packaging.tags import Tag

_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@cache
def tag_ranks(platform: Platform) -> dict[Tag, int]:
    """Every tag that installs on `platform`, with its rank; 0 is the best."""
    from packaging.tags import compatible_tags, cpython_tags

    version = python_version(platform)
    interpreter = f"cp{version[0]}{version[1]}"
    platforms = _platform_tags(platform.wheels)
    tags = [
        *cpython_tags(python_version=version, abis=[interpreter], platforms=platforms),
        *compatible_tags(python_version=version, interpreter=interpreter, platforms=platforms),
    ]
    return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}


def marker_variables(platform: Platform) -> dict[str, str]:
    """PEP 508 variables of the target; `python_full_version` is the oldest of its minor version."""
    architecture = platform.wheels.partition("-")[0]
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{platform.python}.0",
        "os_name": "posix",
        "platform_machine": architecture,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{platform.python}.0",
        "python_version": platform.python,
        "sys_platform": "linux",
        "extra": "",
    }


def python_version(platform: Platform) -> tuple[int, int]:
    """Major and minor version of the target's Python."""
    major, minor = platform.python.split(".")[:2]
    return int(major), int(minor)


def _platform_tags(name: str) -> list[str]:
    """`x86_64-manylinux_2_28` as platform tags: every older glibc, newest first."""
    found = re.fullmatch(r"(?P<machine>\w+)-manylinux_2_(?P<minor>\d+)", name)
    if not found:
        raise UsageError(f"no such platform for wheels: {name}", hint="x86_64-manylinux_2_28")
    machine, newest = found["machine"], int(found["minor"])
    oldest = 5 if machine == "x86_64" else 17
    tags = []
    for minor in range(newest, oldest - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if minor in _OLD_NAMES:
            tags.append(f"{_OLD_NAMES[minor]}_{machine}")
    return [*tags, f"linux_{machine}"]
