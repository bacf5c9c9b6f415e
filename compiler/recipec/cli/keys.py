"""`recipec keys [PREFIX]`: a pair of keys for signing, in cosign's files."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipec.cli.console import print_json, say
from recipec.cli.passwords import new_password
from recipec.errors import OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "prefix",
        nargs="?",
        type=Path,
        default=Path("cosign"),
        metavar="PREFIX",
        help="writes PREFIX.key and PREFIX.pub (default: cosign)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Make the pair; COSIGN_PASSWORD or the terminal gives the password."""
    from recipec.evidence.keys import make_pair

    private = options.prefix.with_name(f"{options.prefix.name}.key")
    public = options.prefix.with_name(f"{options.prefix.name}.pub")
    make_pair(private, public, new_password)
    if options.json:
        print_json({"private": str(private), "public": str(public)})
    else:
        say(f"wrote {private}, which is yours alone, and {public}, which is for everybody")
    return OK
