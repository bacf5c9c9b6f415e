"""`recipec export-archive RECIPE`: the image as one tar for docker, podman and skopeo."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipec.cli.archives import write_file
from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import compile_recipe
from recipec.cli.console import print_json, quiet_or_bars, say, size
from recipec.cli.project import find_project
from recipec.errors import OK
from recipec.filelocks import hold, use_of
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    add_build_options(parser)
    parser.add_argument("--to", type=Path, metavar="FILE", help="default: build/NAME/NAME.tar")
    parser.add_argument("--tag", metavar="NAME:TAG", help="the image's name in the archive")


def run(options: argparse.Namespace) -> int:
    """Compile if need be, then write the archive."""
    from recipec.cli.bases import bring

    project, store = find_project(options.recipe, options.output), Store()
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
        with hold(use_of(store), shared=True):
            bring(built, store, bars)
    target: Path = options.to or built.folder / f"{built.name}.tar"
    reference = options.tag or f"recipec.local/{built.name}:latest"
    write_file(built.image, store, target, reference=reference)
    written = target.stat().st_size
    if options.json:
        print_json({"file": str(target), "size": written, "image": built.image.manifest.digest})
    else:
        say(f"wrote {project.shown(target)} ({size(written)}); `docker load -i` takes it")
    return OK
