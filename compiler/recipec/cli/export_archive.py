"""`recipec export-archive RECIPE`: the image as one tar for docker, podman and skopeo."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import compile_recipe
from recipec.cli.console import print_json, quiet_or_bars, say, size
from recipec.cli.project import find_project
from recipec.errors import OK
from recipec.store import Store, disk_error, make_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    add_build_options(parser)
    parser.add_argument("--to", type=Path, metavar="FILE", help="default: build/NAME/NAME.tar")
    parser.add_argument("--tag", metavar="NAME:TAG", help="the image's name in the archive")


def run(options: argparse.Namespace) -> int:
    """Write the archive under a temporary name, then rename it."""
    from recipec.image.archive import write_archive

    project, store = find_project(options.recipe, options.output), Store()
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
    target: Path = options.to or built.folder / f"{built.name}.tar"
    make_folder(target.parent)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            reference = options.tag or f"recipec.local/{built.name}:latest"
            write_archive(built.image, store, stream, reference=reference)
            os.fchmod(stream.fileno(), 0o644)
        Path(name).replace(target)
    except OSError as error:
        raise disk_error(error, target.parent) from error
    finally:
        Path(name).unlink(missing_ok=True)
    written = target.stat().st_size
    if options.json:
        print_json({"file": str(target), "size": written, "image": built.image.manifest.digest})
    else:
        say(f"wrote {project.shown(target)} ({size(written)}); `docker load -i` takes it")
    return OK
