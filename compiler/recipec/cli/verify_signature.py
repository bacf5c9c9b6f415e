"""`recipec verify-signature REFERENCE --key PUB`: whether a key has signed an image."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipec.cli.console import print_json, say
from recipec.errors import OK, NotSigned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("reference", help="registry.example/team/name[:tag] or @digest")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="PUB", help="the public key (cosign.pub)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Check the image's signature, and say of everything attached whether it is signed too.

    Raises NotSigned if the image is not.
    """
    from recipec.evidence.keys import read_public
    from recipec.publish.referrers import referrers
    from recipec.publish.remote import Remote, parse_place
    from recipec.publish.signatures import verify

    target, asked = parse_place(options.reference)
    verifier = read_public(options.key)
    remote = Remote(target)
    digest = remote.image(asked).descriptor.digest
    payload = verify(remote, digest, verifier)
    evidence = []
    for found in referrers(remote, digest):
        try:
            verify(remote, found.manifest.digest, verifier)
            signed = True
        except NotSigned:
            signed = False
        about = {"digest": found.manifest.digest, "type": found.artifact_type, "signed": signed}
        evidence.append(about)
    name = f"{remote.name}@{digest}"
    if options.json:
        print_json({"image": name, "payload": payload, "evidence": evidence})
        return OK
    say("signed by the key; use it by digest, which never moves:")
    for row in evidence:
        say(f"  {row['type']} {row['digest']}: {'signed too' if row['signed'] else 'NOT signed'}")
    print(name)
    return OK
