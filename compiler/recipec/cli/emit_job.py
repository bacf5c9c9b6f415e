"""`recipec emit-job TARGET RECIPE`: the documents that make a service run the image."""

from __future__ import annotations

import argparse

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import compile_recipe, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.project import find_project
from recipec.errors import OK
from recipec.recipe.schema.deploy import TARGETS
from recipec.store import Store, write_atomically


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("target", choices=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    add_recipe(parser)
    parser.add_argument(
        "--image",
        default="",
        metavar="REF",
        help="the image's place in a registry, in place of `deploy.image`; with a digest, it must"
        " be the lock's",
    )
    add_build_options(parser)


def run(options: argparse.Namespace) -> int:
    """Compile if need be, then write build/NAME/jobs/ and print the paths."""
    from recipec.cli.frontend import load
    from recipec.cli.jobs import FOLDER, documents_of, faults_of_target, tagged_reference
    from recipec.emit.jobs.make import emitter_of

    project, store = find_project(options.recipe, options.output), Store()
    faults_of_target(load(project, store), options.target, options.image)
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
    lock, loaded = read_lock(project), load(project, store)
    assert lock is not None, "a compile has written it"
    made = documents_of(loaded, options.target, lock, built.scripts, store, options.image)
    paths = [built.folder / FOLDER / name for name in made]
    for path, data in zip(paths, made.values(), strict=True):
        write_atomically(path, data)
    shown = [project.shown(path) for path in paths]
    if options.json:
        print_json({"target": options.target, "files": shown})
        return OK
    print("\n".join(shown))
    emitter, reference = emitter_of(options.target), "REFERENCE"
    if emitter.tagged:
        reference = tagged_reference(loaded, options.target, lock, store, options.image)
    flags = " --schema2" * emitter.schema2 + " --user root" * emitter.root
    command = f"recipec push RECIPE {reference}{flags}"
    say(f"the job takes the image from its registry: `{command}` first")
    return OK
