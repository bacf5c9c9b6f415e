"""`recipec push RECIPE REFERENCE`: the image to a registry, byte for byte."""

from __future__ import annotations

import argparse

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import compile_recipe
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.project import find_project
from recipec.errors import OK
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    parser.add_argument("reference", help="registry.example/team/name[:tag]")
    parser.add_argument("--tag", action="append", default=[], help="another tag; may be repeated")
    parser.add_argument(
        "--schema2", action="store_true", help="push the Docker schema2 manifest, not the OCI one"
    )
    add_build_options(parser)


def run(options: argparse.Namespace) -> int:
    """Compile if need be, then push."""
    from recipec.publish.registry import push

    project, store = find_project(options.recipe, options.output), Store()
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
        pushed = push(
            built.image,
            store,
            options.reference,
            schema2=options.schema2,
            tags=tuple(options.tag),
            progress=bars,
        )
    name = f"{pushed.registry}/{pushed.repository}@{pushed.digest}"
    if options.json:
        print_json({"reference": name, "digest": pushed.digest})
    else:
        say("pushed; use it by digest, which never moves:")
        print(name)
    return OK
