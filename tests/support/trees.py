"""What lies in an image: the tree that its layers give, one on top of the other."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

from recipec.image.image import Image
from recipec.store import Store, sha256

Tree = dict[str, tuple[str, int, str]]
"""Kind, mode, and digest or target, by path."""


def tree_of(image: Image, store: Store) -> Tree:
    """The tree of an image of ours."""
    tree: Tree = {}
    for layer in image.layers:
        with gzip.open(store.path(layer.blob.digest)) as stream:
            _apply(tree, cast("IO[bytes]", stream))
    return tree


def tree_of_archive(archive: Path) -> tuple[Tree, dict[str, Any]]:
    """Tree and config of the one image that `docker save` wrote."""
    tree: Tree = {}
    with tarfile.open(archive) as outer:

        def read(name: str) -> IO[bytes]:
            stream = outer.extractfile(name)
            assert stream is not None, name
            return stream

        (about,) = json.loads(read("manifest.json").read())
        for layer in about["Layers"]:
            with closing(read(layer)) as stream:
                _apply(tree, stream)
        return tree, json.loads(read(about["Config"]).read())


def _apply(tree: Tree, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = member.name.rstrip("/")
            folder, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                for gone in list(_below(tree, folder)):
                    del tree[gone]
            elif name.startswith(".wh."):
                gone_path = f"{folder}/{name.removeprefix('.wh.')}".lstrip("/")
                for gone in [gone_path, *_below(tree, gone_path)]:
                    tree.pop(gone, None)
            elif path:
                tree[path] = _entry(tree, archive, member)


def _below(tree: Tree, folder: str) -> Iterator[str]:
    return (path for path in list(tree) if path.startswith(f"{folder}/"))


def _entry(tree: Tree, archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, int, str]:
    if member.issym():
        return "link", 0o777, member.linkname
    mode = member.mode & 0o7777  # docker writes the file's type into it too
    if member.isdir():
        return "folder", mode, ""
    if member.islnk():
        return tree[member.linkname]
    stream = archive.extractfile(member)
    assert stream is not None, member.name
    assert (member.uid, member.gid) == (0, 0), member.name
    return "file", mode, sha256(stream.read())
