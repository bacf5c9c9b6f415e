"""`recipec submit TARGET RECIPE`: send the job to the service, with the service's own client.

The credentials are those that the client finds by itself. An image that is not in its registry is
refused before anything is sent; a run that the service has already is not started again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipec.cli import emit_job
from recipec.cli.common import add_plain_http
from recipec.cli.console import print_json, say
from recipec.errors import OK, Diagnostic, EnvironmentLacks, RecipecError, RecipeError, UsageError

if TYPE_CHECKING:
    from recipec.clients.send.call import Call, Outcome, Sender, Work

HELP = {
    "region": "where the service runs it, if the recipe does not say",
    "project": "Google: the project; Azure ML: the resource group",
    "subscription": "Azure ML: the id of the subscription",
    "workspace": "Azure ML: the workspace",
}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What is known of a job before it is sent."""

    reference: str
    pushed: bool | None
    """None if the registry could not be asked; only a dry run goes on then."""
    why: str
    """Why it could not be asked."""
    validators: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    emit_job.add_arguments(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be sent, and send nothing"
    )
    for name, text in HELP.items():
        parser.add_argument(f"--{name}", default="", metavar=name.upper(), help=text)
    add_plain_http(parser)


def run(options: argparse.Namespace) -> int:
    """Emit, check, look for the image, and send. Raises RecipecError of every kind."""
    from recipec.clients.send.refusals import quietly

    sender = _sender(options)
    emitted = emit_job.emit(options)
    if sender is None:
        shown = " ".join(emitted.project.shown(path) for path in emitted.files)
        raise UsageError(
            f"{options.target} has no client that sends its documents from here",
            hint=f"send {shown} as docs/targets.md says",
        )
    work = _work(options, emitted, sender)
    checked = _check(options, emitted)
    with quietly():
        calls = sender.calls(work)
    if options.dry_run:
        _print_calls(options, work, checked, calls)
        return OK
    with quietly():
        outcome = _sent(sender, work, emitted)
    _print_outcome(options, work, checked, outcome)
    return OK


def _sender(options: argparse.Namespace) -> Sender | None:
    """How the target is sent, if it can be; it must be able to be told what the flags say."""
    from recipec.clients.send.call import PLACES
    from recipec.clients.send.make import MODULES, sender_of

    if options.target not in MODULES:
        return None
    sender = sender_of(options.target)
    for name in PLACES:
        if getattr(options, name) and name not in sender.places:
            known = ", ".join(f"--{one}" for one in PLACES if one in sender.places) or "none"
            raise UsageError(
                f"--{name} does nothing on {options.target}: it follows from the rest",
                hint=f"{options.target} can be told: {known}",
            )
    return sender


def _work(options: argparse.Namespace, emitted: emit_job.Emitted, sender: Sender) -> Work:
    """The document as plain values, and where it goes."""
    from recipec.cli.jobs import run_id_of, settings_of
    from recipec.clients.send.call import Work
    from recipec.clients.verdict import documents
    from recipec.recipe.given import given_values

    lock, target = emitted.lock, options.target
    assert lock.image is not None, "a build has put it there"
    settings = given_values(settings_of(emitted.loaded, target))
    places = {}
    for name in sorted(sender.places):
        given, known = getattr(options, name), settings.get(name, "")
        if given and known and given != known:
            raise UsageError(
                f"--{name} is {given}, and the recipe says {known}",
                hint=f"leave --{name} out, or change `deploy.targets.{target}.{name}`",
            )
        places[name] = given or known
    path, data = next((p, d) for p, d in emitted.files.items() if "cloud-init" not in p.name)
    plain, wrong = documents(data)
    assert not wrong, "we have written it"
    return Work(
        target=target,
        documents=tuple(plain),
        path=str(path),
        run_id=run_id_of(emitted.loaded, lock, lock.image, emitted.built.scripts),
        places=places,
        settings=settings,
    )


def _check(options: argparse.Namespace, emitted: emit_job.Emitted) -> Checked:
    """Have the documents checked, and look for the image in its registry.

    Raises RecipeError with what the service's client says is wrong, EnvironmentLacks for an image
    that is not there; a dry run does without it.
    """
    from recipec.cli.jobs import reference_of

    assert emitted.lock.image is not None, "a build has put it there"
    reference = reference_of(
        emitted.loaded, options.target, emitted.lock.image, emitted.store, options.image
    )
    validators = tuple(_validated(options, emitted))
    pushed, why = None, ""
    try:
        pushed = _is_pushed(reference, plain_http=options.plain_http)
    except EnvironmentLacks as error:
        if not options.dry_run:
            raise
        why = error.message
    if pushed is False and not options.dry_run:
        raise EnvironmentLacks(
            f"the image has not been pushed: there is no {reference}",
            hint=_push(options, emitted, reference),
        )
    return Checked(reference=reference, pushed=pushed, why=why, validators=validators)


def _validated(options: argparse.Namespace, emitted: emit_job.Emitted) -> list[str]:
    from recipec.clients.check import check_document

    found, faults = [], []
    for path, data in emitted.files.items():
        try:
            verdict = check_document(options.target, data)
        except EnvironmentLacks as error:
            say(f"{emitted.project.shown(path)} is sent unchecked: {error.message}")
            continue
        found.append(verdict.validator)
        name = emitted.project.shown(path)
        faults += [Diagnostic(file=name, line=0, column=0, message=one) for one in verdict.faults]
    if faults:
        raise RecipeError(faults)
    return found


def _is_pushed(reference: str, *, plain_http: bool) -> bool:
    """Whether the registry has a manifest. Raises EnvironmentLacks if it cannot be asked."""
    from recipec.publish.manifests import has
    from recipec.publish.reference import parse_source
    from recipec.publish.registry import open_session

    source = parse_source(reference)
    session = open_session(source, write=False, plain_http=plain_http)
    return has(session, source.repository, source.digest)


def _push(options: argparse.Namespace, emitted: emit_job.Emitted, reference: str) -> str:
    """The command that brings the image there."""
    from recipec.emit.jobs.make import emitter_of
    from recipec.image.variant import root_digests

    image, (place, _, digest) = emitted.lock.image, reference.partition("@")
    assert image is not None, "a build has put it there"
    flags = {image.manifest: "", image.schema2: " --schema2"}
    if emitter_of(options.target).root:
        pair = (image.manifest, image.schema2)
        oci, docker = root_digests(image.config, pair, emitted.store)
        flags |= {oci: " --user root", docker: " --schema2 --user root"}
    return f"recipec push {options.recipe} {place}{flags[digest]}"


def _sent(sender: Sender, work: Work, emitted: emit_job.Emitted) -> Outcome:
    """What came of it. Raises RecipeError at a setting that the service refuses."""
    from recipec.clients.send.call import Refused
    from recipec.clients.send.refusals import safe

    try:
        outcome = sender.send(work)
    except Refused as error:
        if error.key not in work.settings:
            raise
        document = emitted.loaded.document()
        path = ("deploy", "targets", work.target, error.key)
        raise RecipeError([document.diagnostic(path, error.message, error.hint)]) from error
    except (RecipecError, OSError):
        raise
    # A client may raise anything; with what it says, its user can go on.
    except Exception as error:
        raise EnvironmentLacks(
            f"the client of {work.target} fails: {type(error).__name__}: {safe(str(error))}",
            hint="submit again: a job of this run is looked for first; if it stays, report it",
        ) from error
    if outcome.failed:
        raise EnvironmentLacks(
            f"{outcome.identifier} is there and has ended: {outcome.state}; nothing was sent",
            hint=f"to start it anew, take it away, and submit again:\n{outcome.words.anew}",
        )
    return outcome


def _print_calls(
    options: argparse.Namespace, work: Work, checked: Checked, calls: tuple[Call, ...]
) -> None:
    import json

    plain = [
        {
            "service": call.service,
            "operation": call.operation,
            "endpoint": call.endpoint or None,
            "parameters": call.parameters,
        }
        for call in calls
    ]
    if options.json:
        print_json({"dry_run": True, **_plain(work, checked), "calls": plain})
        return
    for call in calls:
        print(f"{call.service}: {call.operation}" + (f" at {call.endpoint}" * bool(call.endpoint)))
        print(json.dumps(call.parameters, indent=2))
    words = {True: "is in its registry", False: "has not been pushed"}
    state = f"may be in its registry or not: {checked.why}"
    state = state if checked.pushed is None else words[checked.pushed]
    say(f"the image {state}\nnothing was sent")


def _plain(work: Work, checked: Checked) -> dict[str, Any]:
    return {
        "target": work.target,
        "run_id": work.run_id,
        "image": checked.reference,
        "pushed": checked.pushed,
        "checked_by": list(checked.validators),
    }


def _print_outcome(
    options: argparse.Namespace, work: Work, checked: Checked, outcome: Outcome
) -> None:
    words = outcome.words
    if options.json:
        about = {
            "name": outcome.name,
            "id": outcome.identifier,
            "state": outcome.state,
            "started": outcome.started,
        }
        then = {"follow": words.follow.splitlines(), "results": words.results, "stop": words.stop}
        print_json({**_plain(work, checked), **about, **then, "anew": words.anew})
        return
    print(outcome.identifier)
    if outcome.started:
        say(f"started {outcome.name} on {work.target}")
    else:
        say(f"{outcome.name} is there already: {outcome.state}; nothing was sent")
    rows = [("follow", words.follow), ("results", words.results), ("stop", words.stop)]
    for name, text in [*rows, *([] if outcome.started else [("start it anew", words.anew)])]:
        for number, line in enumerate(text.splitlines()):
            say(f"  {name + ':' if not number else '':<15}{line}")
    if not outcome.started:
        say("  and submit it again")
