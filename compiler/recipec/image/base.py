"""The base layer: a root file system from Debian packages, without running a line of theirs.

In: .deb files. Out: entries written to a layer. What the packages' maintainer scripts would have
done and an image needs is done here, as data: /lib and its like are merged into /usr, the CA
certificates are one sorted bundle, passwd, group and nsswitch.conf are written, dpkg's status lists
the packages for scanners; `recipec.image.shells` adds what a shell and alternatives want. There is
no ld.so.cache: glibc's own folders hold every library. Manual pages, translations and documents
other than copyright files are left out. Nothing is setuid, nothing belongs to anybody but root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from recipec.errors import UnsafeInput
from recipec.image.debs import Contents, Entry, Package
from recipec.image.image import OUTPUT, TRAINED, USER
from recipec.image.layer import LayerWriter
from recipec.image.names import folders, parents
from recipec.image.shells import chosen_links, passwd, shell_files, shell_folders

_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_LEFT_OUT = tuple(
    f"usr/share/{name}/"
    for name in ("bash-completion", "bug", "doc-base", "info", "lintian", "locale", "man")
)
_CERTIFICATES = "usr/share/ca-certificates/"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_ID = USER.partition(":")[0]

_WRITTEN = {
    "etc/group": f"root:x:0:\nnogroup:x:65534:\nrecipec:x:{_ID}:\n",
    "etc/nsswitch.conf": (
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
        "networks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n"
    ),
    "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
}
_FOLDERS = {
    "dev": 0o755,
    "proc": 0o755,
    "sys": 0o755,
    "run": 0o755,
    "etc/ld.so.conf.d": 0o755,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    # Any user may write here, so that a named volume or a cluster's mount takes that over.
    OUTPUT.lstrip("/"): 0o1777,
    TRAINED.lstrip("/"): 0o755,
}


@dataclass(frozen=True, kw_only=True)
class _Owned:
    """An entry and the package it comes from, for errors."""

    entry: Entry
    package: str


def write_base(
    layer: LayerWriter, packages: Sequence[Package], spool: BinaryIO, python: str
) -> None:
    """Write the root file system of `packages`; their contents lie in `spool`.

    Raises UnsafeInput if two packages hold different things at one path.
    """
    tree: dict[str, _Owned] = {}
    for package in sorted(packages, key=lambda p: p.name):
        for entry in package.entries:
            if not _merged_already(entry):
                _merge(tree, _folded(entry), package.name)
    ours = _own(packages, tree, spool, python)
    for entry in ours:
        _merge(tree, entry, "recipec")
    _check_parents(tree)
    _write(layer, {path: owned.entry for path, owned in tree.items()}, spool)


def _usr(path: str) -> str:
    """The path after /usr has been merged."""
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def _merged_already(entry: Entry) -> bool:
    """Whether it is the link itself, which base-files holds from Debian 13 on."""
    return entry.kind == "symlink" and entry.path in _MERGED


def _folded(entry: Entry) -> Entry:
    target = _usr(entry.target) if entry.kind == "hardlink" else entry.target
    return Entry(
        path=_usr(entry.path),
        kind=entry.kind,
        mode=entry.mode,
        target=target,
        contents=entry.contents,
    )


def _kept(entry: Entry) -> bool:
    """Whether an image needs it; copyright files always stay."""
    path = entry.path
    if f"{path}/".startswith(_LEFT_OUT):
        return False
    if path.startswith("usr/share/doc/"):
        depth = path.count("/")
        return (entry.kind == "file" and path.endswith("/copyright")) or (
            entry.kind == "symlink" and depth == 3
        )
    return True


def _merge(tree: dict[str, _Owned], entry: Entry, package: str) -> None:
    if not _kept(entry):
        return
    there = tree.get(entry.path)
    if there is None:
        tree[entry.path] = _Owned(entry=entry, package=package)
    elif not (there.entry.kind == entry.kind == "folder"):
        raise UnsafeInput(
            f"packages {there.package} and {package} both hold /{entry.path}",
            hint="they cannot stand in one image; dpkg would refuse them too",
        )


def _check_parents(tree: dict[str, _Owned]) -> None:
    """Nothing may lie below a file or a link: an unpacker would follow it out of the tree."""
    for path, owned in tree.items():
        for parent in parents(path):
            above = tree.get(parent)
            if above is not None and above.entry.kind != "folder":
                raise UnsafeInput(
                    f"packages {above.package} and {owned.package}: /{path} lies below /{parent}, "
                    f"which is a {above.entry.kind}"
                )


def _own(
    packages: Sequence[Package], tree: dict[str, _Owned], spool: BinaryIO, python: str
) -> list[Entry]:
    """What no package holds: merged folders, accounts, certificates, dpkg's status."""
    written = {"etc/passwd": passwd(tree.keys(), _ID), **_WRITTEN}
    texts = {path: text.encode() for path, text in written.items() if path not in tree}
    texts["var/lib/dpkg/status"] = _status(packages)
    bundle = _certificates(tree, spool)
    if bundle:
        texts[_BUNDLE] = bundle
    texts |= shell_files(tree.keys(), lambda path: _contents(tree, path, spool))
    there = tree.keys() | folders(tree).keys()
    links = {name: f"usr/{name}" for name in _MERGED if f"usr/{name}" in there}
    if bundle and "usr/lib/ssl/cert.pem" not in tree:
        links["usr/lib/ssl/cert.pem"] = f"/{_BUNDLE}"
    if f"usr/bin/python{python}" in tree and "usr/bin/python3" not in tree:
        links["usr/bin/python3"] = f"python{python}"
    chosen = chosen_links(tree.keys())
    for path in chosen:
        tree.pop(path, None)
    links |= chosen
    entries = [_text(path, data, spool) for path, data in sorted(texts.items())]
    entries += [
        Entry(path=path, kind="symlink", mode=0o777, target=target)
        for path, target in sorted(links.items())
    ]
    for path, mode in (_FOLDERS | shell_folders(tree.keys())).items():
        tree.pop(path, None)
        entries.append(Entry(path=path, kind="folder", mode=mode))
    return entries


def _text(path: str, data: bytes, spool: BinaryIO) -> Entry:
    offset = spool.seek(0, 2)
    spool.write(data)
    return Entry(
        path=path, kind="file", mode=0o644, contents=Contents(offset=offset, size=len(data))
    )


def _contents(tree: dict[str, _Owned], path: str, spool: BinaryIO) -> bytes:
    """The bytes of a file in the tree; none for what is no file."""
    contents = tree[path].entry.contents
    return b"".join(contents.chunks(spool)) if contents else b""


def _certificates(tree: dict[str, _Owned], spool: BinaryIO) -> bytes:
    """The CA certificates, one after the other in the order of their paths."""
    if _BUNDLE in tree:
        return b""
    parts = []
    for path, owned in sorted(tree.items()):
        if path.startswith(_CERTIFICATES) and path.endswith(".crt") and owned.entry.contents:
            spool.seek(owned.entry.contents.offset)
            parts.append(spool.read(owned.entry.contents.size).rstrip(b"\n") + b"\n")
    return b"".join(parts)


def _status(packages: Sequence[Package]) -> bytes:
    """dpkg's list of what is installed, which image scanners read."""
    stanzas = []
    for package in sorted(packages, key=lambda p: p.name):
        first, _, rest = package.control.strip("\n").partition("\n")
        stanzas.append(f"{first}\nStatus: install ok installed\n{rest}\n")
    return "\n".join(stanzas).encode()


def _write(layer: LayerWriter, tree: dict[str, Entry], spool: BinaryIO) -> None:
    """Everything in the order of paths, hard links after the files that they name."""
    links: list[Entry] = []
    for path, entry in sorted(tree.items()):
        if entry.kind == "folder":
            layer.folder(path, entry.mode)
        elif entry.kind == "symlink":
            layer.symlink(path, entry.target)
        elif entry.kind == "hardlink":
            links.append(entry)
        elif entry.contents is not None:
            layer.stream(
                path,
                size=entry.contents.size,
                chunks=entry.contents.chunks(spool),
                mode=entry.mode,
            )
    for entry in links:
        source = tree.get(entry.target)
        if source is None or source.kind != "file":
            raise UnsafeInput(f"/{entry.path} is a hard link to /{entry.target}, which is no file")
        layer.hardlink(entry.path, entry.target)
