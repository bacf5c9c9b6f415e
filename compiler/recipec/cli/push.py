"""`recipec push RECIPE REFERENCE`: the image to a registry, byte for byte."""

from __future__ import annotations

import argparse

from recipec.cli.common import add_build_options, add_plain_http, add_recipe
from recipec.cli.compile import compile_recipe
from recipec.cli.console import quiet_or_bars
from recipec.cli.project import find_project
from recipec.cli.transfers import report, report_survey
from recipec.errors import OK
from recipec.filelocks import hold, use_of
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    parser.add_argument("reference", help="registry.example/team/name[:tag]")
    parser.add_argument("--tag", action="append", default=[], help="another tag; may be repeated")
    parser.add_argument(
        "--schema2", action="store_true", help="push the Docker schema2 manifest, not the OCI one"
    )
    parser.add_argument(
        "--user",
        choices=("root",),
        help="push the same layers as an image that runs as root, which SageMaker needs",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be moved, and change nothing there"
    )
    add_plain_http(parser)
    add_build_options(parser)


def run(options: argparse.Namespace) -> int:
    """Compile if need be, then push, or say what a push would move."""
    from recipec.cli.bases import lender
    from recipec.image.variant import as_root
    from recipec.publish.registry import push, survey

    project, store = find_project(options.recipe, options.output), Store()
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
        with hold(use_of(store), shared=True):
            lent = lender(built, store)
            image = as_root(built.image, store) if options.user == "root" else built.image
            if options.dry_run:
                found = survey(
                    image,
                    store,
                    options.reference,
                    schema2=options.schema2,
                    tags=tuple(options.tag),
                    plain_http=options.plain_http,
                    lender=lent,
                )
            else:
                pushed = push(
                    image,
                    store,
                    options.reference,
                    schema2=options.schema2,
                    tags=tuple(options.tag),
                    progress=bars,
                    plain_http=options.plain_http,
                    lender=lent,
                )
    if options.dry_run:
        report_survey(found, as_json=options.json)
    else:
        report(pushed, as_json=options.json, done="pushed")
    return OK
