"""Where the files of a wheel go, as the wheel specification asks.

In: an open wheel and the target's Python version. Out: one `Placed` per installed file, sorted by
path: the member to copy, or the bytes that an installer writes (entry-point scripts, INSTALLER).
RECORD keeps the wheel's own rows where they say what is installed, with rows for what was added; it
is written anew where files moved or fell away. Nothing is compiled, no direct_url.json, no
REQUESTED, no signatures over a RECORD that no longer is theirs. It writes nothing.

Source: packaging.python.org, "Binary distribution format", "Recording installed projects" and
"Entry points specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from recipec.errors import UnsafeInput
from recipec.image.format import MAX_METADATA
from recipec.image.names import fault, folders
from recipec.image.record import Placed, installed_record
from recipec.image.target import Target
from recipec.image.zipfiles import Member, ZipFile

INSTALLER = b"recipec\n"

_WHEEL_FILE = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-[0-9][^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_SCRIPT = re.compile(r"[\w.+][\w.+-]*")
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")


def install(wheel: ZipFile, target: Target) -> tuple[Placed, ...]:
    """Every file that the wheel installs, sorted by path. Raises UnsafeInput."""
    info = _info_folder(wheel)
    members = {member.name: member for member in wheel.members}
    _check_version(wheel, members, info)
    placed = dict(_placed(wheel, target, info))
    _add_scripts(wheel, members.get(f"{info}/entry_points.txt"), placed, target)
    root = f"{target.site}/{info}"
    _add(wheel, placed, Placed(path=f"{root}/INSTALLER", mode=0o644, data=INSTALLER))
    record = installed_record(wheel, members[f"{info}/RECORD"], placed.values(), target.site)
    _add(wheel, placed, record)
    for folder in folders(placed):
        if folder in placed:
            raise _wrong(wheel, f"{folder!r} is a file and also a folder")
    return tuple(placed[path] for path in sorted(placed))


def _wrong(wheel: ZipFile, what: str) -> UnsafeInput:
    return UnsafeInput(f"{wheel.label}: {what}", hint="this is no wheel that can be installed")


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _info_folder(wheel: ZipFile) -> str:
    """The wheel's one `NAME-VERSION.dist-info` folder."""
    found = {
        top
        for top, _, rest in (member.name.partition("/") for member in wheel.members)
        if rest and top.endswith(".dist-info")
    }
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise _wrong(wheel, f"it must have one .dist-info folder, and has: {names}")
    info = found.pop()
    about = _WHEEL_FILE.fullmatch(wheel.label)
    if about is None:
        raise _wrong(wheel, "its file name is not a wheel's")
    if _normalized(info.partition("-")[0]) != _normalized(about["name"]):
        raise _wrong(wheel, f"its {info} belongs to another project")
    return info


def _check_version(wheel: ZipFile, members: Mapping[str, Member], info: str) -> None:
    for name in ("WHEEL", "RECORD", "METADATA"):
        if f"{info}/{name}" not in members:
            raise _wrong(wheel, f"it has no {info}/{name}")
    text = wheel.read(members[f"{info}/WHEEL"]).decode("utf-8", "replace")
    version = re.search(r"^Wheel-Version:\s*(\d+)\.\d+\s*$", text, re.MULTILINE | re.IGNORECASE)
    if version is None or version[1] != "1":
        raise _wrong(wheel, "its Wheel-Version is not 1.x")


def _placed(wheel: ZipFile, target: Target, info: str) -> Iterator[tuple[str, Placed]]:
    """The wheel's own files at their places, without what is written anew or left out."""
    project = info.partition("-")[0]
    scheme = target.scheme(project)
    data_folder = info.removesuffix(".dist-info") + ".data"
    left_out = {f"{info}/{name}" for name in ("RECORD", "INSTALLER", *_SIGNATURES)}
    seen: set[str] = set()
    for member in wheel.members:
        if member.name in left_out or member.name.endswith(".pyc"):
            continue
        path, mode, data = f"{target.site}/{member.name}", 0o644, b""
        if member.executable:
            mode = 0o755
        kept: Member | None = member
        if member.name.startswith(f"{data_folder}/"):
            key, _, rest = member.name[len(data_folder) + 1 :].partition("/")
            if key not in scheme or not rest:
                raise _wrong(wheel, f"member {member.name!r} is of no known .data category")
            path = f"{scheme[key]}/{rest}"
            if key == "scripts":
                mode = 0o755
                data = _script(wheel, member, target)
                kept = None if data else member
        if path in seen:
            raise _wrong(wheel, f"two of its members would be installed as {path!r}")
        seen.add(path)
        yield path, Placed(path=path, mode=mode, member=kept, data=data)


def _script(wheel: ZipFile, member: Member, target: Target) -> bytes:
    """A `.data/scripts` file that asks for `#!python`, with the interpreter's path; or none."""
    if wheel.start(member, 8) != b"#!python":
        return b""
    if member.size > MAX_METADATA:
        raise _wrong(wheel, f"script {member.name!r} has {member.size} bytes")
    first, newline, rest = wheel.read(member).partition(b"\n")
    options = re.sub(rb"^#!python[\w.]*", b"", first)
    return b"#!" + target.interpreter.encode() + options + newline + rest


def _add(wheel: ZipFile, placed: dict[str, Placed], new: Placed) -> None:
    if new.path in placed:
        raise _wrong(wheel, f"two of its files would be installed as {new.path!r}")
    placed[new.path] = new


def _add_scripts(
    wheel: ZipFile, member: Member | None, placed: dict[str, Placed], target: Target
) -> None:
    """One script per console or GUI entry point; one that the wheel brings itself stays."""
    if member is None:
        return
    for name, reference in _entry_points(wheel, wheel.read(member)):
        module, _, attribute = reference.partition(":")
        if not (_SCRIPT.fullmatch(name) and _MODULE.fullmatch(module)) or fault(name):
            raise _wrong(wheel, f"entry point {name!r} = {reference!r} cannot become a script")
        if not _MODULE.fullmatch(attribute):
            raise _wrong(wheel, f"entry point {name!r} = {reference!r} names no function")
        root = attribute.partition(".")[0]
        text = (
            f"#!{target.interpreter}\nimport sys\n\nfrom {module} import {root}\n\n"
            f'if __name__ == "__main__":\n    sys.exit({attribute}())\n'
        )
        path = f"{target.scripts}/{name}"
        if path not in placed:
            placed[path] = Placed(path=path, mode=0o755, data=text.encode())


def _entry_points(wheel: ZipFile, text: bytes) -> Iterator[tuple[str, str]]:
    from configparser import ConfigParser, Error

    parser = ConfigParser(delimiters=("=",), interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text.decode("utf-8"))
    except (Error, UnicodeDecodeError) as error:
        raise _wrong(wheel, "its entry_points.txt cannot be read") from error
    for section in ("console_scripts", "gui_scripts"):
        if parser.has_section(section):
            for name, value in sorted(parser.items(section)):
                reference = value.partition("[")[0]  # extras are an installer's matter, long past
                yield name.strip(), re.sub(r"\s", "", reference)
