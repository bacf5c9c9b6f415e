"""`recipec build RECIPE…`: the whole compile."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import compile_all
from recipec.cli.console import print_json, quiet_or_bars, say, size
from recipec.cli.members import members
from recipec.cli.project import find_project
from recipec.cli.state import Built
from recipec.cli.twin import write_dockerfile
from recipec.errors import OK, UsageError
from recipec.filelocks import hold, use_of
from recipec.progress import Progress
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser, many=True)
    add_build_options(parser)
    parser.add_argument(
        "--locked", action="store_true", help="refuse to change a lock; another image is an error"
    )
    parser.add_argument(
        "--dockerfile",
        action="store_true",
        help="also write build/NAME/docker/, from which BuildKit makes an image of the same files",
    )
    parser.add_argument(
        "--wheels", action="store_true", help="with --dockerfile: put the wheels into that folder"
    )
    parser.add_argument(
        "--from-bundle",
        type=Path,
        metavar="FILE",
        help="bring in what `recipec bundle` wrote, then build --locked without a network",
    )


def run(options: argparse.Namespace) -> int:
    """Compile every recipe, of a matrix every member.

    Raises RecipecError at the first that fails; the others stay built.
    """
    if options.wheels and not options.dockerfile:
        raise UsageError(
            "--wheels says what --dockerfile writes, and that is not given",
            hint="add --dockerfile, or remove --wheels",
        )
    if options.from_bundle is not None and options.dockerfile:
        raise UsageError(
            "--dockerfile needs a wheel of pip, which a bundle does not hold",
            hint="run `recipec build --dockerfile --wheels` where there is a network, and take its"
            " folder along",
        )
    store = Store()
    plain: list[dict[str, Any]] = []
    with quiet_or_bars(options.json) as bars, _brought_in(options, store, bars):
        projects = [find_project(path, options.output) for path in options.recipes]
        for project in projects:
            several = members(project, store)
            built = compile_all(
                several,
                whole=not project.member,
                store=store,
                progress=bars,
                locked=options.locked or options.from_bundle is not None,
                jobs=options.jobs,
            )
            contexts = [
                write_dockerfile(one, wheels=options.wheels, store=store, progress=bars)
                for one in built
                if options.dockerfile
            ]
            rows = [one.to_plain() for one in built]
            for row, context in zip(rows, contexts, strict=False):
                row["dockerfile"] = project.shown(context / "Dockerfile")
            in_all = {"recipe": project.shown(project.recipe), "members": rows}
            plain.append(rows[0] if several == (project,) else in_all)
            for one in built if not options.json else ():
                _tell(one)
            for context in contexts if not options.json else ():
                say(f"  twin    {project.shown(context / 'Dockerfile')}")
    if options.json:
        print_json(plain[0] if len(plain) == 1 else {"builds": plain})
    return OK


@contextmanager
def _brought_in(options: argparse.Namespace, store: Store, progress: Progress) -> Iterator[None]:
    """Bring in the bundle, if one is given; nobody removes its blobs before they are used."""
    if options.from_bundle is None:
        yield
        return
    from recipec.cli.restore import restore

    with hold(use_of(store), shared=True):
        brought = restore(options.from_bundle, options.recipes, store, progress)
        if not options.json:
            what = f"{brought.blobs} blobs and {brought.files} files of the project"
            say(f"{options.from_bundle.name}: {what} brought in")
        yield


def _tell(built: Built) -> None:
    for notice in built.notices:
        say(f"note: {notice}")
    made = [layer for layer in built.image.layers if not layer.cached]
    total = sum(layer.blob.size for layer in built.image.layers)
    if built.facts["up_to_date"]:
        work = "nothing to do"
    else:
        fresh = size(sum(layer.blob.size for layer in made))
        work = f"{len(made)} of {len(built.image.layers)} layers made ({fresh})"
    say(f"{built.name}: {work}, {built.seconds:.2f} s")
    say(f"  image   {built.image.manifest.digest}  {size(total)}")
    say(f"  run id  {built.run_id}")
    say(f"  folder  {built.project.shown(built.folder)}")
