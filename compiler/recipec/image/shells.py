"""What maintainer scripts do for a root with a shell in it, and for alternatives: as data.

In: the paths of all packages, /usr merged. Out: texts, links and folders beside them. A root with
no shell and no alternatives gets none of this. Pure.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection

from recipec.catalog.debian import alternatives

HOME = "/home/recipec"
"""Of the user that training runs as, where there is a shell."""

_BASH = "usr/bin/bash"
_SHELLS = "usr/share/debianutils/shells.d/"
_PROFILE = "usr/share/base-files/profile"
_NO_LOGIN = "/usr/sbin/nologin"


def passwd(paths: Collection[str], user: str) -> str:
    """/etc/passwd: with a shell and a home where there is bash, else with neither."""
    shell, home = ("/bin/bash", HOME) if _BASH in paths else (_NO_LOGIN, "/tmp")
    return (
        f"root:x:0:0:root:/root:{shell}\n"
        f"nobody:x:65534:65534:nobody:/nonexistent:{_NO_LOGIN}\n"
        f"recipec:x:{user}:{user}:recipec:{home}:{shell}\n"
    )


def shell_files(paths: Collection[str], read: Callable[[str], bytes]) -> dict[str, bytes]:
    """/etc/shells from what the shells' packages declare, and the profile of login shells."""
    found = {}
    declared = [path for path in sorted(paths) if path.startswith(_SHELLS)]
    if declared and "etc/shells" not in paths:
        names = {line.strip() for path in declared for line in read(path).decode().splitlines()}
        # /bin is a link to /usr/bin: each shell has two names.
        both = {f"{usr}{name}" for name in names if name.startswith("/") for usr in ("", "/usr")}
        lines = sorted(name.replace("/usr/usr/", "/usr/") for name in both)
        found["etc/shells"] = "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()
    if _BASH in paths and _PROFILE in paths and "etc/profile" not in paths:
        found["etc/profile"] = read(_PROFILE)
    return found


def shell_folders(paths: Collection[str]) -> dict[str, int]:
    """Modes by path: a home that any user may write, as /out is."""
    return {HOME.lstrip("/"): 0o1777, "run/lock": 0o1777} if _BASH in paths else {}


def chosen_links(paths: Collection[str]) -> dict[str, str]:
    """Targets by path: of each alternative the first that is there, and /var's links into /run.

    These take the place of empty folders, as base-files' own script does it.
    """
    links = {}
    for link, targets in alternatives().items():
        folder = posixpath.dirname(link)
        target = next((name for name in targets if f"{folder}/{name}" in paths), "")
        if target and link not in paths:
            links[link] = target
    if _BASH in paths:
        wanted = {"var/run": "/run", "var/lock": "/run/lock"}
        for path, target in wanted.items():
            if not any(other.startswith(f"{path}/") for other in paths):
                links[path] = target
    return links
