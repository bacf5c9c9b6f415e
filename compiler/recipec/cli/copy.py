"""`recipec copy SOURCE TARGET`: from one repository to another, byte for byte."""

from __future__ import annotations

import argparse

from recipec.cli.common import add_plain_http
from recipec.cli.console import quiet_or_bars
from recipec.cli.transfers import report
from recipec.errors import OK
from recipec.filelocks import hold, use_of
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", help="registry.example/team/name[:tag][@sha256:...]")
    parser.add_argument("target", help="other.example/team/name[:tag]; the source's tag if none")
    parser.add_argument(
        "--without-evidence",
        action="store_true",
        help="leave what is attached to the image, and its signatures, where they are",
    )
    add_plain_http(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Copy every manifest and blob that the source names."""
    from recipec.publish.copy import copy

    store = Store()
    with quiet_or_bars(options.json) as bars, hold(use_of(store), shared=True):
        copied = copy(
            options.source,
            options.target,
            store,
            progress=bars,
            plain_http=options.plain_http,
            evidence=not options.without_evidence,
        )
    report(copied, as_json=options.json, done="copied")
    return OK
