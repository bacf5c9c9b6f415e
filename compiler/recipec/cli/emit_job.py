"""`recipec emit-job TARGET RECIPE`: the documents that make a service run the image."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import compile_recipe, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.project import Project, find_project
from recipec.errors import OK
from recipec.recipe.schema.deploy import TARGETS
from recipec.store import Store, write_atomically

if TYPE_CHECKING:
    from recipec.cli.frontend import Loaded
    from recipec.cli.state import Built
    from recipec.pins.lockfile import Lock


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A target's documents, and what they were made from."""

    project: Project
    store: Store
    loaded: Loaded
    lock: Lock
    built: Built
    files: Mapping[Path, bytes]


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
    from recipec.cli.jobs import tagged_reference
    from recipec.emit.jobs.make import emitter_of

    emitted = emit(options)
    shown = [emitted.project.shown(path) for path in emitted.files]
    if options.json:
        print_json({"target": options.target, "files": shown})
        return OK
    print("\n".join(shown))
    emitter, reference = emitter_of(options.target), "REFERENCE"
    if emitter.tagged:
        reference = tagged_reference(
            emitted.loaded, options.target, emitted.lock, emitted.store, options.image
        )
    flags = " --schema2" * emitter.schema2 + " --user root" * emitter.root
    command = f"recipec push RECIPE {reference}{flags}"
    say(f"the job takes the image from its registry: `{command}` first")
    return OK


def emit(options: argparse.Namespace) -> Emitted:
    """Compile if need be, and write the documents. Raises RecipecError of every kind."""
    from recipec.cli.frontend import load
    from recipec.cli.jobs import FOLDER, documents_of, faults_of_target

    project, store = find_project(options.recipe, options.output), Store()
    faults_of_target(load(project, store), options.target, options.image)
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
    lock, loaded = read_lock(project), load(project, store)
    assert lock is not None, "a compile has written it"
    made = documents_of(loaded, options.target, lock, built.scripts, store, options.image)
    files = {built.folder / FOLDER / name: data for name, data in made.items()}
    for path, data in files.items():
        write_atomically(path, data)
    return Emitted(project=project, store=store, loaded=loaded, lock=lock, built=built, files=files)
