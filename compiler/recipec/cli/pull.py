"""`recipec pull REFERENCE`: an image from a registry, every blob checked, as layout or archive."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipec.cli.common import add_plain_http
from recipec.cli.console import print_json, quiet_or_bars, say, size
from recipec.errors import OK, UsageError
from recipec.filelocks import hold, use_of
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("reference", help="registry.example/team/name[:tag][@sha256:...]")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PLACE",
        help="write an OCI layout into this folder, or one archive if it ends in .tar",
    )
    add_plain_http(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Pull into the store, then write what was asked for."""
    from recipec.cli.archives import write_file
    from recipec.image.layout import write_layout
    from recipec.publish.pull import pull

    store, place = Store(), options.output
    archive = place is not None and place.suffix == ".tar"
    if place is not None:
        _check_place(place, archive=archive)
    with quiet_or_bars(options.json) as bars, hold(use_of(store), shared=True):
        pulled = pull(options.reference, store, progress=bars, plain_http=options.plain_http)
        if archive:
            write_file(pulled.image, store, place, reference=pulled.name)
        elif place is not None:
            write_layout(pulled.image, store, place, reference=pulled.name)
    if options.json:
        print_json(
            {
                "reference": pulled.reference,
                "digest": pulled.image.manifest.digest,
                "layers": len(pulled.image.layers),
                "received": pulled.received,
                "output": str(place) if place is not None else None,
            }
        )
        return OK
    whole = sum(layer.blob.size for layer in pulled.image.layers)
    kept = f"; wrote {place}" if place is not None else f"; it is in {store.root}"
    say(f"pulled {len(pulled.image.layers)} layers ({size(whole)}), {_new(pulled.received)}{kept}")
    print(pulled.reference)
    return OK


def _new(received: int) -> str:
    return f"{size(received)} of it new" if received else "none of it new"


def _check_place(place: Path, *, archive: bool) -> None:
    """Raise UsageError before anything is fetched if the output would harm what is there."""
    if archive:
        if place.is_dir():
            raise UsageError(f"{place} is a folder", hint="name a file that ends in .tar")
        return
    if place.exists() and not place.is_dir():
        raise UsageError(
            f"{place} is a file", hint="name a folder, or a file that ends in .tar for an archive"
        )
    if place.is_dir() and any(place.iterdir()) and not (place / "oci-layout").is_file():
        raise UsageError(
            f"{place} holds other files than an OCI layout",
            hint="name a new folder or an empty one",
        )
