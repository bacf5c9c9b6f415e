"""The entry point: finds the command, runs it, turns errors into text and exit codes.

Only the module of the command that was asked for is imported, so `--help` and a build with nothing
to do cost little more than Python's own start.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence

from recipec import __version__
from recipec.errors import BUG, ENVIRONMENT, INTERRUPTED, OK, EnvironmentLacks, RecipecError

COMMANDS = {
    "init": "start a recipe in recipes/",
    "check": "check recipes: every mistake at once, with its line and a way out",
    "schema": "print the JSON Schema of the recipe language",
    "lock": "pin every input of a recipe by hash",
    "plan": "show every decision with its reason",
    "build": "the whole compile: check, lock, plan, emit, image, DVC stages",
    "run": "train or evaluate in the image; what the DVC stages call",
    "verify": "build again, train again, compare every byte",
    "diff": "explain how two recipes, locks or images differ",
    "push": "send the image to a registry, byte for byte",
    "pull": "fetch an image from a registry, every blob checked by its digest",
    "copy": "copy an image from one repository to another, byte for byte",
    "attest": "say what is in an image and how it was made; attach and sign that",
    "keys": "make a pair of keys for signing, as cosign does",
    "verify-signature": "check with a public key who has signed an image in a registry",
    "emit-job": "write the documents that make a cloud's service run the image",
    "check-job": "check a job document with the service's own client",
    "submit": "send the job to its service, with the service's own client",
    "inspect": "show what an image's layers hold and where they came from",
    "export-archive": "write the image as one file for `docker load`, podman and skopeo",
    "bundle": "write every input of a lock into one file, for machines without a network",
    "cache": "the content store: info, gc, verify",
    "doctor": "what this machine can do, and what to install",
}

_OBJECTS = 50_000
"""Objects that may come to be before Python looks for cycles among them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    if arguments is None:
        # The process is ours and short: looking for cycles while modules load is 5% of a build.
        gc.set_threshold(_OBJECTS)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a locale's encoding lacks is escaped, as Python does it for stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does: nothing is wrong with us.
        _drop_output()
        return OK
    except OSError as error:
        _drop_output()
        print(f"error: cannot write the output: {error.strerror or error}", file=sys.stderr)
        return ENVIRONMENT


def _run(given: Sequence[str]) -> int:
    parser = _parser(next((word for word in given if not word.startswith("-")), None))
    try:
        options = parser.parse_args(given)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return int(options.run(options))
    except RecipecError as error:
        _print_error(error, as_json=getattr(options, "json", False))
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        # What no pass foresaw of the disk: still a message with the file's name, no traceback.
        place = f"{error.filename}: " if error.filename else ""
        lacks = EnvironmentLacks(f"{place}{error.strerror or error}")
        _print_error(lacks, as_json=getattr(options, "json", False))
        return lacks.exit_code
    except Exception as error:
        return _report_bug(error)


def _drop_output() -> None:
    """Throw away what stdout still holds: Python would try to write it again at its exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(error: Exception) -> int:
    """An error that is ours. The traceback goes to a file: users get one line and a way on."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="recipec-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    print(
        f"error: this is a bug in recipec: {type(error).__name__}: {error}\n"
        f"  hint: please report it with {log.name}",
        file=sys.stderr,
    )
    return BUG


def _parser(command: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipec",
        description="Compile a recipe for fine-tuning into an image, a script and DVC stages.",
        epilog="Exit codes: 0 done, 1 the recipe is wrong, 2 wrong usage, 3 the environment lacks"
        " something, 4 a hash did not match, 5 training failed or a gate did not hold.",
    )
    parser.add_argument("--version", action="version", version=f"recipec {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # A parser costs as much as ten imports: of a known command, only its own is made.
    wanted = {command: COMMANDS[command]} if command in COMMANDS else COMMANDS
    for name, summary in wanted.items():
        sub = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == command:
            module = importlib.import_module(f"recipec.cli.{name.replace('-', '_')}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def _print_error(error: RecipecError, *, as_json: bool) -> None:
    from recipec.cli.console import print_json

    if as_json:
        print_json(error.to_plain())
    print(error.render(), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
